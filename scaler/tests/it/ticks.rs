//! Ticks of a whole scaler.

use std::time::Duration;

use axum::http::StatusCode;
use tidegate_control::Time;
use tidegate_scaler::ledger::fold;
use tidegate_scaler::scaler::Actuator;

use crate::stage::lock;
use crate::stand::{Stand, end};

#[tokio::test]
async fn it_grows_under_load_and_says_why() {
    let mut stand = Stand::new(1).await;
    stand.tick().await;
    stand.all_ready(0);
    stand.load(4, 4);
    stand.ticks(2).await;
    assert_eq!(
        stand.events(),
        [
            "0 -> 1 worker: fleet.min is 1; requests asks for 0 (max 0.0 over 2s, 4 per worker)",
            "w-1 is ready after 1.0s",
            "1 -> 2 workers: requests asks for 2 (max 8.0 over 2s, 4 per worker)",
        ]
    );
}

#[tokio::test]
async fn it_drains_at_every_proxy_before_it_removes() {
    let mut stand = Stand::two_idle_workers(2).await;
    stand.proxies[1].permits("w-2", 1);
    stand.proxies[0].permits("w-1", 3);
    stand.ticks(12).await;
    assert_eq!(stand.orders(0), ["drain w-2"]);
    assert_eq!(stand.orders(1), ["drain w-2"]);
    stand.ticks(5).await;
    assert_eq!(stand.members(), ["w-1", "w-2"], "a proxy holds a permit");
    stand.proxies[1].permits("w-2", 0);
    stand.ticks(2).await;
    assert_eq!(stand.members(), ["w-1"]);
    assert_eq!(
        stand.events(),
        [
            "2 -> 1 worker: fleet.min is 1; requests asks for 0 (max 0.0 over 2s, 4 per worker); \
             drains w-2",
            "w-2 has stopped",
        ]
    );
}

#[tokio::test]
async fn a_drain_that_a_proxy_did_not_take_is_given_again() {
    let mut stand = Stand::two_idle_workers(2).await;
    stand.ticks(12).await;
    stand.orders(1);
    let forgets = |stand: &Stand| {
        let mut state = stand.proxies[1].state();
        state
            .signal
            .workers
            .iter_mut()
            .for_each(|w| w.draining = false);
    };
    stand.proxies[1].permits("w-2", 1);
    forgets(&stand);
    stand.tick().await;
    assert_eq!(stand.orders(1), ["drain w-2"]);
}

#[tokio::test]
async fn a_drain_is_taken_back_when_demand_returns_and_at_its_limit() {
    let mut stand = Stand::two_idle_workers(1).await;
    stand.proxies[0].permits("w-1", 2);
    stand.proxies[0].permits("w-2", 1);
    stand.ticks(12).await;
    assert_eq!(stand.orders(0), ["drain w-2"]);
    stand.load(4, 4);
    stand.ticks(2).await;
    assert_eq!(stand.orders(0), ["undrain w-2"]);
    assert_eq!(stand.members(), ["w-1", "w-2"]);

    stand.load(0, 0);
    stand.ticks(13).await;
    assert_eq!(stand.orders(0), ["drain w-2"]);
    stand.events();
    stand.ticks(20).await;
    assert_eq!(stand.orders(0), ["undrain w-2"]);
    assert_eq!(
        stand.events(),
        [
            "1 -> 2 workers: fleet.min is 1; requests asks for 0 (max 0.0 over 2s, 4 per worker); \
             w-2 did not finish within fleet.drain_limit; takes back w-2"
        ]
    );
}

#[tokio::test]
async fn a_drain_that_a_proxy_did_not_take_back_is_taken_back_again() {
    let mut stand = Stand::two_idle_workers(2).await;
    stand.proxies[0].permits("w-2", 1);
    stand.proxies[0].permits("w-1", 2);
    stand.ticks(12).await;
    stand.load(4, 4);
    stand.tick().await;
    assert_eq!(stand.orders(1), ["drain w-2", "undrain w-2"]);
    for worker in &mut stand.proxies[1].state().signal.workers {
        worker.draining = worker.worker == "w-2";
    }
    stand.ticks(2).await;
    assert_eq!(stand.orders(1), ["undrain w-2"]);
    assert_eq!(stand.members(), ["w-1", "w-2"]);
}

