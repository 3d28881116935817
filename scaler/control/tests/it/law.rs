//! What the law does with a fleet, rule by rule.

use tidegate_control::{Action, Guard, Law, Replacement, Stage, Time, WhyReplaced};

use crate::stage::{POLICY, Scene, at, policy, seen, worker};

fn launches(count: u32) -> Action {
    Action {
        launch: count,
        ..Action::default()
    }
}

fn drains(id: &str) -> Action {
    Action {
        drain: vec![id.to_owned()],
        ..Action::default()
    }
}

/// Lets the load fall to what one worker can do, and drains another.
fn drain_quietly(scene: &mut Scene, id: &str) -> Time {
    (0..5).for_each(|_| drop(scene.tick(0, 4)));
    let since = scene.now();
    scene.set(id, Stage::Draining { since });
    since
}

#[test]
fn a_fleet_starts_at_its_minimum_even_when_nothing_is_known() {
    let mut scene = Scene::unwatched(POLICY, 0);
    assert_eq!(scene.blind_tick().action, launches(1));
}

#[test]
fn the_largest_ask_wins() {
    let mut scene = Scene::new(POLICY, 1);
    let decision = scene.until_action(10, 18, 4);
    let reason = &decision.reason;
    assert_eq!(reason.winner, Some(0), "{decision}");
    assert_eq!((reason.from, reason.to), (1, 1 + decision.action.launch));
}

#[test]
fn a_value_within_the_tolerance_changes_nothing() {
    let mut scene = Scene::new(POLICY, 3);
    for _ in 0..100 {
        assert_eq!(scene.tick(0, 13).action, Action::default());
    }
}

#[test]
fn booting_workers_count_within_their_lead_time() {
    let mut scene = Scene::new(POLICY, 1);
    let now = scene.now();
    scene.workers.push(worker("w-2", now, Stage::Booting));
    scene.workers.push(worker("w-3", now, Stage::Booting));
    for _ in 0..19 {
        let decision = scene.tick(24, 4);
        assert_eq!(decision.action, Action::default(), "{decision}");
    }
}

#[test]
fn a_worker_that_is_overdue_is_replaced() {
    let mut scene = Scene::new(POLICY, 1);
    let now = scene.now();
    scene.workers.push(worker("w-2", now, Stage::Booting));
    let decision = scene.until_action(40, 16, 4);
    assert_eq!(scene.now().since(now).as_secs(), 21);
    let lead_time = tidegate_config::Duration::from_secs(20);
    let replaced = Replacement {
        id: "w-2".to_owned(),
        why: WhyReplaced::Overdue { lead_time },
    };
    assert_eq!(decision.action.replace, [replaced]);
    assert_eq!(decision.action.launch, 1);
}

#[test]
fn nobody_is_overdue_to_a_blind_scaler() {
    let mut scene = Scene::new(POLICY, 1);
    let now = scene.now();
    scene.workers.push(worker("w-2", now, Stage::Booting));
    for _ in 0..60 {
        assert_eq!(scene.blind_tick().action, Action::default());
    }
}

#[test]
fn a_silent_worker_is_replaced_unless_it_still_holds_a_permit() {
    let mut scene = Scene::new(POLICY, 2);
    let heard = scene.now();
    scene.workers[1].stage = Stage::Serving { heard };
    let fleet = |workers: &[tidegate_control::Worker]| tidegate_control::Fleet {
        workers: workers.to_vec(),
        launches_held_until: None,
    };
    let mut tick = |second: u64, permits: u32| {
        let now = at(second);
        scene.workers[0].stage = Stage::Serving { heard: now };
        let mut seen = seen(0, 8);
        seen.workers = vec![
            crate::stage::sight("w-1", 4),
            crate::stage::sight("w-2", permits),
        ];
        let seen = crate::stage::observation(Some(seen));
        scene.law.decide(now, &seen, &fleet(&scene.workers)).action
    };
    assert_eq!(tick(200, 1).replace, []);
    let replaced = tick(201, 0).replace;
    assert_eq!(replaced.len(), 1);
    assert_eq!(replaced[0].id, "w-2");
}

/// Ticks in which these workers of `scene`, idle by what the proxy says, are never heard of
/// again, each a second after the other; what was replaced and the guards of the last tick.
fn silenced(scene: &mut Scene, silent: &[usize], ticks: u64) -> (Vec<String>, Vec<Guard>) {
    let fell = scene.now();
    let (mut replaced, mut guards) = (Vec::new(), Vec::new());
    for id in ["w-1", "w-2", "w-3", "w-4"] {
        scene.permits(id, 0);
    }
    for _ in 0..ticks {
        let next = at(scene.second + 1);
        for (index, worker) in scene.workers.iter_mut().enumerate() {
            let heard = match silent.contains(&index) {
                true => fell + std::time::Duration::from_secs(index as u64),
                false => next,
            };
            worker.stage = Stage::Serving { heard };
        }
        let decision = scene.tick_as_is(0, 16);
        assert!(decision.action.drain.is_empty(), "{decision}");
        replaced.extend(decision.action.replace.into_iter().map(|r| r.id));
        guards = decision.reason.guards;
        scene
            .workers
            .retain(|worker| !replaced.contains(&worker.id));
    }
    (replaced, guards)
}

