//! Chats and completions as OpenAI's clients meet them, with a tiny decoder of the fixtures.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::worker::{self, Worker};

pub async fn decoder() -> Worker {
    configured("").await
}

async fn configured(config: &str) -> Worker {
    let model =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/decoders/llama/f32.gguf");
    let home = tempfile::tempdir().expect("a temporary directory");
    worker::plan(home, model.as_os_str())
        .config(config)
        .args(["--name", "tiny"])
        .ready()
        .await
}

pub async fn ask(worker: &Worker, path: &str, body: &Value) -> (u16, Value) {
    let reply = reqwest::Client::new()
        .post(format!("{}{path}", worker.url))
        .json(body)
        .send();
    let reply = reply.await.expect("an answer");
    let status = reply.status().as_u16();
    (status, reply.json().await.expect("JSON"))
}

/// The events of a stream; the last must be `[DONE]`.
pub async fn events(worker: &Worker, path: &str, body: &Value) -> Vec<Value> {
    let reply = reqwest::Client::new()
        .post(format!("{}{path}", worker.url))
        .json(body)
        .send();
    let reply = reply.await.expect("an answer");
    assert_eq!(reply.headers()["content-type"], "text/event-stream");
    let text = reply.text().await.expect("text");
    let mut events: Vec<&str> = text
        .split("\n\n")
        .map(|event| event.trim_start_matches("data: "))
        .collect();
    assert_eq!(events.split_off(events.len() - 2), ["[DONE]", ""]);
    events
        .into_iter()
        .map(|event| serde_json::from_str(event).expect(event))
        .collect()
}

pub fn chat(more: &Value) -> Value {
    let mut body = json!({
        "model": "tiny",
        "messages": [{ "role": "user", "content": "Hello" }],
        "temperature": 0,
        "max_tokens": 12,
        "ignore_eos": true,
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    body
}

pub const CHAT: &str = "/v1/chat/completions";
const COMPLETE: &str = "/v1/completions";

#[tokio::test]
async fn a_stream_says_what_the_whole_answer_says() {
    let worker = decoder().await;
    let (status, whole) = ask(&worker, CHAT, &chat(&json!({}))).await;
    assert_eq!(status, 200, "{whole}");
    assert_eq!(whole["object"], "chat.completion");
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    assert_eq!(whole["usage"]["prompt_tokens"], 19);
    assert_eq!(whole["usage"]["completion_tokens"], 12);

    let streamed = chat(&json!({ "stream": true, "stream_options": { "include_usage": true } }));
    let chunks = events(&worker, CHAT, &streamed).await;
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let last = &chunks[chunks.len() - 2]["choices"][0];
    assert_eq!(
        (&last["finish_reason"], &last["delta"]),
        (&json!("length"), &json!({}))
    );
    let usage = &chunks[chunks.len() - 1];
    assert_eq!(
        (&usage["choices"], &usage["usage"]["completion_tokens"]),
        (&json!([]), &json!(12))
    );
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk["object"] == "chat.completion.chunk"
                && chunk["id"] == chunks[0]["id"])
    );
    let text: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, whole["choices"][0]["message"]["content"]);
}

#[tokio::test]
async fn completions_echo_score_and_choose() {
    let worker = decoder().await;
    let body = json!({ "prompt": "The tide turns", "max_tokens": 4, "temperature": 0, "echo": true, "logprobs": 2, "ignore_eos": true });
    let (status, scored) = ask(&worker, COMPLETE, &body).await;
    assert_eq!(status, 200, "{scored}");
    let choice = &scored["choices"][0];
    let text = choice["text"].as_str().expect("text");
    assert!(text.starts_with("The tide turns"));
    let tokens = choice["logprobs"]["tokens"].as_array().expect("tokens");
    assert_eq!(
        tokens.len(),
        scored["usage"]["total_tokens"].as_u64().expect("a number") as usize
    );
    assert_eq!(choice["logprobs"]["token_logprobs"][0], Value::Null);
    let joined: String = tokens.iter().filter_map(Value::as_str).collect();
    assert_eq!(joined, text);

    let several = json!({ "prompt": ["The tide", [54, 71, 78]], "n": 2, "seed": 1, "max_tokens": 5, "ignore_eos": true });
    let (_, first) = ask(&worker, COMPLETE, &several).await;
    let (_, again) = ask(&worker, COMPLETE, &several).await;
    let texts = |body: &Value| -> Vec<String> {
        let choices = body["choices"].as_array().expect("choices").iter();
        choices
            .map(|choice| choice["text"].as_str().expect("text").to_owned())
            .collect()
    };
    assert_eq!(texts(&first), texts(&again));
    assert_eq!(first["choices"][3]["index"], 3);
    let streamed =
        json!({ "prompt": "The tide", "max_tokens": 3, "stream": true, "ignore_eos": true });
    let chunks = events(&worker, COMPLETE, &streamed).await;
    assert_eq!(chunks[0]["object"], "text_completion");
    assert_eq!(
        chunks[chunks.len() - 1]["choices"][0]["finish_reason"],
        "length"
    );
}

