//! Schedules, formula, cost and orders by hand, through the law.

use std::time::Duration;

use tidegate_control::{Guard, Override, Size, Stage};

use crate::stage::{POLICY, Scene, report, worker};

fn with(tables: &str) -> String {
    format!("{POLICY}\n{tables}")
}

/// The ask of a term, as it reads.
fn asked(decision: &tidegate_control::Decision, term: &str) -> Option<String> {
    let mut asks = decision.reason.asks.iter();
    asks.find(|ask| ask.term == term).map(|ask| ask.to_string())
}

#[test]
fn a_schedule_is_one_more_ask() {
    // The stage's clock begins a quarter of an hour after midnight, 1 January 1970, in UTC.
    let always = "[[schedule]]\nname = 'night'\ncron = '0 0 * * *'\nfor = '2h'\nworkers = 3";
    let mut scene = Scene::new(&with(always), 1);
    let decision = scene.tick(0, 4);
    assert_eq!(decision.reason.to, 3, "{decision}");
    let text = decision.to_string();
    assert!(
        text.starts_with("1 -> 3 workers: night asks for 3 (for another "),
        "{text}"
    );
}

#[test]
fn a_formula_is_one_more_ask_and_holds_while_a_signal_is_unknown() {
    let text = format!("formula = 'max(queue / 2.0, busy / 8.0)'\n{POLICY}");
    let mut scene = Scene::new(&text, 2);
    (0..5).for_each(|_| drop(scene.tick(8, 8)));
    let decision = scene.tick(8, 8);
    let expected = "formula asks for 4 (its result is 4.00)";
    assert_eq!(asked(&decision, "formula").as_deref(), Some(expected));
    assert_eq!(decision.reason.to, 4, "{decision}");
    (0..10).for_each(|_| drop(scene.blind_tick()));
    let holds = asked(&scene.blind_tick(), "formula");
    assert_eq!(
        holds.as_deref(),
        Some("formula holds (its value is unknown)")
    );
}

#[test]
fn a_budget_caps_the_fleet_and_is_named() {
    let mut scene = Scene::new(
        &with("[cost]\nprice_per_hour = 0.4\nbudget_per_hour = 1.2"),
        2,
    );
    let decision = scene.tick(1000, 8);
    assert_eq!(decision.reason.to, 3, "{decision}");
    assert!(
        decision
            .reason
            .guards
            .contains(&Guard::Budget { workers: 3 })
    );
    assert_eq!(decision.cost_per_hour, Some(0.8));
    assert!(
        decision
            .to_string()
            .ends_with("cost.budget_per_hour pays for 3"),
        "{decision}"
    );
}

#[test]
fn what_is_ordered_by_hand_goes_before_every_ask_until_it_ends() {
    let mut scene = Scene::new(POLICY, 2);
    let until = scene.now() + Duration::from_secs(10);
    scene.law.set_override(Some(Override {
        size: Size::AsItIs,
        until,
    }));
    for _ in 0..9 {
        let decision = scene.tick(100, 8);
        assert!(decision.action.is_none(), "{decision}");
        assert!(
            decision.to_string().contains(": paused by hand; "),
            "{decision}"
        );
    }
    assert!(scene.tick(100, 8).action.launch > 0, "it is over");

    let until = scene.now() + Duration::from_secs(1000);
    scene.law.set_override(Some(Override {
        size: Size::Workers(4),
        until,
    }));
    assert_eq!(scene.tick(0, 8).action.launch, 2);
    scene.law.set_override(Some(Override {
        size: Size::Workers(99),
        until,
    }));
    assert_eq!(scene.tick(0, 8).reason.to, 5, "within fleet.max");
    scene.law.set_override(Some(Override {
        size: Size::Workers(1),
        until,
    }));
    assert_eq!(scene.tick(100, 8).action.drain.len(), 1);
    assert!(
        scene.blind_tick().action.drain.is_empty(),
        "a blind tick never shrinks"
    );
}

const FORECAST: &str = "[fleet]\nkind = 'process'\nmin = 1\nmax = 50\nlead_time = '20s'\n\
                        [slo]\nlatency = '2s'\n[forecast]\n";

fn services(count: u64, service_ms: u64) -> tidegate_control::Tally {
    let mut histogram = tidegate_protocol::Histogram::default();
    (0..count).for_each(|_| histogram.record(std::time::Duration::from_millis(service_ms)));
    tidegate_control::Tally::from(&histogram)
}

/// Ticks of so many requests a second that take so long each, and an empty queue.
fn traffic(
    scene: &mut Scene,
    ticks: u64,
    per_s: u64,
    service_ms: u64,
) -> tidegate_control::Decision {
    let mut last = None;
    for _ in 0..ticks {
        let mut seen = crate::stage::seen(0, per_s * service_ms / 1000);
        (seen.arrivals, seen.served) = (per_s, per_s);
        seen.service_ms = (per_s * service_ms) as f64;
        seen.service = services(per_s, service_ms);
        seen.workers = scene.reports.clone();
        last = Some(scene.see(&crate::stage::observation(Some(seen))));
    }
    last.expect("a tick")
}

