//! Leaving: nothing that was accepted is lost, and nothing is left behind.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tidegate_protocol::WorkerState;
use tidegate_tests::{PATIENCE, within};

use crate::fake_proxy::FakeProxy;
use crate::tiny_model::{self, SLOW, TINY};
use crate::worker;

#[tokio::test]
async fn a_worker_told_to_stop_finishes_what_it_accepted_and_takes_nothing_new() {
    let proxy = FakeProxy::start().await;
    let mut worker = worker::with_model(SLOW)
        .args(["--proxy", &proxy.url])
        .ready()
        .await;
    let running = [worker.keep_busy(20), worker.keep_busy(5)];
    worker.until_metric("tidegate_slots_busy", 2.0).await;
    worker.process.terminate();
    proxy
        .heartbeat("a draining heartbeat", |heartbeat| {
            heartbeat.state == WorkerState::Draining && heartbeat.busy == 2
        })
        .await;

    let refused = worker.post(&json!({ "input": "a cat" })).await;
    refused.refusal(503, json!("not_ready"));
    assert_eq!(worker.get("/livez").await.status, 200);
    for request in running {
        let answer = request
            .await
            .expect("it was not cut")
            .expect("it was answered");
        assert_eq!(answer.status, 200);
    }
    let (status, took) = worker.process.end(PATIENCE).await;
    assert_eq!(status.code(), Some(0));
    assert!(
        took < Duration::from_secs(2),
        "it left {took:?} after its last answer"
    );
    let last = proxy.heartbeats().pop().expect("it sent one");
    assert_eq!((last.state, last.busy), (WorkerState::Draining, 0));
}

#[tokio::test]
async fn an_idle_worker_leaves_at_once_even_with_open_connections_and_a_proxy_gone() {
    let mut worker = worker::with_model(TINY)
        .args(["--proxy", "http://127.0.0.1:9"])
        .ready()
        .await;
    let address = worker.url.trim_start_matches("http://");
    let _idle = tokio::net::TcpStream::connect(address)
        .await
        .expect("it connects");
    worker.process.interrupt();
    let (status, took) = worker.process.end(PATIENCE).await;
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[tokio::test]
async fn at_the_drain_deadline_a_worker_leaves_and_says_what_it_cut() {
    let mut worker = worker::with_model(SLOW)
        .config("[drain]\ndeadline = '100ms'")
        .ready()
        .await;
    let running = worker.keep_busy(200);
    worker.until_metric("tidegate_slots_busy", 1.0).await;
    worker.process.terminate();
    let (status, _) = worker.process.end(PATIENCE).await;
    assert_eq!(status.code(), Some(1));
    assert!(
        worker.process.output().contains("1 requests were cut off"),
        "{}",
        worker.process.output()
    );
    assert!(running.await.expect("it was not aborted").is_err());
}

#[tokio::test]
async fn a_worker_that_watches_its_input_does_not_outlive_its_parent() {
    let model = tiny_model::directory(TINY);
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate-worker"))
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--watch-stdin",
            "--model",
        ])
        .arg(model.path())
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    assert!(child.try_wait().expect("it can be asked").is_none());
    drop(child.stdin.take());
    let status = within(PATIENCE, "it leaves", async || {
        child.try_wait().ok().flatten()
    })
    .await;
    assert_eq!(status.code(), Some(0));
}
