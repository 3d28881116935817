//! Real embeddings through the proxy, to the proxy's own clients and to OpenAI's.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tidegate_tests::{Stand, StandConfig, binary};

const MODEL: &str = "all-MiniLM-L6-v2";

fn fixture<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/embeddings")
        .join(name);
    let text = std::fs::read_to_string(path).expect("the fixture is there");
    serde_json::from_str(&text).expect("the fixture is JSON")
}

fn numbers(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).expect("a list of numbers")
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[tokio::test]
async fn embeddings_equal_those_of_the_original_implementation() {
    let stand = Stand::start(StandConfig::default()).await;
    let _worker = stand.worker("w").await;
    let inputs: Vec<String> = fixture("inputs.json");
    let expected: Value = fixture("expected.json");
    let body = json!({"model": MODEL, "input": inputs, "truncate": true});
    let answer = stand.client().post(&body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    for at in 0..inputs.len() {
        let vector = numbers(&answer.body["data"][at]["embedding"]);
        let expected = numbers(&expected["vectors"][at]);
        assert_eq!(vector.len(), 384);
        let cosine = cosine(&vector, &expected);
        assert!(cosine >= 0.9999, "input {at}: cosine {cosine}");
    }
}

/// The Python of the virtual environment that `make test` prepares.
fn python() -> PathBuf {
    let profile = binary("tidegate-proxy");
    let target = profile
        .ancestors()
        .nth(2)
        .expect("binaries are in target/release");
    let python = target.join("clients/bin/python");
    assert!(
        python.exists(),
        "{} is missing; `make test` installs it",
        python.display()
    );
    python
}

#[tokio::test]
async fn the_unmodified_client_of_openai_gets_the_same_numbers() {
    let stand = Stand::start(StandConfig::default()).await;
    let _worker = stand.worker("w").await;
    let inputs: Vec<String> = fixture("inputs.json");
    let texts = &inputs[..3];
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/openai_embeddings.py");
    let mut command = Command::new(python());
    command
        .arg(script)
        .arg(format!("http://{}/v1", stand.listen))
        .arg(MODEL)
        .args(texts);
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let output = output.expect("no panic").expect("Python starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let seen: Value = serde_json::from_slice(&output.stdout).expect("the script prints JSON");
    let ours = stand.client().post(&json!({"input": texts})).await.body;
    for at in 0..texts.len() {
        let (theirs, ours) = (
            numbers(&seen["vectors"][at]),
            numbers(&ours["data"][at]["embedding"]),
        );
        let difference = theirs
            .iter()
            .zip(&ours)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max);
        assert!(difference < 1e-5, "input {at}: {difference}");
    }
    assert_eq!(seen["prompt_tokens"], ours["usage"]["prompt_tokens"]);
    assert_eq!(seen["models"], json!([MODEL]));
    assert_eq!(seen["refusal"], "model_not_found");
}
