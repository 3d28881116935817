//! Chats through a batch, on a small decoder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_tests::{Harness, HarnessConfig, within};

use crate::service::{Batches, OpenAi, id, ids};

const MODEL: &str = "tiny";
const LINES: u32 = 160;
const TOKENS: u32 = 24;
const PATIENCE: Duration = Duration::from_secs(120);

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/decoders/llama/f32.gguf")
}

/// A chat whose answer is the same whoever computes it, beside whatever else.
fn chat(n: u32) -> Value {
    json!({
        "model": MODEL,
        "messages": [{"role": "user", "content": format!("Say {}", n % 7)}],
        "temperature": 0,
        "max_tokens": TOKENS,
        "ignore_eos": true,
    })
}

fn input(directory: &Path) -> PathBuf {
    let line = |n| {
        let line = json!({
            "custom_id": id(n),
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": chat(n),
        });
        format!("{line}\n")
    };
    let path = directory.join("in.jsonl");
    std::fs::write(&path, (0..LINES).map(line).collect::<String>()).expect("room");
    path
}

/// What the proxy answers to a chat that is no part of a batch.
async fn asked_alone(harness: &Harness, n: u32) -> Value {
    let url = format!("http://{}/v1/chat/completions", harness.listen);
    let answer = reqwest::Client::new().post(url).json(&chat(n)).send().await;
    let answer = answer.expect("it answers");
    assert_eq!(answer.status(), 200);
    let answer: Value = answer.json().await.expect("JSON");
    answer["choices"][0]["message"].clone()
}

#[tokio::test]
async fn chats_are_answered_once_though_each_process_is_killed() {
    let mut harness = Harness::start(HarnessConfig::default()).await;
    let mut worker = harness
        .worker_with("one", &model(), &["--name", MODEL])
        .await;
    let mut expected = Vec::new();
    for n in 0..7 {
        expected.push(asked_alone(&harness, n).await);
    }
    let mut batches = Batches::start(&harness, "").await;
    let file = input(harness.dir.path());
    let endpoint = Some("/v1/chat/completions");
    let mut client = OpenAi::start(&batches.url(), "run", &file, endpoint);
    client.begun();
    for round in 1..=2 {
        let most_left = f64::from(LINES - round * 40);
        within(PATIENCE, "the batch goes on", async || {
            let left = batches.metric("tidegate_batch_lines_waiting").await;
            (left <= most_left).then_some(())
        })
        .await;
        batches.process.kill();
        batches.restart().await;
        harness.proxy.kill();
        harness.restart_proxy().await;
        worker.kill();
        let name = format!("after-{round}");
        worker = harness
            .worker_with(&name, &model(), &["--name", MODEL])
            .await;
    }
    let result = client.result().await;
    assert_eq!(result["status"], "completed", "{}", result["errors"][0]);
    let all: Vec<_> = (0..LINES).map(id).collect();
    assert_eq!(ids(&result["output"]), all, "{}", result["errors"][0]);
    for (n, line) in result["output"]
        .as_array()
        .expect("lines")
        .iter()
        .enumerate()
    {
        let body = &line["response"]["body"];
        assert_eq!(body["choices"][0]["message"], expected[n % 7], "line {n}");
        assert_eq!(body["usage"]["completion_tokens"], TOKENS);
    }
    drop(worker);
}
