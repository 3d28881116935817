//! Classes of requests, through the proxy.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tidegate_tests::{Client, Harness, HarnessConfig, eventually};

const SERVICE_MS: u64 = 60;

async fn send(client: Client, class: &str) -> u64 {
    let body = json!({"service_ms": SERVICE_MS});
    let answer = client.post_with(&body, &[("x-priority", class)]).await;
    answer.timed().began_us
}

#[tokio::test]
async fn an_interactive_request_goes_before_batch_work_that_waits() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("w", &["--slots", "1"]).await;
    let client = harness.client();
    let batch: Vec<_> = (0..10)
        .map(|_| tokio::spawn(send(client.clone(), "batch")))
        .collect();
    eventually("the batch waits", async || {
        let signal = harness.signal().await;
        (signal.models[0].waiting == 9).then_some(())
    })
    .await;
    let interactive = send(client.clone(), "interactive").await;
    let began = join_all(batch).await.into_iter();
    let began: Vec<u64> = began.map(|at| at.expect("no request panics")).collect();
    let before = began.iter().filter(|at| **at < interactive).count();
    assert!(before <= 3, "{before} of 10 were served before it");
    let signal = harness.signal().await;
    let counts = |class: &str| {
        let class = signal.models[0].of_class(class);
        class.map(|class| (class.arrivals_total, class.latency.count()))
    };
    assert_eq!(counts("batch"), Some((10, 10)));
    assert_eq!(counts("interactive"), Some((1, 1)));
    assert_eq!(counts("default"), None, "it had no request");
    assert_eq!(signal.models[0].answered_total, 11, "the sums are over all");
    let metrics = harness.metrics().await;
    let line = "tidegate_arrivals_total{model=\"timed\",class=\"batch\"} 10";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn each_class_has_its_own_limit_and_an_unknown_one_is_named() {
    let harness = Harness::start(HarnessConfig {
        proxy: "models = ['timed']\n[[classes]]\nname = 'default'\n[[classes]]\nname = 'bulk'\n\
                waiting = 1\ndefault_timeout = '3s'\nroutes = ['/embed']"
            .to_owned(),
    })
    .await;
    let client = harness.client();
    let bulk = client.clone();
    let waits =
        tokio::spawn(async move { bulk.post_with(&json!({}), &[("x-priority", "bulk")]).await });
    eventually("one waits", async || {
        (harness.signal().await.models[0].waiting == 1).then_some(())
    })
    .await;
    let refused = client
        .post_with(&json!({}), &[("x-priority", "bulk")])
        .await;
    assert_eq!((refused.status, refused.error_code()), (503, "line_full"));
    let other = client
        .post_with(&json!({}), &[("x-request-timeout-ms", "50")])
        .await;
    assert_eq!(other.status, 504, "the other class has room");
    let unknown = client
        .post_with(&json!({}), &[("x-priority", "urgent")])
        .await;
    assert_eq!(
        (unknown.status, unknown.error_code()),
        (400, "unknown_class")
    );
    let waited = waits.await.expect("no request panics");
    assert_eq!(waited.status, 504);
    assert!(
        waited.took < Duration::from_secs(30),
        "its class's deadline"
    );
}
