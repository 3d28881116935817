//! Nothing that was accepted is lost when a worker or the proxy goes.

use std::time::Duration;

use tidegate_protocol::WorkerState;
use tidegate_tests::{Harness, HarnessConfig, eventually};

#[tokio::test]
async fn a_drained_worker_finishes_and_takes_nothing_new_until_undrained() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _a = harness.timed_worker("a", &["--slots", "1"]).await;
    let client = harness.client();
    let running = tokio::spawn({
        let client = client.clone();
        async move { client.timed(600).await }
    });
    eventually("the request runs", async || {
        (harness.signal().await.models[0].in_flight == 1).then_some(())
    })
    .await;
    harness.drain("a").await;
    harness.worker_is("a", WorkerState::Draining).await;
    running.await.expect("no panic").timed();
    let waits = tokio::spawn({
        let client = client.clone();
        async move { client.timed(1).await }
    });
    eventually("the next request waits", async || {
        let model = harness.signal().await.models[0].clone();
        ((model.waiting, model.in_flight) == (1, 0)).then_some(())
    })
    .await;
    harness.undrain("a").await;
    waits.await.expect("no panic").timed();
    harness.worker_is("a", WorkerState::Ready).await;
}

#[tokio::test]
async fn a_terminated_proxy_answers_what_it_has_and_exits_when_empty() {
    let mut harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("w", &["--slots", "1"]).await;
    let client = harness.client();
    let requests: Vec<_> = (0..3)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.timed(300).await })
        })
        .collect();
    eventually("all are in the queue or running", async || {
        (harness.signal().await.models[0].arrivals_total == 3).then_some(())
    })
    .await;
    harness.proxy.terminate();
    let (status, took) = harness.proxy.end(Duration::from_secs(10)).await;
    for request in requests {
        request.await.expect("no panic").timed();
    }
    assert!(status.success(), "{status}");
    assert!(
        took < Duration::from_secs(3),
        "it did not wait for nothing: {took:?}"
    );
}
