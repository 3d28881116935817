//! Chats through the proxy: to clients of others, to those that leave, and through a drain.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidegate_protocol::WorkerState;
use tidegate_tests::{Stand, StandConfig, eventually};

use crate::embeddings::run_client;

const MODEL: &str = "tiny";

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/decoders/llama/f32.gguf")
}

fn chat(max_tokens: usize) -> Value {
    json!({
        "model": MODEL,
        "messages": [{ "role": "user", "content": "Hello" }],
        "temperature": 0,
        "max_tokens": max_tokens,
        "ignore_eos": true,
        "stream": true,
    })
}

async fn begin(stand: &Stand, body: &Value) -> reqwest::Response {
    let url = format!("http://{}/v1/chat/completions", stand.listen);
    let reply = reqwest::Client::new().post(url).json(body).send().await;
    let mut reply = reply.expect("an answer");
    assert_eq!(reply.status(), 200);
    reply.chunk().await.expect("a chunk");
    reply
}

#[tokio::test]
async fn the_unmodified_clients_of_others_chat() {
    let stand = Stand::start(StandConfig::default()).await;
    let _worker = stand.worker_with("w", &model(), &["--name", MODEL]).await;
    let url = format!("http://{}/v1", stand.listen);
    let seen = run_client("openai_chat.py", &[&url, MODEL], &[]).await;
    let plain = seen["plain"].as_str().expect("text");
    assert!(!plain.is_empty());
    assert_eq!(seen["streamed"], plain);
    assert_eq!(seen["other"], plain);
    assert_eq!(seen["reasons"], json!(["length"]));
    assert_eq!(
        seen["usage"],
        json!(seen["prompt_tokens"].as_u64().expect("a number") + 12)
    );
    assert_eq!(
        seen["refusals"],
        json!(["temperature", "functions", "context_length_exceeded"])
    );
    assert!(
        seen["echoed"]
            .as_str()
            .expect("text")
            .starts_with("The tide")
    );
    assert!(seen["scored"].as_u64().expect("a number") > 3);
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_slot_at_the_worker() {
    let stand = Stand::start(StandConfig::default()).await;
    let _worker = stand.worker_with("w", &model(), &["--name", MODEL]).await;
    let reply = begin(&stand, &chat(450)).await;
    drop(reply);
    eventually("the slot is free", async || {
        let signal = stand.signal().await;
        (signal.workers.iter())
            .all(|worker| worker.permits + worker.elsewhere == 0)
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_is_told_to_leave_finishes_its_streams() {
    let stand = Stand::start(StandConfig::default()).await;
    let worker = stand.worker_with("w", &model(), &["--name", MODEL]).await;
    let reply = begin(&stand, &chat(300)).await;
    worker.terminate();
    stand.worker_is("w", WorkerState::Draining).await;
    let text = reply.text().await.expect("the whole stream");
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert!(text.contains("\"finish_reason\":\"length\""));
}
