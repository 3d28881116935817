//! Nothing that was accepted is lost when a worker or the proxy goes.

use std::time::Duration;

use tidegate_protocol::WorkerState;
use tidegate_tests::{Stand, StandConfig, eventually};

#[tokio::test]
async fn a_drained_worker_finishes_and_takes_nothing_new_until_undrained() {
    let stand = Stand::start(StandConfig::default()).await;
    let _a = stand.timed_worker("a", &["--slots", "1"]).await;
    let client = stand.client();
    let running = tokio::spawn({
        let client = client.clone();
        async move { client.timed(600).await }
    });
    eventually("the request runs", async || {
        (stand.signal().await.models[0].in_flight == 1).then_some(())
    })
    .await;
    stand.drain("a").await;
    stand.worker_is("a", WorkerState::Draining).await;
    running.await.expect("no panic").timed();
    let waits = tokio::spawn({
        let client = client.clone();
        async move { client.timed(1).await }
    });
    eventually("the next request waits", async || {
        let model = stand.signal().await.models[0].clone();
        ((model.waiting, model.in_flight) == (1, 0)).then_some(())
    })
    .await;
    stand.undrain("a").await;
    waits.await.expect("no panic").timed();
    stand.worker_is("a", WorkerState::Ready).await;
}

#[tokio::test]
async fn a_terminated_proxy_answers_what_it_has_and_exits_when_empty() {
    let mut stand = Stand::start(StandConfig::default()).await;
    let _worker = stand.timed_worker("w", &["--slots", "1"]).await;
    let client = stand.client();
    let requests: Vec<_> = (0..3)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.timed(300).await })
        })
        .collect();
    eventually("all are in line or running", async || {
        (stand.signal().await.models[0].arrivals_total == 3).then_some(())
    })
    .await;
    stand.proxy.terminate();
    let (status, took) = stand.proxy.end(Duration::from_secs(10)).await;
    for request in requests {
        request.await.expect("no panic").timed();
    }
    assert!(status.success(), "{status}");
    assert!(
        took < Duration::from_secs(3),
        "it did not wait for nothing: {took:?}"
    );
}
