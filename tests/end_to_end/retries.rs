//! Workers that fail: what a client sees of it, and what it must not see.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tidegate_tests::{Harness, HarnessConfig, eventually};

#[tokio::test]
async fn a_killed_worker_costs_no_client_an_error() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _steady = harness.timed_worker("steady", &["--slots", "4"]).await;
    let mut victim = harness.timed_worker("victim", &["--slots", "4"]).await;
    let client = harness.client();
    let requests: Vec<_> = (0..60)
        .map(|at| {
            let client = client.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(10 * at)).await;
                client.timed(60).await
            })
        })
        .collect();
    eventually("the victim works", async || {
        let signal = harness.signal().await;
        signal
            .workers
            .iter()
            .any(|w| w.worker == "victim" && w.permits > 1)
            .then_some(())
    })
    .await;
    victim.kill();
    for answer in join_all(requests).await {
        answer.expect("no request panics").timed();
    }
    assert!(
        harness.signal().await.models[0].retries_total > 0,
        "requests were moved"
    );
}

#[tokio::test]
async fn a_request_that_kills_its_workers_is_given_up_after_two() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let mut workers = Vec::new();
    for id in ["a", "b", "c"] {
        workers.push(harness.timed_worker(id, &[]).await);
    }
    let answer = harness.client().post(&json!({"poison": true})).await;
    assert_eq!((answer.status, answer.error_code()), (502, "worker_failed"));
    let mut dead = move || {
        let ended = workers.iter_mut().filter_map(|worker| worker.ended());
        ended.count()
    };
    eventually("two workers are dead", async || (dead() >= 2).then_some(())).await;
    harness.client().timed(1).await.timed();
    assert_eq!(dead(), 2, "the third worker was spared");
}

#[tokio::test]
async fn a_worker_that_is_full_of_others_work_puts_requests_back_into_the_queue() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("w", &["--slots", "2"]).await;
    let address = harness.signal().await.workers[0].address;
    let direct = (0..2).map(|_| {
        let request = reqwest::Client::new().post(format!("http://{address}/v1/embeddings"));
        request
            .bearer_auth(harness.worker_token())
            .body(r#"{"service_ms": 700}"#)
            .send()
    });
    let direct = tokio::spawn(join_all(direct.collect::<Vec<_>>()));
    let http = reqwest::Client::new();
    eventually("the worker is busy", async || {
        let busy = http
            .get(format!("http://{address}/busy"))
            .send()
            .await
            .ok()?;
        busy.text().await.ok()?.contains(":2").then_some(())
    })
    .await;
    let answer = harness.client().timed(1).await;
    answer.timed();
    assert!(
        answer.took >= Duration::from_millis(300),
        "it waited: {:?}",
        answer.took
    );
    assert_eq!(
        harness.signal().await.models[0].retries_total,
        0,
        "outside the retry budget"
    );
    direct.await.expect("the others are answered too");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_tried_again() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let mut worker = harness.timed_worker("w", &[]).await;
    let _other = harness.timed_worker("other", &[]).await;
    let mut response = reqwest::Client::new()
        .post(format!("http://{}/v1/embeddings", harness.listen))
        .body(r#"{"pieces": 100, "gap_ms": 20}"#)
        .send()
        .await
        .expect("an answer begins");
    assert!(response.chunk().await.expect("a piece").is_some());
    worker.kill();
    let rest = async {
        while response.chunk().await?.is_some() {}
        Ok::<_, reqwest::Error>(())
    };
    assert!(
        rest.await.is_err(),
        "the client sees that its answer is cut"
    );
    let model = harness.signal().await.models[0].clone();
    assert_eq!((model.failed_total, model.retries_total), (1, 0));
}

#[tokio::test]
async fn a_worker_that_hangs_keeps_no_request_that_others_can_answer() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let mut workers = Vec::new();
    for id in ["a", "b", "c"] {
        workers.push(harness.timed_worker(id, &["--slots", "4"]).await);
    }
    let client = harness.client();
    let requests: Vec<_> = (0..300)
        .map(|at| {
            let client = client.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(10 * at)).await;
                client.timed(30).await
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    workers[0].freeze();
    for answer in join_all(requests).await {
        let answer = answer.expect("no request panics");
        answer.timed();
        let took = answer.took;
        assert!(took < Duration::from_secs(3), "it was kept for {took:?}");
    }
    assert!(harness.signal().await.models[0].retries_total > 0);
}
