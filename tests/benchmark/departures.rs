//! Clients that leave: how soon their place or permit is free, and whether one is ever lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidegate_protocol::ModelSignal;
use tidegate_tests::{Dice, Harness, HarnessConfig};

const ABORTED: u64 = 100_000;
const CONNECTIONS: u64 = 50;
const ROUNDS: usize = 300;
const PROMISED_MS: f64 = 100.0;

/// Prints what was measured; whether the promises hold.
pub async fn measure() -> bool {
    let prompt = measure_promptness().await;
    let whole = measure_leaks().await;
    prompt && whole
}

async fn measure_promptness() -> bool {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("w", &["--slots", "1"]).await;
    let (mut queued, mut streaming) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let stream = harness
            .begin(1, r#"{"pieces": 100000, "gap_ms": 20}"#)
            .await;
        until(&harness, |model| model.in_flight == 1).await;
        let waiter = harness.begin(1, "{}").await;
        until(&harness, |model| model.waiting == 1).await;
        drop(waiter);
        queued.push(until(&harness, |model| model.waiting == 0).await);
        drop(stream);
        streaming.push(until(&harness, |model| model.in_flight == 0).await);
    }
    println!("departures: milliseconds from a client's close to a free slot, {ROUNDS} rounds");
    let mut kept = true;
    for (what, mut values) in [("in the queue", queued), ("streaming", streaming)] {
        let at = [0.5, 0.99, 1.0].map(|q| crate::quantile(&mut values, q));
        println!(
            "  {what:<10} p50 {:.1}  p99 {:.1}  max {:.1}",
            at[0], at[1], at[2]
        );
        kept &= at[2] <= PROMISED_MS;
    }
    println!(
        "  promised   max {PROMISED_MS}: {}",
        if kept { "kept" } else { "MISSED" }
    );
    kept
}

async fn measure_leaks() -> bool {
    let harness = Arc::new(Harness::start(HarnessConfig::default()).await);
    let _worker = harness.timed_worker("w", &["--slots", "8"]).await;
    let begun = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let clients = (0..CONNECTIONS).map(|seed| {
        let (harness, begun) = (Arc::clone(&harness), Arc::clone(&begun));
        tokio::spawn(async move { abort_many(&harness, &begun, seed).await })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("no client panics");
    }
    let took = began.elapsed();
    until(&harness, |model| model.waiting + model.in_flight == 0).await;
    let signal = harness.signal().await;
    let model = &signal.models[0];
    let permits = signal.workers[0].permits;
    let ended = model.answered_total
        + model.aborted_total
        + model.failed_total
        + model.shed_total
        + model.expired_total;
    println!(
        "departures: {ABORTED} aborted requests in {:.0} s: {} were read whole, {} of them \
         answered, {} aborted, {} failed; left over: {} places, {permits} permits",
        took.as_secs_f64(),
        model.arrivals_total,
        model.answered_total,
        model.aborted_total,
        model.failed_total,
        model.waiting,
    );
    permits == 0 && ended == model.arrivals_total
}

async fn abort_many(harness: &Harness, begun: &AtomicU64, seed: u64) {
    let bodies = [
        r#"{"service_ms": 1}"#,
        r#"{"service_ms": 15}"#,
        r#"{"pieces": 20, "gap_ms": 1}"#,
    ];
    let mut dice = Dice::new(seed);
    while begun.fetch_add(1, Ordering::Relaxed) < ABORTED {
        let body = bodies[(dice.uniform() * 3.0) as usize % 3];
        let stream = harness.begin(2 + seed as u8, body).await;
        tokio::time::sleep(Duration::from_secs_f64(dice.exponential(0.004))).await;
        drop(stream);
    }
}

/// Milliseconds until the queue is as wanted, by asking as fast as the proxy answers.
async fn until(harness: &Harness, wanted: impl Fn(&ModelSignal) -> bool) -> f64 {
    let began = Instant::now();
    loop {
        let signal = harness.signal().await;
        if signal.models.first().is_some_and(&wanted) {
            return began.elapsed().as_secs_f64() * 1000.0;
        }
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "the queue is never as wanted"
        );
    }
}
