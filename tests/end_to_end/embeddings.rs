//! Real embeddings through the proxy, to the proxy's own clients and to those of OpenAI and of
//! text-embeddings-inference.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tidegate_tests::{Harness, HarnessConfig, binary};

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
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.worker("w").await;
    let inputs: Vec<String> = fixture("inputs.json");
    let expected: Value = fixture("expected.json");
    let body = json!({"model": MODEL, "input": inputs, "truncate": true});
    let answer = harness.client().post(&body).await;
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

/// Runs a script with a client of others, and reads what it prints.
pub async fn run_client(script: &str, arguments: &[&str], texts: &[String]) -> Value {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
    let mut command = Command::new(python());
    command.arg(clients.join(script));
    command.args(arguments).args(texts);
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let output = output.expect("no panic").expect("Python starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("the script prints JSON")
}

#[track_caller]
fn assert_equal(theirs: &Value, ours: &Value) {
    let (theirs, ours) = (numbers(theirs), numbers(ours));
    assert_eq!(theirs.len(), ours.len());
    let differences = theirs.iter().zip(&ours).map(|(a, b)| (a - b).abs());
    let largest = differences.fold(0.0, f64::max);
    assert!(largest < 1e-5, "{largest}");
}

#[tokio::test]
async fn the_unmodified_client_of_openai_gets_the_same_numbers() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.worker("w").await;
    let inputs: Vec<String> = fixture("inputs.json");
    let texts = &inputs[..3];
    let url = format!("http://{}/v1", harness.listen);
    let seen = run_client("openai_embeddings.py", &[&url, MODEL], texts).await;
    let ours = harness.client().post(&json!({"input": texts})).await.body;
    for at in 0..texts.len() {
        assert_equal(&seen["vectors"][at], &ours["data"][at]["embedding"]);
    }
    assert_eq!(seen["prompt_tokens"], ours["usage"]["prompt_tokens"]);
    assert_eq!(seen["models"], json!([MODEL]));
    assert_eq!(seen["refusal"], "model_not_found");
}

#[tokio::test]
async fn the_unmodified_client_of_text_embeddings_inference_gets_the_same_numbers() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.worker("w").await;
    let inputs: Vec<String> = fixture("inputs.json");
    let texts = &inputs[..3];
    let url = format!("http://{}", harness.listen);
    let seen = run_client("tei_embeddings.py", &[&url], texts).await;
    let ours = harness.client().post(&json!({"input": texts})).await.body;
    let ours = |at: usize| &ours["data"][at]["embedding"];
    for at in 0..texts.len() {
        assert_equal(&seen["vectors"][at], ours(at));
    }
    assert_equal(&seen["one"][0], ours(0));
    let source = numbers(ours(0));
    let similarity = [1, 2].map(|at| cosine(&source, &numbers(ours(at))));
    assert_equal(&seen["similarity"], &json!(similarity));
    assert_eq!(seen["refusal"], "Empty");
}

#[tokio::test]
async fn what_a_worker_serves_is_reached_and_refused_in_the_shape_of_its_path() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let http = reqwest::Client::new();
    let url = |path: &str| format!("http://{}{path}", harness.listen);
    for body in [
        json!({"inputs": "a"}),
        json!({"inputs": "a", "model": MODEL}),
    ] {
        let early = http.post(url("/embed")).json(&body).send().await;
        let early = early.expect("the proxy answers");
        assert_eq!(early.status(), 503);
        assert!(early.headers().contains_key("retry-after"));
        let body: Value = early.json().await.expect("it is JSON");
        assert_eq!(
            (&body["error_type"], &body["code"]),
            (&json!("Unhealthy"), &json!("no_model_yet"))
        );
    }

    let _worker = harness.worker("w").await;
    let info = harness.client().get("/info").await;
    assert_eq!(info.status, 200, "{}", info.body);
    assert_eq!(info.body["model_id"], MODEL);
    let embedded = http.post(url("/embed")).json(&json!({"inputs": "a cat"}));
    let embedded = embedded.send().await.expect("the proxy answers");
    assert_eq!(embedded.headers()["x-compute-tokens"], "4");
    let wrong_method = harness.client().get("/embed").await;
    assert_eq!(
        (wrong_method.status, &wrong_method.headers["allow"]),
        (405, &"POST, OPTIONS".parse().expect("a value"))
    );
    let broken = http.post(url("/embed")).body("{").send().await;
    let broken = broken.expect("the proxy answers");
    assert_eq!(broken.status(), 422);
    for path in ["/v1/rerank", "/v2/rerank"] {
        let rerank = http.post(url(path));
        let rerank = rerank.json(&json!({"query": "a", "documents": ["b"]}));
        let rerank = rerank.send().await.expect("the proxy answers");
        assert_eq!(rerank.status(), 400, "{path}");
        let body: Value = rerank.json().await.expect("it is JSON");
        assert_eq!(body["error"]["code"], "wrong_model_type", "{path}");
    }
}
