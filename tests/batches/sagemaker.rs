//! boto3's `sagemaker-runtime`, unmodified, by `endpoint_url`.

use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::{Value, json};
use tidegate_tests::{Harness, HarnessConfig, clients_python, eventually};

use crate::service::Batches;

/// The one key of `signed`.
const KEY_LINE: &str = "AKIDEXAMPLE wJalrXUtnFEMI\n";

const SIGNED: &str = "[sagemaker]\ncallers = 'signed'\nbody_bytes = 10000\naccess_keys_file = ";

/// A service that takes signed calls.
async fn signed(harness: &Harness) -> Batches {
    Batches::start(harness, &signed_config(harness)).await
}

/// The lines of TOML of a service that takes signed calls.
pub fn signed_config(harness: &Harness) -> String {
    let keys = harness.dir.path().join("sagemaker.keys");
    if !keys.exists() {
        harness.write_secret("sagemaker.keys", KEY_LINE);
    }
    format!(
        "{SIGNED}'{}'\n[sagemaker.endpoints]\nshop = 'timed'\n",
        keys.display()
    )
}

async fn calls(batches: &Batches, made: Value) -> Vec<Value> {
    calls_at(batches.listen, made).await
}

/// A file for its owner alone.
pub fn write_private(path: &Path, text: &str) {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(path);
    let mut file = opened.expect("it can be created");
    file.write_all(text.as_bytes()).expect("room");
}

/// What boto3 makes of some calls.
pub async fn calls_at(address: SocketAddr, calls: Value) -> Vec<Value> {
    let mut command = clients_python("sagemaker_runtime.py");
    command.args([&format!("http://{address}"), &calls.to_string()]);
    let ran = tokio::task::spawn_blocking(move || command.output()).await;
    let output = ran.expect("it runs").expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {said}"))
}

#[tokio::test]
async fn boto3_invokes_an_endpoint_whole_and_in_pieces() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("one", &[]).await;
    let batches = signed(&harness).await;
    let more =
        json!({"InferenceId": "mine-1", "CustomAttributes": "a=b", "TargetVariant": "AllTraffic"});
    let answers = calls(
        &batches,
        json!([
            {"operation": "invoke_endpoint", "endpoint": "timed", "body": {"input": "x"}, "more": more},
            {"operation": "invoke_endpoint", "endpoint": "shop", "body": {"input": "x"}},
            {"operation": "invoke_endpoint_with_response_stream", "endpoint": "timed",
             "body": {"input": "x", "pieces": 3, "gap_ms": 20}},
        ]),
    )
    .await;
    let [whole, renamed, stream] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!(whole["status"], 200, "{whole}");
    assert_eq!(whole["InvokedProductionVariant"], "AllTraffic");
    assert_eq!(whole["CustomAttributes"], "a=b");
    assert_eq!(whole["ContentType"], "application/json");
    let body: Value = serde_json::from_str(whole["body"].as_str().expect("text")).expect("JSON");
    assert_eq!(body["headers"]["x-request-id"], "mine-1");
    assert_eq!(renamed["status"], 200, "{renamed}");
    let body: Value = serde_json::from_str(renamed["body"].as_str().expect("text")).expect("JSON");
    assert_eq!(body["headers"]["x-request-id"], renamed["request"]);
    assert_eq!(stream["status"], 200, "{stream}");
    let parts: String = (stream["parts"].as_array().expect("parts").iter())
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(parts, "piece 0\npiece 1\npiece 2\n");
}

