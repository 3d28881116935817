//! Files and batches as OpenAI's client uses them: whose, how many, how they end.

use serde_json::json;
use tidegate_tests::{Harness, HarnessConfig};

use crate::service::{Batches, OpenAi, id, ids, input};

const ENDPOINT: Option<&str> = Some("/v1/embeddings");

#[tokio::test]
async fn openais_client_makes_every_call_that_there_is() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("one", &[]).await;
    let batches = Batches::start(&harness, "").await;
    let file = input(harness.dir.path(), 50, 200);
    let client = OpenAi::start(&batches.url(), "tour", &file, ENDPOINT);
    every_call_is_answered(client).await;
}

/// Of a client on its tour, with a file of fifty lines.
pub async fn every_call_is_answered(mut client: OpenAi) {
    client.begun();
    let result = client.result().await;
    assert_eq!(
        result["counts"],
        json!({"total": 50, "completed": 50, "failed": 0})
    );
    assert_eq!(ids(&result["output"]), (0..50).map(id).collect::<Vec<_>>());
    let seen = &result["seen"];
    for (call, refusal) in [
        ("strange_file", json!([404, "file_not_found"])),
        ("strange_batch", json!([404, "batch_not_found"])),
        ("strange_cancel", json!([404, "batch_not_found"])),
        ("file_in_use", json!([400, "file_in_use"])),
        ("endpoint", json!([400, "mismatched_endpoint"])),
        ("no_file", json!([404, "file_not_found"])),
        ("purpose", json!([400, "invalid_value"])),
        ("window", json!([400, "invalid_value"])),
    ] {
        assert_eq!(seen[call], refusal, "{call}");
    }
    assert_eq!(seen["files"], seen["expected_files"]);
    assert_eq!(seen["theirs"], json!([0, 0]), "each key sees its own");
    assert_eq!(seen["metadata"], json!({"of": "test"}));
    for what in ["input_is_kept", "batches", "deleted"] {
        assert_eq!(seen[what], true, "{what}");
    }
}

#[tokio::test]
async fn a_bad_line_is_an_error_line_and_never_a_failed_batch() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("one", &[]).await;
    let batches = Batches::start(&harness, "").await;
    let file = harness.dir.path().join("in.jsonl");
    let line = |id: &str, body: serde_json::Value| {
        let line =
            json!({"custom_id": id, "method": "POST", "url": "/v1/embeddings", "body": body});
        format!("{line}\n")
    };
    let text = [
        line("good", json!({"service_ms": 1})),
        line("no such model", json!({"model": "unheard-of"})),
        line("streamed", json!({"stream": true})),
    ];
    std::fs::write(&file, text.concat()).expect("room");
    let mut client = OpenAi::start(&batches.url(), "run", &file, ENDPOINT);
    client.begun();
    let result = client.result().await;
    assert_eq!(result["status"], "completed");
    assert_eq!(ids(&result["output"]), ["good"]);
    assert_eq!(ids(&result["errors"]), ["no such model", "streamed"]);
    let errors = &result["errors"];
    assert_eq!(errors[0]["response"]["status_code"], 404);
    assert_eq!(
        errors[0]["response"]["body"]["error"]["code"],
        "model_not_found"
    );
    assert_eq!(errors[1]["error"]["code"], "stream_not_supported");
}

#[tokio::test]
async fn a_bad_file_is_refused_with_the_numbers_of_its_lines() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let batches = Batches::start(&harness, "[files]\nlines = 40\nline_bytes = 1000").await;
    let file = harness.dir.path().join("in.jsonl");
    let refusal = async |text: &str| {
        std::fs::write(&file, text).expect("room");
        let client = OpenAi::start(&batches.url(), "refuse", &file, None);
        client.result().await
    };
    let refused = refusal(&"nonsense\n".repeat(12)).await;
    assert_eq!(refused["code"], "invalid_file");
    let message = refused["message"].as_str().expect("words");
    assert!(
        message.starts_with("12 lines are bad; line 1: is not JSON"),
        "{message}"
    );
    assert!(
        message.contains("; line 10: ") && !message.contains("line 11"),
        "{message}"
    );
    let long = refusal(&"x".repeat(2000)).await;
    assert_eq!(
        long["message"],
        "1 line is bad; line 1: has more than 1000 bytes"
    );
    let many = refusal(&"{}\n".repeat(41)).await;
    assert_eq!(many["message"], "the file has more than 40 lines");
}

#[tokio::test]
async fn a_cancelled_batch_says_so_in_the_lines_that_were_not_asked() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("one", &["--slots", "2"]).await;
    let batches = Batches::start(&harness, "").await;
    let file = input(harness.dir.path(), 600, 10);
    let mut client = OpenAi::start(&batches.url(), "cancel", &file, ENDPOINT);
    client.begun();
    ends_partly(&client.result().await, 600, "cancelled", "batch_cancelled");
}

#[tokio::test]
async fn an_expired_batch_says_so_in_the_lines_that_were_late() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("one", &["--slots", "2"]).await;
    let batches = Batches::start(&harness, "").await;
    let file = input(harness.dir.path(), 1000, 20);
    let mut client = OpenAi::start(&batches.url(), "expire", &file, ENDPOINT);
    client.begun();
    ends_partly(&client.result().await, 1000, "expired", "batch_expired");
}

fn ends_partly(result: &serde_json::Value, lines: u32, status: &str, code: &str) {
    assert_eq!(result["status"], status);
    let (output, errors) = (ids(&result["output"]), ids(&result["errors"]));
    assert!(!output.is_empty() && !errors.is_empty(), "{result}");
    let mut all = [output, errors].concat();
    all.sort_by_key(|id| id[5..].parse::<u32>().expect("a number"));
    assert_eq!(
        all,
        (0..lines).map(id).collect::<Vec<_>>(),
        "each line once"
    );
    let errors = result["errors"].as_array().expect("lines");
    assert!(errors.iter().all(|line| line["error"]["code"] == code));
}