#[tokio::test]
async fn what_is_not_supported_is_refused_by_name() {
    let worker = configured("[generate]\ncontext = 64").await;
    for (more, param) in [
        (json!({ "functions": [] }), "functions"),
        (json!({ "modalities": ["audio"] }), "modalities"),
        (json!({ "temperature": 9 }), "temperature"),
        (json!({ "tool_choice": "required" }), "tool_choice"),
        (
            json!({ "response_format": { "type": "xml" } }),
            "response_format",
        ),
        (json!({ "messages": [] }), "messages"),
        (json!({ "messages": [{ "role": "user" }] }), "messages"),
        (
            json!({ "messages": [{ "role": "system", "content": null }] }),
            "messages",
        ),
        (
            json!({ "messages": [{ "role": "user", "content": 5 }] }),
            "messages",
        ),
        (json!({ "max_tokens": 0 }), "max_tokens"),
        (
            json!({ "max_completion_tokens": 0 }),
            "max_completion_tokens",
        ),
        (
            json!({ "stream_options": { "include_usage": true } }),
            "stream_options",
        ),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url" }] }] }),
            "messages",
        ),
    ] {
        let (status, body) = ask(&worker, CHAT, &chat(&more)).await;
        assert_eq!(
            (status, &body["error"]["param"]),
            (400, &json!(param)),
            "{body}"
        );
    }
    let (status, body) = ask(&worker, CHAT, &chat(&json!({ "max_tokens": 100 }))).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (400, &json!("context_length_exceeded"))
    );
    let calls = json!([
        { "role": "user", "content": "a" },
        { "role": "assistant", "content": null },
        { "role": "user", "content": "b" },
    ]);
    let lacking = json!({ "messages": calls, "max_tokens": 1, "stream_options": null });
    let (status, body) = ask(&worker, CHAT, &chat(&lacking)).await;
    assert_ne!(
        body["error"]["param"], "messages",
        "{status}: an assistant may have no words"
    );
    let (status, body) = ask(&worker, "/v1/embeddings", &json!({ "input": "a" })).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (400, &json!("wrong_model_type"))
    );
    let (status, body) = ask(&worker, CHAT, &chat(&json!({ "model": "other" }))).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (404, &json!("model_not_found"))
    );
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_slot_and_the_next_turn_reuses_the_cache() {
    let worker = configured("[generate]\nsequences = 1\ncontext = 400\ncache_tokens = 400").await;
    let long = chat(&json!({ "max_tokens": 350, "stream": true }));
    let client = reqwest::Client::new();
    let mut reply = client
        .post(format!("{}{CHAT}", worker.url))
        .json(&long)
        .send()
        .await
        .expect("an answer");
    reply.chunk().await.expect("a chunk");
    drop(reply);
    drop(client);
    let left = Instant::now();
    loop {
        let (status, body) = ask(&worker, CHAT, &chat(&json!({ "max_tokens": 1 }))).await;
        if status == 200 {
            assert_eq!(body["usage"]["completion_tokens"], 1);
            break;
        }
        assert_eq!(status, 503, "{body}");
        assert!(
            left.elapsed() < Duration::from_secs(5),
            "the slot is still held"
        );
    }
    let first = json!({ "prompt": "The tide turns ".repeat(12), "max_tokens": 1 });
    ask(&worker, COMPLETE, &first).await;
    let (_, again) = ask(&worker, COMPLETE, &first).await;
    let cached = again["usage"]["prompt_tokens_details"]["cached_tokens"]
        .as_u64()
        .expect("a number");
    assert!(cached >= 32, "{again}");
}
