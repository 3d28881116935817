//! Ticks of a whole scaler.

use std::time::Duration;

use axum::http::StatusCode;
use tidegate_control::{Member, Time};
use tidegate_scaler::ledger::fold;
use tidegate_scaler::scaler::Actuator;

use crate::harness::{Harness, end};
use crate::stage::lock;

#[tokio::test]
async fn it_grows_under_load_and_says_why() {
    let mut harness = Harness::new(1).await;
    harness.tick().await;
    harness.all_ready(0);
    harness.load(4, 4);
    harness.ticks(2).await;
    assert_eq!(
        harness.events(),
        [
            "0 -> 1 worker: fleet.min is 1; requests asks for 0 (max 0.0 over 2s, 4 per worker)",
            "w-1 is ready after 1.0s",
            "1 -> 2 workers: requests asks for 2 (max 8.0 over 2s, 4 per worker)",
        ]
    );
}

#[tokio::test]
async fn a_worker_that_an_earlier_run_left_serving_did_not_need_its_age_to_get_ready() {
    let mut harness = Harness::new(1).await;
    lock(&harness.fleet.0).members.push(Member {
        id: "w-7".to_owned(),
        launched: Time::from_ms(500_000),
        leaving: false,
    });
    harness.all_ready(0);
    harness.ticks(2).await;
    assert_eq!(harness.events(), ["w-7 is serving"]);
}

#[tokio::test]
async fn it_drains_at_every_proxy_before_it_removes() {
    let mut harness = Harness::two_idle_workers(2).await;
    harness.proxies[1].permits("w-2", 1);
    harness.proxies[0].permits("w-1", 3);
    harness.ticks(12).await;
    assert_eq!(harness.orders(0), ["drain w-2"]);
    assert_eq!(harness.orders(1), ["drain w-2"]);
    harness.ticks(5).await;
    assert_eq!(harness.members(), ["w-1", "w-2"], "a proxy holds a permit");
    harness.proxies[1].permits("w-2", 0);
    harness.ticks(2).await;
    assert_eq!(harness.members(), ["w-1"]);
    assert_eq!(
        harness.events(),
        [
            "2 -> 1 worker: fleet.min is 1; requests asks for 0 (max 0.0 over 2s, 4 per worker); \
             drains w-2",
            "w-2 has stopped",
        ]
    );
}

#[tokio::test]
async fn a_drain_that_a_proxy_did_not_take_is_given_again() {
    let mut harness = Harness::two_idle_workers(2).await;
    harness.ticks(12).await;
    harness.orders(1);
    let forgets = |harness: &Harness| {
        let mut state = harness.proxies[1].state();
        state
            .signal
            .workers
            .iter_mut()
            .for_each(|w| w.draining = false);
    };
    harness.proxies[1].permits("w-2", 1);
    forgets(&harness);
    harness.tick().await;
    assert_eq!(harness.orders(1), ["drain w-2"]);
}

#[tokio::test]
async fn a_drain_is_taken_back_when_demand_returns_and_at_its_limit() {
    let mut harness = Harness::two_idle_workers(1).await;
    harness.proxies[0].permits("w-1", 2);
    harness.proxies[0].permits("w-2", 1);
    harness.ticks(12).await;
    assert_eq!(harness.orders(0), ["drain w-2"]);
    harness.load(4, 4);
    harness.ticks(2).await;
    assert_eq!(harness.orders(0), ["undrain w-2"]);
    assert_eq!(harness.members(), ["w-1", "w-2"]);

    harness.load(0, 0);
    harness.ticks(13).await;
    assert_eq!(harness.orders(0), ["drain w-2"]);
    harness.events();
    harness.ticks(20).await;
    assert_eq!(harness.orders(0), ["undrain w-2"]);
    assert_eq!(
        harness.events(),
        [
            "1 -> 2 workers: fleet.min is 1; requests asks for 0 (max 0.0 over 2s, 4 per worker); \
             w-2 did not finish within fleet.drain_limit; undrains w-2"
        ]
    );
}