#[test]
fn when_most_workers_fall_silent_together_none_is_replaced() {
    for silent in [&[0, 1, 2, 3][..], &[1, 2, 3]] {
        let mut scene = Scene::new(POLICY, 4);
        let (replaced, guards) = silenced(&mut scene, silent, 100);
        assert_eq!((replaced, guards), (vec![], vec![Guard::MassSilence]));
    }
}

#[test]
fn up_to_half_of_the_workers_are_replaced_when_they_fall_silent_and_a_lone_one_is() {
    let mut scene = Scene::new(POLICY, 4);
    let (replaced, _) = silenced(&mut scene, &[2, 3], 34);
    assert_eq!(replaced, ["w-3", "w-4"]);
    let mut scene = Scene::new(POLICY, 1);
    assert_eq!(silenced(&mut scene, &[0], 31).0, ["w-1"]);
}

#[test]
fn a_worker_that_drains_by_itself_and_does_not_finish_is_stopped_and_its_place_taken_at_once() {
    let mut scene = Scene::new(POLICY, 2);
    let since = scene.now();
    scene.set("w-2", Stage::Quitting { since });
    assert_eq!(scene.until_action(5, 0, 8).action, launches(1));
    let now = scene.now();
    scene
        .workers
        .push(worker("w-3", now, Stage::Serving { heard: now }));
    scene.sights.push(crate::stage::sight("w-3", 4));
    let decision = scene.until_action(70, 0, 8);
    let drain_limit = tidegate_config::Duration::from_secs(60);
    let stuck = Replacement {
        id: "w-2".to_owned(),
        why: WhyReplaced::Stuck { drain_limit },
    };
    assert_eq!(decision.action.replace, [stuck], "{decision}");
    assert_eq!(scene.now().since(since).as_secs(), 61);
    assert_eq!(decision.action.launch, 0);
}

#[test]
fn the_least_busy_worker_is_drained_once_less_was_asked_for_all_the_window() {
    let mut scene = Scene::new(POLICY, 3);
    scene.permits("w-1", 3);
    scene.permits("w-2", 1);
    scene.permits("w-3", 2);
    let quiet = scene.now();
    let decision = scene.until_action(60, 0, 6);
    assert_eq!(decision.action, drains("w-2"), "{decision}");
    let waited = scene.now().since(quiet).as_secs();
    assert!((30..=36).contains(&waited), "{waited}");
}

#[test]
fn a_drained_worker_is_stopped_only_when_every_proxy_reports_it_empty() {
    let mut scene = Scene::new(POLICY, 2);
    drain_quietly(&mut scene, "w-2");
    assert_eq!(
        scene.tick(0, 4).action,
        Action::default(),
        "it holds permits"
    );
    scene.permits("w-2", 0);
    assert_eq!(scene.blind_tick().action, Action::default());
    scene.sights[1].draining = false;
    assert_eq!(scene.tick(0, 4).action, Action::default(), "no order yet");
    scene.sights[1].draining = true;
    assert_eq!(scene.tick(0, 4).action.remove, ["w-2"]);
}

#[test]
fn a_draining_worker_is_taken_back_before_another_is_launched() {
    let mut scene = Scene::new(POLICY, 2);
    let since = scene.now();
    scene.set("w-2", Stage::Draining { since });
    let decision = scene.until_action(10, 40, 4);
    assert_eq!(decision.action.undrain, ["w-2"]);
    let grown = decision.action.launch as usize + decision.action.undrain.len();
    assert_eq!(decision.reason.to as usize, 1 + grown);
}

#[test]
fn a_drain_that_takes_too_long_is_given_up_and_not_tried_again_at_once() {
    let mut scene = Scene::new(POLICY, 2);
    let since = drain_quietly(&mut scene, "w-2");
    let decision = scene.until_action(70, 0, 4);
    assert_eq!(decision.action.undrain, ["w-2"], "{decision}");
    assert_eq!(scene.now().since(since).as_secs(), 61);
    let now = scene.now();
    scene.set("w-2", Stage::Serving { heard: now });
    let decision = scene.until_action(100, 0, 4);
    assert_eq!(decision.action.drain.len(), 1, "{decision}");
    assert!(scene.now().since(now).as_secs() >= 60);
}

