//! Slots, the queue and the batches while the model is busy.

use std::time::Duration;

use serde_json::json;

use crate::tiny_model::SLOW;
use crate::worker::{self, send};

/// Texts of a request that is still computed when the next steps of a test are done.
const LONG: usize = 30;

#[tokio::test]
async fn beyond_its_slots_a_worker_refuses_at_once_and_answers_health() {
    let worker = worker::with_model(SLOW).config("slots = 2").ready().await;
    let running = [worker.keep_busy(LONG), worker.keep_busy(1)];
    worker.until_metric("tidegate_slots_busy", 2.0).await;

    let refused = worker.post(&json!({ "input": "a cat" })).await;
    assert!(
        refused
            .refusal(503, json!("overloaded"))
            .contains("2 slots")
    );
    assert_eq!(refused.header("x-tidegate-refused"), Some("full"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(worker.get("/readyz").await.status, 200);
    assert!(
        running.iter().all(|request| !request.is_finished()),
        "the long requests were too short"
    );

    for request in running {
        let answer = request
            .await
            .expect("it was not cut")
            .expect("it was answered");
        assert_eq!(answer.status, 200);
    }
    assert_eq!(worker.metric("tidegate_slots_busy").await, 0.0);
    assert_eq!(worker.post(&json!({ "input": "a cat" })).await.status, 200);
}

#[tokio::test]
async fn health_and_requests_never_wait_for_the_cores_that_compute() {
    let cores = std::thread::available_parallelism().expect("a number of cores");
    let worker = worker::with_model(SLOW).threads(cores.get()).ready().await;
    let running = worker.keep_busy(10 * LONG);
    worker.until_computing().await;
    let mut answers = 0;
    while answers < 100 && !running.is_finished() {
        for path in ["/healthz", "/readyz", "/metrics", "/v1/models"] {
            assert_eq!(worker.get(path).await.status, 200, "{path}");
        }
        let tokens = json!({ "inputs": "a cat" });
        assert_eq!(worker.post_to("/tokenize", &tokens).await.status, 200);
        answers += 5;
    }
    assert!(!running.is_finished(), "{answers} answers in all that time");
    running.abort();
}

#[tokio::test]
async fn who_leaves_the_queue_is_not_computed_and_frees_the_slot() {
    let worker = worker::with_model(SLOW)
        .config("[batch]\nmax_tokens = 512")
        .ready()
        .await;
    let running = worker.keep_busy(LONG);
    worker.until_computing().await;
    let leaving = [worker.keep_busy(LONG), worker.keep_busy(LONG)];
    worker.until_metric("tidegate_slots_busy", 3.0).await;
    leaving.iter().for_each(tokio::task::JoinHandle::abort);

    worker.until_metric("tidegate_slots_busy", 1.0).await;
    assert!(
        !running.is_finished(),
        "places were freed only when all was computed"
    );
    assert_eq!(
        running
            .await
            .expect("it was not cut")
            .expect("it was answered")
            .status,
        200
    );
    let texts = worker.metric("tidegate_worker_batch_texts_sum").await;
    assert!(texts <= LONG as f64 + 1.0, "{texts} texts were computed");
}

#[tokio::test]
async fn who_leaves_while_computed_keeps_the_slot_until_the_work_ends() {
    let worker = worker::with_model(SLOW)
        .config("[batch]\nmax_tokens = 20000")
        .ready()
        .await;
    let leaving = worker.keep_busy(LONG);
    worker.until_computing().await;
    leaving.abort();
    assert!(leaving.await.is_err());
    // Once the client's going is noticed the slot is still taken, until the batch ends.
    assert_eq!(worker.metric("tidegate_slots_busy").await, 1.0);
    worker.until_metric("tidegate_slots_busy", 0.0).await;
}

#[tokio::test]
async fn a_request_whose_deadline_passes_in_the_queue_is_answered_then() {
    let worker = worker::with_model(SLOW).ready().await;
    let running = worker.keep_busy(LONG);
    worker.until_computing().await;
    let late = worker
        .request(&json!({ "input": "a cat" }))
        .header("x-request-timeout-ms", "50");
    send(late)
        .await
        .expect("an answer")
        .refusal(504, json!("timeout"));
    assert!(
        !running.is_finished(),
        "it was answered only when the queue moved on"
    );
    let in_time = worker
        .request(&json!({ "input": "a cat" }))
        .header("x-request-timeout-ms", "60000");
    assert_eq!(send(in_time).await.expect("an answer").status, 200);
    assert!(running.await.expect("it was not cut").is_ok());
}

#[tokio::test]
async fn requests_that_gather_while_the_model_computes_are_computed_together() {
    let worker = worker::with_model(SLOW).config("slots = 16").ready().await;
    let running = worker.keep_busy(4);
    worker.until_computing().await;
    let together: Vec<_> = (0..10)
        .map(|_| tokio::spawn(send(worker.request(&json!({ "input": "a cat" })))))
        .collect();
    for request in together {
        assert_eq!(
            request
                .await
                .expect("it was not cut")
                .expect("an answer")
                .status,
            200
        );
    }
    assert!(running.await.expect("it was not cut").is_ok());
    let batches = worker.metric("tidegate_worker_batch_texts_count").await;
    assert!(
        batches <= 8.0,
        "{batches} batches for 4 long texts and 10 short ones"
    );
}

#[tokio::test]
async fn a_body_that_does_not_arrive_gives_its_slot_back() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let worker = worker::with_model(crate::tiny_model::TINY)
        .config("[limits]\nbody_timeout = '200ms'")
        .ready()
        .await;
    let address = worker.url.trim_start_matches("http://");
    let mut connection = tokio::net::TcpStream::connect(address)
        .await
        .expect("it connects");
    let head = "POST /v1/embeddings HTTP/1.1\r\nhost: w\r\ncontent-length: 100\r\n\r\n{";
    connection
        .write_all(head.as_bytes())
        .await
        .expect("it is sent");
    worker.until_metric("tidegate_slots_busy", 1.0).await;
    let mut answer = [0; 64];
    let read = tokio::time::timeout(Duration::from_secs(10), connection.read(&mut answer)).await;
    let bytes = read.expect("an answer comes").expect("it can be read");
    assert!(answer[..bytes].starts_with(b"HTTP/1.1 408"));
    worker.until_metric("tidegate_slots_busy", 0.0).await;
}