#[test]
fn the_forecast_asks_for_the_load_and_a_margin_by_what_workers_are_seen_to_do() {
    let mut scene = Scene::unwatched(&format!("signal = []\n{FORECAST}"), 4);
    let decision = traffic(&mut scene, 300, 40, 500);
    // 20 requests at once, 4 to a worker, and room for chance.
    assert!((6..=9).contains(&decision.need), "{decision}");
    let text = decision.to_string();
    assert!(text.contains("forecast asks for"), "{text}");
    assert!(text.contains("(40.0/s of 500ms"), "{text}");
    assert!(text.contains(" % with one fewer)"), "{text}");
}

#[test]
fn the_forecast_never_shrinks_on_less_than_a_complete_view() {
    let mut scene = Scene::new(&format!("signal = []\n{FORECAST}"), 4);
    traffic(&mut scene, 300, 40, 500);
    for second in 0..400 {
        let decision = match second % 7 {
            0 => scene.blind_tick(),
            _ => continue,
        };
        assert!(decision.action.drain.is_empty(), "{decision}");
    }
    let decision = scene.blind_tick();
    assert!(
        decision.to_string().contains("forecast holds"),
        "{decision}"
    );
}

/// What one of two proxies says: half of the traffic, as long as the other answers too.
fn half(scene: &Scene, per_s: u64, waiting: u64) -> tidegate_control::Seen {
    let mut seen = crate::stage::seen(waiting, per_s / 2);
    (seen.arrivals, seen.served) = (per_s, per_s);
    seen.service_ms = (per_s * 500) as f64;
    seen.service = services(per_s, 500);
    seen.workers = scene.reports.clone();
    seen
}

fn of_two(
    first: tidegate_control::Seen,
    second: Option<tidegate_control::Seen>,
) -> tidegate_control::Observation {
    let mut both = crate::stage::observation(Some(first));
    both.proxies.push(tidegate_control::ProxyObservation {
        source: "proxy-b".to_owned(),
        seen: second,
    });
    both
}

#[test]
fn under_a_forecast_a_partial_view_grows_by_what_it_shows_and_never_shrinks() {
    let mut scene = Scene::unwatched(&format!("signal = []\n{FORECAST}"), 8);
    for _ in 0..300 {
        let both = of_two(half(&scene, 20, 0), Some(half(&scene, 20, 0)));
        scene.see(&both);
    }
    // One is missing for an hour: what the other shows is less, and nothing leaves.
    for _ in 0..3600 {
        let one = of_two(half(&scene, 20, 0), None);
        let decision = scene.see(&one);
        assert!(decision.action.drain.is_empty(), "{decision}");
    }
    // Arrivals at the other triple, and a thousand wait.
    let mut most = 0;
    for _ in 0..30 {
        let one = of_two(half(&scene, 60, 1000), None);
        most = most.max(scene.see(&one).action.launch);
    }
    assert!(most > 0, "it does not grow");
    // Back again, and as it was: what was not seen was not gone.
    for _ in 0..20 {
        let both = of_two(half(&scene, 20, 0), Some(half(&scene, 20, 0)));
        let decision = scene.see(&both);
        assert!(decision.action.drain.is_empty(), "{decision}");
    }
}

#[test]
fn a_queue_is_worked_off_though_nothing_more_arrives() {
    let mut scene = Scene::unwatched(&format!("signal = []\n{FORECAST}"), 4);
    traffic(&mut scene, 60, 40, 500);
    let mut last = None;
    for _ in 0..30 {
        last = Some(scene.tick(800, 16));
    }
    // 800 x 0.5 s within 20 s: 20 slots, 4 to a worker.
    let decision = last.expect("a tick");
    assert!(
        decision.to_string().contains("drain asks for 5"),
        "{decision}"
    );
}

#[test]
fn a_clock_that_is_set_back_is_survived() {
    let mut scene = Scene::unwatched(&format!("signal = []\n{FORECAST}"), 4);
    traffic(&mut scene, 900, 40, 500);
    scene.second -= 800;
    let decision = traffic(&mut scene, 60, 40, 500);
    assert!(decision.need > 0, "{decision}");
}

#[test]
fn launches_that_keep_failing_are_not_counted_on() {
    let mut scene = Scene::new(POLICY, 1);
    for attempt in 0..20 {
        let id = format!("x-{attempt}");
        let now = scene.now();
        scene.workers.push(worker(&id, now, Stage::Booting));
        scene.tick(0, 4);
        scene.workers.retain(|worker| worker.id != id);
        scene.tick(0, 4);
    }
    let now = scene.now();
    scene.workers.push(worker("w-2", now, Stage::Booting));
    scene.workers.push(worker("w-3", now, Stage::Booting));
    scene.reports.push(report("w-9", 0));
    let decision = scene.until_action(12, 24, 4);
    assert!(decision.action.launch > 0, "{decision}");
    assert!(
        decision
            .to_string()
            .contains("will probably not be ready in time"),
        "{decision}"
    );
}