#[test]
fn a_blind_or_partial_tick_does_not_shrink() {
    let mut scene = Scene::new(POLICY, 3);
    for _ in 0..100 {
        assert_eq!(scene.blind_tick().action, Action::default());
    }
    let mut scene = Scene::new(POLICY, 3);
    let mut partial = crate::stage::observation(Some(seen(0, 0)));
    partial.proxies.push(tidegate_control::ProxySight {
        source: "proxy-b".to_owned(),
        seen: None,
    });
    for _ in 0..100 {
        let decision = scene.see(&partial);
        assert_eq!(decision.action, Action::default());
        let missing = vec!["proxy-b".to_owned()];
        if decision.need == 0 && scene.second > 200 {
            assert!(decision.reason.guards.contains(&Guard::Partial { missing }));
        }
    }
}

#[test]
fn a_partial_tick_may_grow() {
    let mut scene = Scene::new(POLICY, 1);
    let mut partial = crate::stage::observation(Some(seen(100, 4)));
    partial.proxies.push(tidegate_control::ProxySight {
        source: "proxy-b".to_owned(),
        seen: None,
    });
    assert!(scene.see(&partial).action.launch > 0);
}

#[test]
fn after_a_restart_nothing_is_removed_for_the_down_window() {
    let mut scene = Scene::unwatched(POLICY, 3);
    let begin = scene.now();
    let decision = scene.until_action(100, 0, 0);
    assert_eq!(decision.action.drain.len(), 2, "{decision}");
    assert!(scene.now().since(begin).as_secs() > 30);
}

#[test]
fn a_recalled_law_decides_as_if_it_had_never_stopped() {
    let mut scene = Scene::new(POLICY, 3);
    let mut recalled = Law::new(policy(POLICY));
    for _ in 0..40 {
        let mut seen = seen(0, 4);
        seen.workers = scene.sights.clone();
        let seen = crate::stage::observation(Some(seen));
        let expected = scene.see(&seen);
        let fleet = tidegate_control::Fleet {
            workers: scene.workers.clone(),
            launches_held_until: None,
        };
        let now = scene.now();
        if !expected.action.is_none() {
            let found = recalled.decide(now, &seen, &fleet);
            assert_eq!(found.action, expected.action);
            return;
        }
        recalled.recall(now, &seen, &expected);
    }
    panic!("the fleet was never to shrink");
}

#[test]
fn one_waiting_request_raises_a_fleet_of_none_to_one() {
    let text = POLICY.replace("min = 1", "min = 0");
    let mut scene = Scene::unwatched(&text, 0);
    assert_eq!(scene.tick(0, 0).action, Action::default());
    let decision = scene.tick(1, 0);
    assert_eq!(decision.action, launches(1), "{decision}");
}

#[test]
fn nothing_is_launched_while_starts_keep_failing() {
    let mut scene = Scene::new(POLICY, 1);
    scene.launches_held_until = Some(at(10_000));
    for _ in 0..20 {
        let decision = scene.tick(80, 4);
        assert_eq!(decision.action, Action::default());
    }
}

#[test]
fn a_missing_signal_with_a_fallback_asks_for_it() {
    let text = POLICY.replace(
        "target_per_worker = 8",
        "target_per_worker = 8\non_missing = 3",
    );
    let mut scene = Scene::new(&text, 1);
    let mut grown = None;
    for _ in 0..10 {
        let decision = scene.blind_tick();
        if decision.action.launch > 0 {
            grown = Some(decision);
            break;
        }
    }
    let decision = grown.expect("the fallback asks for three");
    assert_eq!(decision.reason.to, 3, "{decision}");
}

#[test]
fn bounds_hold_at_once_when_a_reload_changes_them() {
    let mut scene = Scene::new(POLICY, 3);
    scene
        .law
        .reload(policy(&POLICY.replace("min = 1", "min = 4")));
    assert_eq!(scene.tick(0, 12).action, launches(1));
    scene
        .law
        .reload(policy(&POLICY.replace("max = 5", "max = 2")));
    assert_eq!(scene.tick(0, 12).action.drain.len(), 1);
}

#[test]
fn a_reload_that_looks_further_back_does_not_shrink_on_what_was_forgotten() {
    for (from, to, least) in [
        ("stabilization = \"30s\"", "stabilization = \"90s\"", 90),
        ("window = \"5s\"", "window = \"70s\"", 70),
        ("stabilization = \"30s\"", "stabilization = \"20s\"", 0),
    ] {
        let mut scene = Scene::new(POLICY, 3);
        for _ in 0..29 {
            assert!(scene.tick(0, 4).action.is_none());
        }
        let reloaded = scene.now();
        scene.law.reload(policy(&POLICY.replace(from, to)));
        let decision = scene.until_action(200, 0, 4);
        let waited = scene.now().since(reloaded).as_secs();
        assert!(!decision.action.drain.is_empty(), "{decision}");
        assert!((least..=least + 12).contains(&waited), "{to}: {waited}");
    }
}

