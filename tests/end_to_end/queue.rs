//! The queue, through the proxy: order, waits, deadlines, refusals.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tidegate_tests::{Answer, Client, Dice, Harness, HarnessConfig, eventually};

#[tokio::test]
async fn ten_requests_on_four_slots_are_all_answered_in_order() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("w", &["--slots", "4"]).await;
    let client = harness.client();
    let requests = (0..10).map(|index| {
        let client = client.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(20 * index)).await;
            client.timed(300).await.timed()
        }
    });
    let began: Vec<_> = join_all(requests)
        .await
        .iter()
        .map(|timed| timed.began_us)
        .collect();
    assert!(
        began.is_sorted(),
        "served in the order of arrival: {began:?}"
    );
}

/// Sends requests at exponential gaps with exponential service times, all of mean milliseconds.
async fn poisson(client: &Client, seed: u64, count: u64, gap: f64, service: f64) -> Vec<Answer> {
    let mut dice = Dice::new(seed);
    let began = Instant::now();
    let mut due = 0.0;
    let requests = (0..count).map(|_| {
        due += dice.exponential(gap);
        let (client, at) = (client.clone(), Duration::from_secs_f64(due / 1000.0));
        let service_ms = dice.exponential(service).ceil() as u64;
        tokio::spawn(async move {
            tokio::time::sleep_until((began + at).into()).await;
            client.timed(service_ms).await
        })
    });
    let answers = join_all(requests.collect::<Vec<_>>()).await;
    answers
        .into_iter()
        .map(|answer| answer.expect("no request panics"))
        .collect()
}

/// Mean wait in milliseconds of a first-come first-served queue of `servers` over exactly these
/// arrivals and service times, both in microseconds.
fn ideal_mean_wait(mut requests: Vec<(u64, u64)>, servers: usize) -> f64 {
    requests.sort_unstable();
    let mut free: BinaryHeap<_> = (0..servers).map(|_| Reverse(0)).collect();
    let waits = requests.iter().map(|(arrival, service)| {
        let Reverse(at) = free.pop().expect("there are servers");
        let begin = at.max(*arrival);
        free.push(Reverse(begin + service));
        (begin - arrival) as f64 / 1000.0
    });
    waits.sum::<f64>() / requests.len() as f64
}

#[tokio::test]
async fn waits_are_those_of_a_first_come_first_served_queue() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _first = harness.timed_worker("a", &["--slots", "2"]).await;
    let _second = harness.timed_worker("b", &["--slots", "2"]).await;
    let answers = poisson(&harness.client(), 7, 300, 30.0, 100.0).await;
    let began = answers.iter().map(|answer| answer.timed().began_us);
    let began: Vec<_> = began.collect();
    let waits = answers
        .iter()
        .zip(&began)
        .map(|(answer, began)| began - answer.sent_us);
    let mean = waits.sum::<u64>() as f64 / answers.len() as f64 / 1000.0;
    // A slot is taken until its answer has been passed on.
    let requests = answers.iter().zip(&began).map(|(answer, began)| {
        let end = answer.sent_us + answer.took.as_micros() as u64;
        (answer.sent_us, end - began)
    });
    let ideal = ideal_mean_wait(requests.collect(), 4);
    assert!(ideal > 5.0, "the load makes a queue: {ideal} ms");
    let difference = (mean - ideal).abs();
    assert!(
        difference <= 0.1 * ideal + 2.0,
        "mean wait {mean:.1} ms, ideal {ideal:.1} ms"
    );
}

#[tokio::test]
async fn a_request_that_waits_to_its_deadline_is_answered_504() {
    let harness = Harness::start(HarnessConfig {
        proxy: "models = ['timed']".to_owned(),
    })
    .await;
    let began = Instant::now();
    let answer = harness
        .client()
        .post_with(&json!({}), &[("x-request-timeout-ms", "300")])
        .await;
    assert_eq!(
        (answer.status, answer.error_code()),
        (504, "deadline_exceeded")
    );
    assert!(
        began.elapsed() >= Duration::from_millis(300),
        "no worker: nothing is refused early"
    );
    let signal = harness.signal().await;
    assert_eq!(
        (signal.models[0].expired_total, signal.models[0].waiting),
        (1, 0)
    );
}