#[tokio::test]
async fn a_drain_that_a_proxy_did_not_take_back_is_taken_back_again() {
    let mut harness = Harness::two_idle_workers(2).await;
    harness.proxies[0].permits("w-2", 1);
    harness.proxies[0].permits("w-1", 2);
    harness.ticks(12).await;
    harness.load(4, 4);
    harness.tick().await;
    assert_eq!(harness.orders(1), ["drain w-2", "undrain w-2"]);
    for worker in &mut harness.proxies[1].state().signal.workers {
        worker.draining = worker.worker == "w-2";
    }
    harness.ticks(2).await;
    assert_eq!(harness.orders(1), ["undrain w-2"]);
    assert_eq!(harness.members(), ["w-1", "w-2"]);
}

#[tokio::test]
async fn a_silent_proxy_is_told_once_and_nothing_shrinks_meanwhile() {
    let mut harness = Harness::two_idle_workers(2).await;
    harness.proxies[1].state().refuses = Some(StatusCode::INTERNAL_SERVER_ERROR);
    harness.ticks(30).await;
    assert_eq!(harness.members(), ["w-1", "w-2"]);
    let url = harness.proxies[1].url.clone();
    assert_eq!(
        harness.events(),
        [format!(
            "{url} gives no signal, so no worker is removed: \
             it answers with 500 Internal Server Error"
        )]
    );
    // What was idle was not seen as a whole: the window of scale_in begins when it is.
    harness.proxies[1].state().refuses = None;
    harness.ticks(9).await;
    let events = harness.events();
    assert_eq!(events, [format!("{url} gives its signal again")]);
    harness.ticks(3).await;
    let events = harness.events();
    assert!(events[0].ends_with("drains w-2"), "{events:?}");
}

#[tokio::test]
async fn faults_of_a_proxy_are_told_apart() {
    let mut harness = Harness::new(1).await;
    harness.proxies[0].state().refuses = Some(StatusCode::UNAUTHORIZED);
    harness.tick().await;
    assert!(harness.events()[0].ends_with("it refuses the operator token"));
    harness.proxies[0].state().refuses = None;
    harness.tick().await;
    harness.events();
    harness.proxies[0].state().signal.version = 7;
    harness.tick().await;
    assert!(harness.events()[0].ends_with("its signal has version 7, expected 1 to 2"));
}

#[tokio::test]
async fn workers_that_crash_at_start_are_told_once_and_started_less_and_less() {
    let mut harness = Harness::new(1).await;
    lock(&harness.fleet.0).crash = true;
    harness.ticks(120).await;
    let events = harness.events();
    let kinds: Vec<_> = events
        .iter()
        .filter(|line| !line.starts_with("0 -> 1"))
        .collect();
    assert_eq!(
        kinds,
        [
            "w-1 ended 0.3s after its start, never ready (exit code 1)\n    \
             the model cannot be loaded",
            "2 launches in a row have failed; retrying after 2.0s, then less often, down to once \
             a minute",
        ]
    );
    let launched = lock(&harness.fleet.0).launched;
    assert!((5..=9).contains(&launched), "{launched} launches");

    lock(&harness.fleet.0).crash = false;
    harness.until_launched().await;
    harness.all_ready(0);
    harness.ticks(10).await;
    let events = harness.events();
    let ready = |line: &String| line.ends_with("is ready after 1.0s");
    assert!(events.last().is_some_and(ready), "{events:?}");
    harness.tick().await;
    let events = harness.events();
    assert_eq!(
        events.last().map(String::as_str),
        Some("launches succeed again")
    );
}

#[tokio::test]
async fn workers_that_die_as_soon_as_they_are_ready_are_started_less_and_less() {
    let mut harness = Harness::new(1).await;
    for _ in 0..120 {
        harness.tick().await;
        harness.all_ready(0);
        let ready: Vec<_> = harness.members();
        harness.tick().await;
        let mut fleet = lock(&harness.fleet.0);
        fleet.members.clear();
        fleet.ended.extend(ready.iter().map(|id| end(id, false)));
    }
    let launched = lock(&harness.fleet.0).launched;
    assert!((5..=11).contains(&launched), "{launched} launches");
    let events = harness.events();
    let count = |words: &str| events.iter().filter(|line| line.contains(words)).count();
    assert_eq!(count(" ended after "), 1, "{events:?}");
    assert_eq!(count("2 launches in a row have failed"), 1, "{events:?}");
}

