//! Traces of streams: a span lasts as long as its stream, and says how that ended.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tidegate_tests::{Collector, Harness, HarnessConfig, Received, chat_model, eventually};
use tokio::io::AsyncReadExt;

const PROXY: &str = "tidegate-proxy";
const WORKER: &str = "tidegate-worker";
const MODEL: &str = "SmolLM2-135M-Instruct";

async fn traced() -> (Collector, Harness) {
    let collector = Collector::start().await;
    let harness = Harness::start_with(HarnessConfig::default(), collector.environment()).await;
    (collector, harness)
}

/// Waits for the span of this daemon with this name.
async fn span(collector: &Collector, daemon: &str, name: &str) -> Received {
    eventually(&format!("the span {name} of {daemon}"), async || {
        let mut spans = collector.all().into_iter();
        spans.find(|found| found.daemon == daemon && found.span.name == name)
    })
    .await
}

/// Begins a stream of so many tokens and waits for its first piece.
async fn begin(harness: &Harness, tokens: u32) -> reqwest::Response {
    let body = json!({
        "model": MODEL, "prompt": "The tide", "max_tokens": tokens, "ignore_eos": true, "stream": true,
    });
    let request = reqwest::Client::new()
        .post(format!("http://{}/v1/completions", harness.listen))
        .json(&body);
    let mut stream = request.send().await.expect("an answer");
    assert_eq!(stream.status(), 200);
    stream.chunk().await.expect("a piece").expect("a piece");
    stream
}

#[tokio::test]
async fn the_spans_of_a_stream_end_with_its_last_byte() {
    let (collector, harness) = traced().await;
    let _worker = harness
        .worker_with("w", &chat_model(), &["--name", MODEL])
        .await;
    let stream = begin(&harness, 24).await;
    let began = SystemTime::now().duration_since(UNIX_EPOCH);
    let began = began.expect("it is after 1970");
    let rest = stream.text().await.expect("the rest");
    assert!(rest.ends_with("[DONE]\n\n"), "{rest}");
    // Twenty tokens and more take longer than this.
    let later = (began + Duration::from_millis(20)).as_nanos() as u64;
    for (daemon, name) in [
        (PROXY, "POST /v1/completions"),
        (PROXY, "attempt"),
        (WORKER, "completions"),
    ] {
        let span = span(&collector, daemon, name).await;
        assert!(span.span.end_time_unix_nano > later, "{span:#?}");
        assert_eq!(span.number("http.response.status_code"), Some(200));
        assert_eq!(span.text("error.type"), None, "{span:#?}");
    }
    let attempt = span(&collector, PROXY, "attempt").await;
    let outcome = attempt.text("tidegate.attempt.outcome");
    assert_eq!(outcome.as_deref(), Some("answered"));
}

#[tokio::test]
async fn the_spans_of_a_stream_end_when_its_client_leaves() {
    let (collector, harness) = traced().await;
    let _worker = harness
        .worker_with("w", &chat_model(), &["--name", MODEL])
        .await;
    drop(begin(&harness, 1000).await);
    for (daemon, name) in [(PROXY, "POST /v1/completions"), (WORKER, "completions")] {
        let span = span(&collector, daemon, name).await;
        assert_eq!(span.number("http.response.status_code"), Some(200));
        assert_eq!(span.text("error.type").as_deref(), Some("client_left"));
    }
    let attempt = span(&collector, PROXY, "attempt").await;
    let outcome = attempt.text("tidegate.attempt.outcome");
    assert_eq!(outcome.as_deref(), Some("abandoned"));
}

#[tokio::test]
async fn the_spans_of_a_stream_say_that_its_worker_was_lost() {
    let (collector, harness) = traced().await;
    let mut worker = harness.timed_worker("w", &[]).await;
    let mut stream = harness.begin(1, r#"{"pieces": 1000, "gap_ms": 20}"#).await;
    let mut piece = [0; 512];
    let read = stream.read(&mut piece).await.expect("the head");
    assert!(read > 0);
    worker.kill();
    let request = span(&collector, PROXY, "POST /v1/embeddings").await;
    let attempt = span(&collector, PROXY, "attempt").await;
    assert_eq!(
        request.text("error.type").as_deref(),
        Some("worker_broke_off")
    );
    assert_eq!(attempt.text("error.type").as_deref(), Some("died"));
    let outcome = attempt.text("tidegate.attempt.outcome");
    assert_eq!(outcome.as_deref(), Some("died"));
    for span in [request, attempt] {
        assert_eq!(span.number("http.response.status_code"), Some(200));
    }
}
