//! Chats through the proxy: to clients of others, to those that leave, and through a drain.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_protocol::WorkerState;
use tidegate_tests::{Harness, HarnessConfig, eventually};

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

/// A stream of so many answers at once: one of them is over before a test can look.
fn many(answers: usize) -> Value {
    let mut body = chat(450);
    body["n"] = json!(answers);
    body
}

async fn begin(harness: &Harness, body: &Value) -> reqwest::Response {
    let url = format!("http://{}/v1/chat/completions", harness.listen);
    let reply = reqwest::Client::new().post(url).json(body).send().await;
    let mut reply = reply.expect("an answer");
    assert_eq!(reply.status(), 200);
    reply.chunk().await.expect("a chunk");
    reply
}

#[tokio::test]
async fn the_unmodified_clients_of_others_chat() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.worker_with("w", &model(), &["--name", MODEL]).await;
    let url = format!("http://{}/v1", harness.listen);
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
async fn the_unmodified_client_of_openai_gets_answers_of_its_classes_and_calls() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.worker_with("w", &model(), &["--name", MODEL]).await;
    let url = format!("http://{}/v1", harness.listen);
    let seen = run_client("openai_forms.py", &[&url, MODEL], &[]).await;
    // The client itself checks what it parses against its class.
    assert!(seen["parsed"]["high"].is_boolean(), "{seen}");
    assert_eq!(seen["parsed_reason"], "stop");
    assert!(seen["calls"][0]["high"].is_boolean(), "{seen}");
    assert_eq!(seen["called_reason"], "tool_calls");
    assert!(seen["streamed"]["high"].is_boolean(), "{seen}");
    assert_eq!(seen["streamed_reason"], "tool_calls");
    assert!(seen["streamed_pieces"].as_u64().expect("a number") > 2);
    assert!(seen["usage"].as_u64().expect("a number") > 20);
    assert_eq!(seen["refusals"], json!(["response_format", "tools"]));
}

#[tokio::test]
async fn the_unmodified_client_of_langchain_chats_and_parses() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.worker_with("w", &model(), &["--name", MODEL]).await;
    let url = format!("http://{}/v1", harness.listen);
    let seen = run_client("langchain_chat.py", &[&url, MODEL], &[]).await;
    assert!(!seen["plain"].as_str().expect("text").is_empty());
    assert_eq!(seen["streamed"], seen["plain"]);
    assert_eq!(
        (&seen["reason"], &seen["usage"]),
        (&json!("length"), &json!(12))
    );
    assert!(seen["schema"]["high"].is_boolean(), "{seen}");
    assert!(seen["function"]["high"].is_boolean(), "{seen}");
    assert_eq!(seen["tools"], json!(["Tide"]));
}

#[tokio::test]
async fn the_unmodified_client_of_text_generation_inference_generates_and_chats() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.worker_with("w", &model(), &["--name", MODEL]).await;
    let url = format!("http://{}", harness.listen);
    let seen = run_client("tgi_generate.py", &[&url, MODEL], &[]).await;
    let plain = seen["plain"].as_str().expect("text");
    assert!(!plain.is_empty());
    for same in ["details", "streamed", "last"] {
        assert_eq!(seen[same], plain, "{same}");
    }
    let joined = |name: &str| -> String {
        let texts = seen[name].as_array().expect("tokens").iter();
        texts.filter_map(Value::as_str).collect()
    };
    assert_eq!(
        (joined("tokens"), joined("lines")),
        (plain.to_owned(), plain.to_owned())
    );
    assert_eq!(seen["full"], format!("The tide{plain}"));
    assert!(["length", "eos_token"].contains(&seen["reason"].as_str().expect("a reason")));
    let written = seen["generated_tokens"].as_u64().expect("a number") as usize;
    assert_eq!(written, seen["tokens"].as_array().expect("tokens").len());
    assert!(seen["held"]["high"].is_boolean(), "{seen}");
    assert_eq!(seen["chat_streamed"], seen["chat"]);
}