#[tokio::test]
async fn a_silent_proxy_is_told_once_and_nothing_shrinks_meanwhile() {
    let mut stand = Stand::two_idle_workers(2).await;
    stand.proxies[1].state().refuses = Some(StatusCode::INTERNAL_SERVER_ERROR);
    stand.ticks(30).await;
    assert_eq!(stand.members(), ["w-1", "w-2"]);
    let url = stand.proxies[1].url.clone();
    assert_eq!(
        stand.events(),
        [format!(
            "{url} gives no signal, so no worker is removed: \
             it answers with 500 Internal Server Error"
        )]
    );
    // What was idle was not seen as a whole: the window of scale_in begins when it is.
    stand.proxies[1].state().refuses = None;
    stand.ticks(9).await;
    let events = stand.events();
    assert_eq!(events, [format!("{url} gives its signal again")]);
    stand.ticks(3).await;
    let events = stand.events();
    assert!(events[0].ends_with("drains w-2"), "{events:?}");
}

#[tokio::test]
async fn faults_of_a_proxy_are_told_apart() {
    let mut stand = Stand::new(1).await;
    stand.proxies[0].state().refuses = Some(StatusCode::UNAUTHORIZED);
    stand.tick().await;
    assert!(stand.events()[0].ends_with("it refuses the operator token"));
    stand.proxies[0].state().refuses = None;
    stand.tick().await;
    stand.events();
    stand.proxies[0].state().signal.version = 7;
    stand.tick().await;
    assert!(stand.events()[0].ends_with("its signal has version 7, expected 1 to 2"));
}

#[tokio::test]
async fn workers_that_crash_at_start_are_told_once_and_started_less_and_less() {
    let mut stand = Stand::new(1).await;
    lock(&stand.fleet.0).crash = true;
    stand.ticks(120).await;
    let events = stand.events();
    let kinds: Vec<_> = events
        .iter()
        .filter(|line| !line.starts_with("0 -> 1"))
        .collect();
    assert_eq!(
        kinds,
        [
            "w-1 ended 0.3s after its start, never ready (exit code 1)\n    \
             the model cannot be loaded",
            "2 starts in a row have failed; tried again after 2.0s, then less often, up to once \
             a minute",
        ]
    );
    let launched = lock(&stand.fleet.0).launched;
    assert!((5..=9).contains(&launched), "{launched} launches");

    lock(&stand.fleet.0).crash = false;
    stand.until_launched().await;
    stand.all_ready(0);
    stand.ticks(10).await;
    let events = stand.events();
    let ready = |line: &String| line.ends_with("is ready after 1.0s");
    assert!(events.last().is_some_and(ready), "{events:?}");
    stand.tick().await;
    let events = stand.events();
    assert_eq!(
        events.last().map(String::as_str),
        Some("starts succeed again")
    );
}

#[tokio::test]
async fn workers_that_die_as_soon_as_they_are_ready_are_started_less_and_less() {
    let mut stand = Stand::new(1).await;
    for _ in 0..120 {
        stand.tick().await;
        stand.all_ready(0);
        let ready: Vec<_> = stand.members();
        stand.tick().await;
        let mut fleet = lock(&stand.fleet.0);
        fleet.members.clear();
        fleet.ended.extend(ready.iter().map(|id| end(id, false)));
    }
    let launched = lock(&stand.fleet.0).launched;
    assert!((5..=11).contains(&launched), "{launched} launches");
    let events = stand.events();
    let count = |words: &str| events.iter().filter(|line| line.contains(words)).count();
    assert_eq!(count(" ended after "), 1, "{events:?}");
    assert_eq!(count("2 starts in a row have failed"), 1, "{events:?}");
}

