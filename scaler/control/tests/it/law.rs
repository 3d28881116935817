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
fn a_worker_that_drains_by_itself_and_does_not_finish_is_stopped_and_its_place_taken_at_once() {
    let mut scene = Scene::new(POLICY, 2);
    let since = scene.now();
    scene.set("w-2", Stage::Quitting { since });
    assert_eq!(scene.until_action(5, 0, 8).action, launches(1));
    let now = scene.now();
    scene
        .workers
        .push(worker("w-3", now, Stage::Serving { heard: now }));
    scene.reports.push(crate::stage::report("w-3", 4));
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
fn a_worker_that_an_operator_drains_is_replaced_and_not_taken_back() {
    let mut scene = Scene::new(POLICY, 2);
    let since = scene.now();
    scene.set("w-2", Stage::Draining { since });
    scene.kept_draining.push("w-2".to_owned());
    let decision = scene.until_action(5, 0, 8);
    assert_eq!(decision.action, launches(1), "{decision}");
    let now = scene.now();
    scene
        .workers
        .push(worker("w-3", now, Stage::Serving { heard: now }));
    scene.reports.push(crate::stage::report("w-3", 4));
    let decision = scene.until_action(90, 0, 8);
    assert_eq!(decision.action, Action::default(), "past the drain limit");
    scene.permits("w-2", 0);
    assert_eq!(scene.tick(0, 8).action.remove, ["w-2"]);
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
    scene.reports[1].draining = false;
    assert_eq!(scene.tick(0, 4).action, Action::default(), "no order yet");
    scene.reports[1].draining = true;
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
    partial.proxies.push(tidegate_control::ProxyObservation {
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
    partial.proxies.push(tidegate_control::ProxyObservation {
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
        seen.workers = scene.reports.clone();
        let seen = crate::stage::observation(Some(seen));
        let expected = scene.see(&seen);
        let fleet = tidegate_control::Fleet {
            workers: scene.workers.clone(),
            ..tidegate_control::Fleet::default()
        };
        let now = scene.now();
        if !expected.action.is_none() {
            let found = recalled.decide(now, &seen, &fleet);
            assert_eq!(found.action, expected.action);
            return;
        }
        recalled.recall(now, &seen, &fleet, &expected);
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
fn after_an_outage_workers_get_time_to_be_heard_of_again() {
    let mut scene = Scene::new(POLICY, 2);
    let (heard, launched) = (scene.now(), scene.now());
    scene.workers.push(worker("w-3", launched, Stage::Booting));
    for _ in 0..60 {
        scene.blind_tick();
    }
    scene.reports.clear();
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
    partial.proxies.push(tidegate_control::ProxyObservation {
        source: "proxy-b".to_owned(),
        seen: None,
    });
    let mut launched = 0;
    for _ in 0..30 {
        let decision = scene.see(&partial);
        let of_max = |guard: &&Guard| matches!(guard, Guard::Max { .. });
        let named = decision.reason.guards.iter().filter(of_max).count();
        assert!(named <= 1, "{decision}");
        let action = decision.action;
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