/// The slots that are held, as the workers count them.
async fn held(harness: &Harness) -> u32 {
    let signal = harness.signal().await;
    let held = |worker: &tidegate_protocol::WorkerSignal| worker.permits + worker.elsewhere;
    signal.workers.iter().map(held).sum()
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_slot_within_100_ms() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.worker_with("w", &model(), &["--name", MODEL]).await;
    let address = harness.signal().await.workers[0].address;
    // Of the worker itself: what the proxy believes is not what is computed.
    let is_free = async || {
        let metrics = reqwest::get(format!("http://{address}/metrics"))
            .await
            .ok()?;
        let metrics = metrics.text().await.ok()?;
        metrics.contains("\ntidegate_slots_busy 0\n").then_some(())
    };
    let began = Instant::now();
    let whole = begin(&harness, &many(32))
        .await
        .text()
        .await
        .expect("all of it");
    let alone = began.elapsed();
    assert!(whole.ends_with("[DONE]\n\n"));
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        eventually("nothing runs", is_free).await;
        let reply = begin(&harness, &many(32)).await;
        assert_eq!(held(&harness).await, 1, "the slot is taken");
        drop(reply);
        let left = Instant::now();
        eventually("the slot is free", is_free).await;
        fastest = fastest.min(left.elapsed());
    }
    assert!(
        alone > Duration::from_millis(200),
        "it is over by itself in {alone:?}"
    );
    assert!(fastest <= Duration::from_millis(100), "{fastest:?}");
}

#[tokio::test]
async fn a_killed_worker_ends_its_stream_with_an_error_event_and_costs_no_other_request() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let mut victim = harness
        .worker_with("victim", &model(), &["--name", MODEL])
        .await;
    let stream = begin(&harness, &many(32)).await;
    victim.freeze();
    let _steady = harness
        .worker_with("steady", &model(), &["--name", MODEL])
        .await;
    victim.kill();
    // What comes meanwhile goes to the other, or is moved there.
    let url = format!("http://{}/v1/chat/completions", harness.listen);
    let mut whole = chat(8);
    whole["stream"] = json!(false);
    for _ in 0..8 {
        let reply = reqwest::Client::new().post(&url).json(&whole).send().await;
        assert_eq!(reply.expect("an answer").status(), 200);
    }
    let text = stream.text().await.expect("a stream that ends in order");
    let last = text.trim_end().rsplit("\n\n").next().unwrap_or_default();
    let event: Value = serde_json::from_str(last.trim_start_matches("data: ")).expect(last);
    assert_eq!(event["error"]["code"], "worker_failed", "{text}");
    assert_eq!(event["error"]["type"], "server_error");
    assert!(!text.contains("[DONE]"), "{text}");
}

#[tokio::test]
async fn a_drain_waits_for_streams_and_cuts_none() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let mut leaving = harness
        .worker_with("leaving", &model(), &["--name", MODEL])
        .await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(begin(&harness, &many(10)).await);
    }
    harness.drain("leaving").await;
    harness.worker_is("leaving", WorkerState::Draining).await;
    leaving.terminate();
    assert!(leaving.ended().is_none(), "it waits for its streams");
    for stream in streams {
        let text = stream.text().await.expect("the whole stream");
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
        assert!(text.contains("\"finish_reason\":\"length\""));
    }
    let (status, _) = leaving.end(Duration::from_secs(10)).await;
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_worker_that_is_told_to_leave_finishes_its_streams() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let worker = harness.worker_with("w", &model(), &["--name", MODEL]).await;
    let reply = begin(&harness, &chat(300)).await;
    worker.terminate();
    harness.worker_is("w", WorkerState::Draining).await;
    let text = reply.text().await.expect("the whole stream");
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert!(text.contains("\"finish_reason\":\"length\""));
}