#[tokio::test]
async fn a_fleet_that_cannot_launch_is_told_once_and_asked_again() {
    let mut stand = Stand::new(1).await;
    lock(&stand.fleet.0).refuses = true;
    stand.ticks(30).await;
    let failed = |line: &&String| line.starts_with("no worker could be launched");
    assert_eq!(stand.events().iter().filter(failed).count(), 1);
    lock(&stand.fleet.0).refuses = false;
    stand.until_launched().await;
}

#[tokio::test]
async fn a_worker_that_never_beats_is_replaced() {
    let mut stand = Stand::new(1).await;
    stand.ticks(22).await;
    assert_eq!(stand.members(), ["w-2"]);
    let events = stand.events();
    assert!(
        events[1].ends_with("replaces w-1, which was not ready within 20s (fleet.lead_time)"),
        "{events:?}"
    );
}

#[tokio::test]
async fn beats_that_all_stop_while_workers_serve_end_no_worker_and_are_told_once() {
    let mut stand = Stand::two_idle_workers(1).await;
    stand.load(0, 8);
    for second in 1..100 {
        let age = |worker: &mut tidegate_protocol::WorkerSignal| worker.beat_age_ms = second * 1000;
        stand.proxies[0]
            .state()
            .signal
            .workers
            .iter_mut()
            .for_each(age);
        stand.tick().await;
    }
    assert_eq!(stand.members(), ["w-1", "w-2"]);
    assert_eq!(
        stand.events(),
        [
            "most workers fell silent together, so none is replaced before fleet.mass_silence: \
             do their heartbeats reach the proxies?"
        ]
    );
}

#[tokio::test]
async fn a_killed_worker_is_told_and_replaced() {
    let mut stand = Stand::two_idle_workers(1).await;
    stand.load(0, 8);
    stand.ticks(11).await;
    let killed = lock(&stand.fleet.0).members.remove(0);
    let ended = end(&killed.id, false);
    lock(&stand.fleet.0).ended.push(ended);
    stand.tick().await;
    assert_eq!(stand.members(), ["w-2", "w-3"]);
    assert!(stand.events()[0].starts_with("w-1 ended after 0.3s (exit code 1)"));
}

#[tokio::test]
async fn a_dry_run_says_once_what_it_would_do_and_does_nothing() {
    let mut stand = Stand::with_actuator(1, |_| Actuator::DryRun).await;
    stand.proxies[0].ready("w-1", 0);
    stand.load(4, 4);
    stand.ticks(20).await;
    assert_eq!(
        stand.events(),
        ["would do: 1 -> 2 workers: requests asks for 2 (max 8.0 over 2s, 4 per worker)",]
    );
    assert!(stand.members().is_empty() && stand.orders(0).is_empty());
}

#[tokio::test]
async fn every_tick_is_in_the_ledger_with_what_came_of_it() {
    let mut stand = Stand::two_idle_workers(1).await;
    stand.ticks(3).await;
    let file = stand.directory.path().join("ledger.jsonl");
    let now = Time::from_ms(2_000_000);
    let folded = fold(&file, now, Duration::from_secs(3600)).expect("it is read");
    assert_eq!(folded.ticks.len() as u64, stand.second);
    assert_eq!(folded.last_number(), 2);
    let text = std::fs::read_to_string(&file).expect("it is read");
    assert_eq!(text.matches("\"launched\":[\"w-").count(), 2);
    assert!(!text.contains(crate::stage::TOKEN));
}

#[tokio::test]
async fn arrivals_before_a_fleet_that_cannot_be_seen_are_counted_by_the_next_tick() {
    let mut stand = Stand::new(1).await;
    let mut counted = 0;
    for tick in 0..20 {
        stand.proxies[0].state().signal.models[0].arrivals_total += 10;
        lock(&stand.fleet.0).unseen = tick % 2 == 1;
        stand.tick().await;
    }
    lock(&stand.fleet.0).unseen = false;
    stand.tick().await;
    let ledger = std::fs::read_to_string(stand.directory.path().join("ledger.jsonl"));
    for line in ledger.expect("it is there").lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("it is JSON");
        let seen = &line["observation"]["proxies"][0]["seen"];
        counted += seen["arrivals"].as_u64().unwrap_or(0);
    }
    // The first tick has nothing to subtract from.
    assert_eq!(counted, 190);
}