#[tokio::test]
async fn faults_come_as_botocores_own_exceptions() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let batches = signed(&harness).await;
    let invoke = |endpoint: &str, body: Value| json!({"operation": "invoke_endpoint", "endpoint": endpoint, "body": body});
    let cold = calls(&batches, json!([invoke("timed", json!({"input": "x"}))])).await;
    // Before any worker has announced a model there is none to ask for.
    assert!(
        cold[0]["code"] == "ModelNotReadyException" || cold[0]["code"] == "ValidationError",
        "{cold:?}"
    );
    let _worker = harness.timed_worker("one", &[]).await;
    let with = |key: &str, value: &str| {
        let mut call = invoke("timed", json!({"input": "x"}));
        call[key] = value.into();
        call
    };
    let mut variant = invoke("timed", json!({"input": "x"}));
    variant["more"] = json!({"TargetVariant": "Other"});
    let made = json!([
        invoke("nowhere", json!({"input": "x"})),
        invoke("timed", json!({"unheard": "of"})),
        invoke("timed", json!({"input": "x".repeat(20_000)})),
        invoke("timed", json!({"inputs": "a worker without this route"})),
        variant,
        with("secret", "another"),
        with("key", "AKIDSTRANGER"),
    ]);
    let answers = calls(&batches, made).await;
    for (answer, (exception, code, status, original)) in answers.iter().zip([
        ("ValidationError", "ValidationError", 400, Value::Null),
        ("ModelError", "ModelError", 424, json!(422)),
        ("ValidationError", "ValidationError", 400, Value::Null),
        ("ModelError", "ModelError", 424, json!(404)),
        ("ValidationError", "ValidationError", 400, Value::Null),
        ("ClientError", "InvalidSignatureException", 403, Value::Null),
        (
            "ClientError",
            "UnrecognizedClientException",
            403,
            Value::Null,
        ),
    ]) {
        assert_eq!(answer["exception"], exception, "{answer}");
        assert_eq!(answer["code"], code, "{answer}");
        assert_eq!(answer["status"], status, "{answer}");
        assert_eq!(answer["original"], original, "{answer}");
    }
}

#[tokio::test]
async fn without_a_word_nobody_is_let_in_and_anyone_only_when_it_is_said() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("one", &[]).await;
    let call = json!([{"operation": "invoke_endpoint", "endpoint": "timed", "body": {"input": "x"},
                       "secret": "any"}]);
    let mut batches = Batches::start(&harness, "").await;
    assert_eq!(calls(&batches, call.clone()).await[0]["status"], 404);
    batches.process.kill();
    let batches = Batches::start(&harness, "[sagemaker]\ncallers = 'anyone'").await;
    assert_eq!(calls(&batches, call).await[0]["status"], 200);
}

/// Where AWS names objects of S3, the locations are URLs that hold the answer once it is there.
#[tokio::test]
async fn boto3_invokes_later_and_finds_the_answer_or_why_there_is_none() {
    let proxy = "models = ['timed']".to_owned();
    let harness = Harness::start(HarnessConfig { proxy }).await;
    let mut batches = signed(&harness).await;
    let invoke = |body: Value, more: Value| json!({"operation": "invoke_endpoint_async", "endpoint": "shop", "body": body, "more": more});
    let begun = calls(
        &batches,
        json!([
            invoke(
                json!({"input": "x", "service_ms": 5}),
                json!({"InferenceId": "mine-1"})
            ),
            invoke(json!({"input": "x", "stream": true}), json!({})),
        ]),
    )
    .await;
    assert_eq!(begun[0]["status"], 202, "{}", begun[0]);
    assert_eq!(begun[0]["InferenceId"], "mine-1");
    let place = |call: &Value, key: &str| call[key].as_str().expect("a URL").to_owned();
    let (output, failure) = (
        place(&begun[0], "OutputLocation"),
        place(&begun[1], "FailureLocation"),
    );
    assert_eq!(
        reqwest::get(&output).await.expect("it answers").status(),
        404,
        "nobody could answer it yet"
    );
    batches.process.kill();
    batches.restart().await;
    let _worker = harness.timed_worker("one", &[]).await;
    let answer = async |url: &str| {
        let answer = reqwest::get(url).await.expect("it answers");
        (answer.status() == 200).then_some(answer)
    };
    let answered = eventually("the answer is there", async || answer(&output).await).await;
    let body: Value = answered.json().await.expect("JSON");
    assert!(body["order"].is_u64(), "{body}");
    let failed = eventually("the failure is there", async || answer(&failure).await).await;
    let said: Value = failed.json().await.expect("JSON");
    assert!(said.is_object(), "{said}");
    assert!(answer(&place(&begun[1], "OutputLocation")).await.is_none());

    let known = calls(
        &batches,
        json!([
            {"operation": "invoke_endpoint_async", "endpoint": "nowhere", "body": {"input": "x"}},
            invoke(json!({"unheard": "of"}), json!({})),
            invoke(json!({"input": "x"}), json!({"InputLocation": "s3://there/it-is"})),
        ]),
    )
    .await;
    for refused in &known {
        assert_eq!(refused["exception"], "ValidationError", "{refused}");
    }
}