#[test]
fn a_wait_over_its_target_scales_what_serves() {
    let text = POLICY.to_owned()
        + r#"
[[signal]]
name = "latency"
metric = "oldest_wait"
statistic = "max"
window = "5s"
target_value = "1s"
"#;
    let mut scene = Scene::new(&text, 2);
    let mut slow = seen(1, 8);
    slow.oldest_waiting_ms = Some(2_000);
    let decision = scene.see(&crate::stage::observation(Some(slow)));
    assert_eq!(decision.reason.to, 4, "{decision}");
}

/// What a proxy saw in a second in which `arrivals` came, and so many requests took `latency`.
fn second(arrivals: u64, latency: &[(u64, u64)]) -> tidegate_control::Observation {
    let mut histogram = tidegate_wire::Histogram::default();
    for (count, ms) in latency {
        for _ in 0..*count {
            histogram.record(std::time::Duration::from_millis(*ms));
        }
    }
    let mut seen = seen(0, 8);
    (seen.arrivals, seen.latency) = (arrivals, (&histogram).into());
    crate::stage::observation(Some(seen))
}

#[test]
fn p95_latency_over_the_promise_scales_what_serves_and_a_few_slow_requests_do_not() {
    let text = POLICY.to_owned()
        + r#"
[[signal]]
name = "latency"
metric = "latency"
statistic = "p95"
window = "5s"
"#;
    let mut scene = Scene::new(&text, 2);
    let decision = scene.see(&second(100, &[(97, 1_900), (3, 9_000)]));
    assert_eq!(decision.action, Action::default(), "{decision}");
    let mut scene = Scene::new(&text, 2);
    let decision = scene.see(&second(100, &[(90, 100), (10, 3_900)]));
    let said = decision.to_string();
    assert!(
        said.starts_with("2 -> 4 workers: latency asks for 4 (p95 "),
        "{said}"
    );
    assert!(said.ends_with("s over 5s, target 2.00s)"), "{said}");
}

#[test]
fn a_request_rate_asks_for_its_share_of_workers() {
    let text = POLICY.to_owned()
        + r#"
[[signal]]
name = "rate"
metric = "request_rate"
statistic = "rate"
window = "5s"
target_per_worker = 10
"#;
    let mut scene = Scene::new(&text, 2);
    for _ in 0..6 {
        assert_eq!(scene.see(&second(19, &[])).action, Action::default());
    }
    for _ in 0..2 {
        scene.see(&second(40, &[]));
    }
    let decision = scene.see(&second(40, &[]));
    // Three seconds of 40 and two of 19.
    let said = decision.to_string();
    assert_eq!(
        said,
        "2 -> 4 workers: rate asks for 4 (rate 31.6/s over 5s, 10 per worker)"
    );
}

#[test]
fn after_an_outage_workers_get_time_to_be_heard_of_again() {
    let mut scene = Scene::new(POLICY, 2);
    let (heard, launched) = (scene.now(), scene.now());
    scene.workers.push(worker("w-3", launched, Stage::Booting));
    for _ in 0..60 {
        scene.blind_tick();
    }
    scene.sights.clear();
    let mut replaced = Vec::new();
    for second in 0..40 {
        scene.workers[0].stage = Stage::Leaving;
        scene.workers[1].stage = Stage::Serving { heard };
        let action = scene.tick_as_is(0, 8).action;
        let ids = action.replace.into_iter().map(|r| (second, r.id));
        replaced.extend(ids);
        if let Some((_, id)) = replaced.last() {
            scene.workers.retain(|worker| worker.id != *id);
        }
        if scene.workers.len() < 2 {
            break;
        }
    }
    let expected = [(5, "w-3".to_owned()), (31, "w-2".to_owned())];
    assert_eq!(replaced, expected);
}

#[test]
fn an_overdue_worker_is_not_counted_on_while_a_proxy_is_missing_but_takes_its_place() {
    let text = POLICY.replace("max = 5", "max = 3");
    let mut scene = Scene::new(&text, 1);
    let launched = scene.now();
    scene.workers.push(worker("w-2", launched, Stage::Booting));
    let mut partial = crate::stage::observation(Some(seen(100, 4)));
    partial.proxies.push(tidegate_control::ProxySight {
        source: "proxy-b".to_owned(),
        seen: None,
    });
    let mut launched = 0;
    for _ in 0..30 {
        let action = scene.see(&partial).action;
        assert_eq!(action.replace, []);
        for _ in 0..action.launch {
            launched += 1;
            let id = format!("w-{}", launched + 2);
            let now = scene.now();
            scene.workers.push(worker(&id, now, Stage::Booting));
        }
    }
    assert_eq!(
        launched, 1,
        "three are there, though one of them is not counted on"
    );
}