#[tokio::test]
async fn a_request_at_zero_workers_waits_for_the_first() {
    let harness = Harness::start(HarnessConfig {
        proxy: "models = ['timed']".to_owned(),
    })
    .await;
    let client = harness.client();
    let request = tokio::spawn(async move { client.timed(1).await });
    eventually("the demand is visible", async || {
        (harness.signal().await.models[0].waiting == 1).then_some(())
    })
    .await;
    let _worker = harness.timed_worker("w", &[]).await;
    request.await.expect("no request panics").timed();
}

/// Fills a queue, asks when a place is free, and retries until one is.
async fn retry_after_against_truth(waiting: usize, service_ms: u64, extra_ms: u64) {
    let harness = Harness::start(HarnessConfig {
        proxy: format!("[line]\nwaiting = {waiting}"),
    })
    .await;
    let _worker = harness.timed_worker("w", &["--slots", "2"]).await;
    let client = harness.client();
    client.timed(service_ms).await.timed();
    let queued = (0..waiting + 2).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { client.timed(service_ms).await.timed() })
    });
    let queued: Vec<_> = queued.collect();
    eventually("the queue is full", async || {
        (harness.signal().await.models[0].waiting == waiting as u64).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(extra_ms)).await;
    let refused = client.timed(1).await;
    assert_eq!((refused.status, refused.error_code()), (503, "line_full"));
    let header = |name: &str| refused.headers[name].to_str().expect("text").parse::<u64>();
    let promised = header("retry-after-ms").expect("milliseconds");
    assert_eq!(
        header("retry-after").expect("seconds"),
        promised.div_ceil(1000)
    );
    let began = Instant::now();
    eventually("a retry is admitted", async || {
        let hasty = client.timed(1);
        let answer = tokio::time::timeout(Duration::from_millis(40), hasty).await;
        answer.map_or(Some(()), |answer| (answer.status != 503).then_some(()))
    })
    .await;
    let truth = began.elapsed().as_millis() as u64;
    let range = promised / 2..=promised * 2;
    assert!(
        range.contains(&truth),
        "promised {promised} ms, admitted after {truth} ms"
    );
    for request in queued {
        request.await.expect("no request panics");
    }
}

#[tokio::test]
async fn retry_after_is_when_a_retry_is_admitted() {
    retry_after_against_truth(2, 600, 0).await;
    retry_after_against_truth(4, 1500, 300).await;
    retry_after_against_truth(16, 400, 50).await;
}

#[tokio::test]
async fn routes_models_and_bodies_that_make_no_sense_are_named() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let client = harness.client();
    let answer = client.post(&json!({})).await;
    assert_eq!((answer.status, answer.error_code()), (503, "no_model_yet"));
    let _a = harness.timed_worker("a", &["--name", "one"]).await;
    let answer = client.post(&json!({"model": "two"})).await;
    assert_eq!(
        (answer.status, answer.error_code()),
        (404, "model_not_found")
    );
    assert_eq!(client.post(&json!({"model": "one"})).await.status, 200);
    assert_eq!(
        client.post(&json!({})).await.status,
        200,
        "none named: the only one"
    );
    let _b = harness.timed_worker("b", &["--name", "two"]).await;
    let answer = client.post(&json!({})).await;
    assert_eq!(
        (answer.status, answer.error_code()),
        (400, "model_required")
    );
    let answer = client.post(&json!({"model": 7})).await;
    assert_eq!((answer.status, answer.error_code()), (400, "invalid_body"));
    let answer = client
        .post_with(&json!({}), &[("x-request-timeout-ms", "soon")])
        .await;
    assert_eq!(
        (answer.status, answer.error_code()),
        (400, "invalid_timeout")
    );
    assert_eq!(client.get("/v1/embeddings").await.status, 405);
    assert_eq!(
        client.get("/busy").await.status,
        404,
        "a worker's other paths are not reached"
    );
    let models = client.get("/v1/models").await.body;
    assert_eq!(models["data"][1]["id"], "two");
    assert_eq!(client.get("/v1/models/one").await.status, 200);
    assert_eq!(
        client.get("/v1/models/three").await.error_code(),
        "model_not_found"
    );
}