#[test]
fn a_source_beside_the_proxies_is_a_signal_with_a_rule_for_when_it_is_not_known() {
    let shop = |on_missing: &str| {
        with(&format!(
            "[[signal]]\nname = 'orders'\nsource = 'shop'\nstatistic = 'mean'\nwindow = '3s'\n\
             target_per_worker = 10\non_missing = {on_missing}"
        ))
    };
    let tick = |scene: &mut Scene, value: Option<f64>| {
        let mut seen = crate::stage::seen(0, 4);
        seen.workers = scene.reports.clone();
        let mut seen = crate::stage::observation(Some(seen));
        seen.values
            .extend(value.map(|value| ("shop".to_owned(), value)));
        asked(&scene.see(&seen), "orders").expect("it is asked")
    };
    let mut scene = Scene::new(&shop("'hold'"), 1);
    tick(&mut scene, Some(20.0));
    let measured = tick(&mut scene, Some(40.0));
    assert_eq!(
        measured,
        "orders asks for 3 (mean 30.0 over 3s, 10 per worker)"
    );
    let unknown = tick(&mut scene, None);
    assert_eq!(unknown, "orders holds (its value is unknown)");
    for (rule, expected) in [
        (
            "'ignore'",
            "orders asks for 0 (its value is unknown; on_missing)",
        ),
        (
            "{ value = 25.0 }",
            "orders asks for 3 (mean 25.0 over 3s, 10 per worker)",
        ),
        ("2", "orders asks for 2 (its value is unknown; on_missing)"),
    ] {
        let mut scene = Scene::new(&shop(rule), 1);
        assert_eq!(tick(&mut scene, None), expected, "{rule}");
    }
}

#[test]
fn a_source_that_says_too_little_lets_the_fleet_grow_and_never_shrink() {
    let orders = "[[signal]]\nname = 'orders'\nsource = 'shop'\nstatistic = 'max'\nwindow = '1s'\n\
                  target_per_worker = 10";
    let mut scene = Scene::new(&with(orders), 2);
    let mut tick = |value: f64, is_partial: bool| {
        let mut seen = crate::stage::seen(0, 0);
        seen.workers = scene.reports.clone();
        let mut seen = crate::stage::observation(Some(seen));
        seen.values.insert("shop".to_owned(), value);
        seen.lower_bounds
            .extend(is_partial.then(|| "shop".to_owned()));
        asked(&scene.see(&seen), "orders").expect("it is asked")
    };
    let whole = tick(5.0, false);
    assert_eq!(whole, "orders asks for 1 (max 5.0 over 1s, 10 per worker)");
    assert_eq!(tick(5.0, true), "orders holds (its value is unknown)");
    let more = tick(35.0, true);
    assert_eq!(more, "orders asks for 4 (max 35.0 over 1s, 10 per worker)");
}

#[test]
fn a_clock_that_is_set_forward_makes_no_booting_worker_overdue() {
    let mut scene = Scene::new(POLICY, 2);
    let launched = scene.now();
    scene.workers.push(worker("w-3", launched, Stage::Booting));
    scene.tick(0, 8);
    // The machine had booted with a clock that was half an hour slow.
    scene.second += 1800;
    for _ in 0..19 {
        let decision = scene.tick(0, 8);
        assert!(decision.action.replace.is_empty(), "{decision}");
    }
    // It has its whole lead time from there, and no more.
    let replaced = (0..5).map(|_| scene.tick(0, 8).action.replace.len());
    assert!(replaced.sum::<usize>() > 0);
}

#[test]
fn a_schedule_follows_a_clock_that_is_set_forward_or_back() {
    // The stage's clock begins a quarter of an hour after midnight; this is a day later.
    let one = "[[schedule]]\nname = 'early'\ncron = '0 1 * * *'\nfor = '1h'\nworkers = 3";
    let mut scene = Scene::new(&with(one), 1);
    scene.second += 24 * 3600;
    assert_eq!(asked(&scene.tick(0, 4), "early"), None);
    scene.second += 3600;
    let after = asked(&scene.tick(0, 4), "early");
    assert!(after.is_some_and(|ask| ask.starts_with("early asks for 3")));
    scene.law.set_behind(Duration::from_secs(3600));
    assert_eq!(asked(&scene.tick(0, 4), "early"), None);
}

/// One of three ticks misses a proxy, as when it answers late now and then.
#[test]
fn a_proxy_that_is_missed_now_and_then_does_not_keep_the_fleet_large() {
    let mut scene = Scene::unwatched(POLICY, 4);
    let mut drained = 0;
    for tick in 0..120 {
        let second = (tick % 3 != 0).then(|| crate::stage::seen(0, 0));
        let mut first = crate::stage::seen(0, 0);
        first.workers = scene.reports.clone();
        drained += scene.see(&of_two(first, second)).action.drain.len();
    }
    assert!(drained > 0, "it never shrinks");
}
