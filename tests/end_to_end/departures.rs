//! Clients that leave: in the queue, while their request is worked on, while their answer streams.

use std::time::{Duration, Instant};

use tidegate_tests::{Harness, HarnessConfig, eventually};
use tokio::io::AsyncReadExt;

async fn counts_are(harness: &Harness, waiting: u64, in_flight: u64) -> Duration {
    let began = Instant::now();
    eventually(
        &format!("{waiting} waiting, {in_flight} in flight"),
        async || {
            let model = harness.signal().await.models.first()?.clone();
            (model.waiting == waiting && model.in_flight == in_flight).then_some(())
        },
    )
    .await;
    began.elapsed()
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_place_or_permit_back() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("w", &["--slots", "1"]).await;
    let streaming = harness.begin(1, r#"{"pieces": 1000, "gap_ms": 50}"#).await;
    counts_are(&harness, 0, 1).await;
    let waiting = harness.begin(1, "{}").await;
    counts_are(&harness, 1, 1).await;
    drop(waiting);
    let place = counts_are(&harness, 0, 1).await;
    drop(streaming);
    let permit = counts_are(&harness, 0, 0).await;
    for (what, took) in [("place", place), ("permit", permit)] {
        assert!(
            took < Duration::from_millis(500),
            "the {what} was free after {took:?}"
        );
    }
    let signal = harness.signal().await;
    assert_eq!(signal.models[0].aborted_total, 2);
    harness.client().timed(1).await.timed();
}

#[tokio::test]
async fn a_thousand_aborted_requests_leave_nothing_taken() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("w", &["--slots", "4"]).await;
    let bodies = [
        r#"{"service_ms": 5}"#,
        r#"{"service_ms": 40}"#,
        r#"{"pieces": 9, "gap_ms": 5}"#,
    ];
    for round in 0..100 {
        let mut streams = Vec::new();
        for at in 0..10 {
            streams.push(harness.begin(1, bodies[(round + at) % 3]).await);
        }
        if round % 2 == 0 {
            let mut piece = [0; 1];
            let _ =
                tokio::time::timeout(Duration::from_millis(8), streams[0].read(&mut piece)).await;
        }
    }
    counts_are(&harness, 0, 0).await;
    let signal = harness.signal().await;
    let model = &signal.models[0];
    assert!(
        model.aborted_total >= 500,
        "{} were aborted",
        model.aborted_total
    );
    assert_eq!(signal.workers[0].permits, 0);
    assert_eq!(
        model.failed_total + model.shed_total + model.expired_total,
        0
    );
    assert_eq!(
        model.arrivals_total,
        model.answered_total + model.aborted_total
    );
    for _ in 0..8 {
        harness.client().timed(1).await.timed();
    }
}