#[tokio::test]
async fn a_fleet_that_cannot_launch_is_told_once_and_asked_again() {
    let mut harness = Harness::new(1).await;
    lock(&harness.fleet.0).refuses = true;
    harness.ticks(30).await;
    let failed = |line: &&String| line.starts_with("no worker could be launched");
    assert_eq!(harness.events().iter().filter(failed).count(), 1);
    lock(&harness.fleet.0).refuses = false;
    harness.until_launched().await;
}

#[tokio::test]
async fn a_worker_that_never_beats_is_replaced() {
    let mut harness = Harness::new(1).await;
    harness.ticks(22).await;
    assert_eq!(harness.members(), ["w-2"]);
    let events = harness.events();
    assert!(
        events[1].ends_with("replaces w-1, which was not ready within 20s (fleet.lead_time)"),
        "{events:?}"
    );
}

#[tokio::test]
async fn beats_that_all_stop_while_workers_serve_end_no_worker_and_are_told_once() {
    let mut harness = Harness::two_idle_workers(1).await;
    harness.load(0, 8);
    for second in 1..100 {
        let age = |worker: &mut tidegate_protocol::WorkerSignal| worker.beat_age_ms = second * 1000;
        harness.proxies[0]
            .state()
            .signal
            .workers
            .iter_mut()
            .for_each(age);
        harness.tick().await;
    }
    assert_eq!(harness.members(), ["w-1", "w-2"]);
    assert_eq!(
        harness.events(),
        [
            "most workers fell silent together, so none is replaced before fleet.mass_silence: \
             do their heartbeats reach the proxies?"
        ]
    );
}

#[tokio::test]
async fn a_killed_worker_is_told_and_replaced() {
    let mut harness = Harness::two_idle_workers(1).await;
    harness.load(0, 8);
    harness.ticks(11).await;
    let killed = lock(&harness.fleet.0).members.remove(0);
    let ended = end(&killed.id, false);
    lock(&harness.fleet.0).ended.push(ended);
    harness.tick().await;
    assert_eq!(harness.members(), ["w-2", "w-3"]);
    assert!(harness.events()[0].starts_with("w-1 ended after 0.3s (exit code 1)"));
}

#[tokio::test]
async fn a_dry_run_says_once_what_it_would_do_and_does_nothing() {
    let mut harness = Harness::with_actuator(1, |_| Actuator::DryRun).await;
    harness.proxies[0].ready("w-1", 0);
    harness.load(4, 4);
    harness.ticks(20).await;
    assert_eq!(
        harness.events(),
        ["would do: 1 -> 2 workers: requests asks for 2 (max 8.0 over 2s, 4 per worker)",]
    );
    assert!(harness.members().is_empty() && harness.orders(0).is_empty());
}

#[tokio::test]
async fn every_tick_is_in_the_ledger_with_what_came_of_it() {
    let mut harness = Harness::two_idle_workers(1).await;
    harness.ticks(3).await;
    let file = harness.directory.path().join("ledger.jsonl");
    let now = Time::from_ms(2_000_000);
    let folded = fold(&file, now, Duration::from_secs(3600)).expect("it is read");
    assert_eq!(folded.ticks.len() as u64, harness.second);
    assert_eq!(folded.last_number(), 2);
    let text = std::fs::read_to_string(&file).expect("it is read");
    assert_eq!(text.matches("\"launched\":[\"w-").count(), 2);
    assert!(!text.contains(crate::stage::TOKEN));
}

#[tokio::test]
async fn arrivals_before_a_fleet_that_cannot_be_seen_are_counted_by_the_next_tick() {
    let mut harness = Harness::new(1).await;
    let mut counted = 0;
    for tick in 0..20 {
        harness.proxies[0].state().signal.models[0].arrivals_total += 10;
        lock(&harness.fleet.0).unseen = tick % 2 == 1;
        harness.tick().await;
    }
    lock(&harness.fleet.0).unseen = false;
    harness.tick().await;
    let ledger = std::fs::read_to_string(harness.directory.path().join("ledger.jsonl"));
    for line in ledger.expect("it is there").lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("it is JSON");
        let seen = &line["observation"]["proxies"][0]["seen"];
        counted += seen["arrivals"].as_u64().unwrap_or(0);
    }
    // The first tick has nothing to subtract from.
    assert_eq!(counted, 190);
}
