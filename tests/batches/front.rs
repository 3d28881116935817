//! The batch service behind the proxy: one address for all clients.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};
use tidegate_tests::{Harness, HarnessConfig, binary, eventually};

use crate::sagemaker::{calls_at, signed_config};
use crate::service::{Batches, OpenAi, free_address, input};
use crate::{files, sagemaker};

/// A proxy that passes requests on to where a service will be.
async fn harness(batch: SocketAddr, more: &str) -> Harness {
    let proxy = format!("[batch]\nurl = 'http://{batch}'\n{more}");
    Harness::start(HarnessConfig { proxy }).await
}

/// As `tidegate-proxy key` makes it: the key, and the line that admits it.
pub fn key(name: &str) -> (String, String) {
    let mut command = Command::new(binary("tidegate-proxy"));
    let made = command.args(["key", name]).output().expect("it runs");
    let said = String::from_utf8(made.stdout).expect("text");
    let mut words = said
        .lines()
        .map(|line| line.split_once(": ").expect(name).1);
    let mut word = || words.next().expect(name).to_owned();
    (word(), word())
}

fn address(harness: &Harness) -> String {
    format!("http://{}/v1", harness.listen)
}

#[tokio::test]
async fn files_and_batches_are_for_those_with_a_key_and_signed_calls_for_those_who_sign() {
    let batch = free_address();
    let ((own, own_line), (other, other_line), (service, service_line)) =
        (key("shop"), key("search"), key("batch"));
    let directory = tempfile::tempdir().expect("a directory");
    let keys = directory.path().join("api-keys");
    let lines = [own_line, other_line, service_line].join("\n");
    sagemaker::write_private(&keys, &lines);
    let more = format!("[clients]\napi_keys_file = '{}'\n", keys.display());
    let harness = harness(batch, &more).await;
    let _worker = harness.timed_worker("one", &[]).await;
    let service_key = directory.path().join("service.key");
    sagemaker::write_private(&service_key, &service);
    let config = signed_config(&harness);
    let config = format!("[proxy]\nkey_file = '{}'\n{config}", service_key.display());
    let _batches = Batches::start_at(batch, &harness, &config).await;

    let file = input(harness.dir.path(), 50, 200);
    let environment = [("OWN_KEY", own.as_str()), ("OTHER_KEY", &other)];
    let url = address(&harness);
    let endpoint = Some("/v1/embeddings");
    let client = OpenAi::start_with(&environment, &url, "tour", &file, endpoint);
    files::every_call_is_answered(client).await;

    let http = reqwest::Client::new();
    let without = http.get(format!("{url}/files")).send().await;
    assert_eq!(without.expect("it answers").status(), 401);
    let metrics = http.get(format!("http://{}/metrics", harness.listen));
    let metrics = metrics.bearer_auth(&own).send().await;
    assert_eq!(
        metrics.expect("it answers").status(),
        404,
        "none of its own"
    );

    let invoke = |operation: &str| json!({"operation": operation, "endpoint": "shop", "body": {"input": "x"}});
    let mut wrong = invoke("invoke_endpoint");
    wrong["secret"] = "another".into();
    let called = calls_at(
        harness.listen,
        json!([
            invoke("invoke_endpoint"),
            invoke("invoke_endpoint_with_response_stream"),
            invoke("invoke_endpoint_async"),
            wrong,
        ]),
    )
    .await;
    assert_eq!(called[0]["status"], 200, "{}", called[0]);
    assert_eq!(called[1]["status"], 200, "{}", called[1]);
    assert_eq!(called[2]["status"], 202, "{}", called[2]);
    let location = called[2]["OutputLocation"].as_str().expect("a URL");
    let expected = format!("http://{}/", harness.listen);
    assert!(location.starts_with(&expected), "{location}");
    let answer = eventually("the answer is there", async || {
        let answer = http.get(location).send().await.expect("it answers");
        answer.status().is_success().then_some(answer)
    });
    let answer: Value = answer.await.json().await.expect("it is JSON");
    assert!(answer["order"].is_u64(), "{answer}");
    assert_eq!(
        called[3]["code"], "InvalidSignatureException",
        "{}",
        called[3]
    );

    let counted = harness.metrics().await;
    assert!(
        counted.contains("route=\"POST /v1/files\"")
            && counted.contains("route=\"POST /endpoints\""),
        "{counted}"
    );
}

/// Resident bytes of a process.
fn resident(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kilobytes.expect("a peak").parse::<u64>().expect("a number") << 10
}

#[tokio::test]
async fn a_large_file_passes_without_being_held_and_one_that_is_too_large_is_refused() {
    const LINES: u32 = 20;
    let batch = free_address();
    let harness = harness(batch, "").await;
    let mut batches = Batches::start_at(batch, &harness, "").await;
    let file = harness.dir.path().join("large.jsonl");
    // Lines of nearly 10 MB, together nearly 200 MB.
    let text = "x".repeat(9_900_000);
    let line = |n: u32| {
        let line = json!({"custom_id": n.to_string(), "method": "POST", "url": "/v1/embeddings",
            "body": {"input": text}});
        format!("{line}\n")
    };
    let whole: String = (0..LINES).map(line).collect();
    std::fs::write(&file, &whole).expect("room");
    let upload = async |bytes: Vec<u8>| {
        let boundary = "b0undary";
        let head = format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n\
             --{boundary}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n"
        );
        let form = [
            head.as_bytes(),
            &bytes,
            format!("\r\n--{boundary}--\r\n").as_bytes(),
        ]
        .concat();
        let request = reqwest::Client::new().post(format!("{}/files", address(&harness)));
        let kind = format!("multipart/form-data; boundary={boundary}");
        request.header("content-type", kind).body(form).send().await
    };
    let taken = upload(whole.clone().into_bytes())
        .await
        .expect("it answers");
    assert_eq!(taken.status(), 200);
    let taken: serde_json::Value = taken.json().await.expect("JSON");
    assert_eq!(taken["bytes"], whole.len());
    let content = format!(
        "{}/files/{}/content",
        address(&harness),
        taken["id"].as_str().expect("an id")
    );
    let content = reqwest::get(content)
        .await
        .expect("it answers")
        .bytes()
        .await;
    assert!(
        content.expect("a body") == whole.as_bytes(),
        "the content is another"
    );
    for (name, process) in [("proxy", &harness.proxy), ("batch", &batches.process)] {
        let peak = resident(process.id()) >> 20;
        assert!(peak < 120, "the {name} held {peak} MB");
    }
    let more = upload([whole.as_bytes(), whole.as_bytes()].concat()).await;
    // A refusal may come while the client still sends.
    if let Ok(answer) = more {
        assert_eq!(answer.status(), 413);
    }
    batches.process.kill();
    let gone = reqwest::get(format!("{}/files", address(&harness))).await;
    assert_eq!(gone.expect("it answers").status(), 503);
    batches.restart().await;
    let back = reqwest::get(format!("{}/files", address(&harness))).await;
    assert_eq!(back.expect("it answers").status(), 200);
}

/// What boto3 makes of refusals, for each of its calls, is the same through the proxy as at the service.
#[tokio::test]
async fn faults_reach_boto3_through_the_proxy_for_each_of_its_calls() {
    let batch = free_address();
    let harness = harness(batch, "[line]\nwaiting = 1\n").await;
    let _worker = harness.timed_worker("one", &["--slots", "1"]).await;
    let config = format!("{}[quota]\nlines = 1\n", signed_config(&harness));
    let _batches = Batches::start_at(batch, &harness, &config).await;
    let call = |operation: &str, body: serde_json::Value| json!({"operation": operation, "endpoint": "shop", "body": body});
    for operation in [
        "invoke_endpoint",
        "invoke_endpoint_with_response_stream",
        "invoke_endpoint_async",
    ] {
        let with = |key: &str, value: &str| {
            let mut call = call(operation, json!({"input": "x"}));
            call[key] = value.into();
            call
        };
        let large = json!({"input": "x".repeat(20_000)});
        let answers = calls_at(
            harness.listen,
            json!([
                with("secret", "another"),
                with("key", "AKIDSTRANGER"),
                with("endpoint", "nowhere"),
                call(operation, large),
            ]),
        );
        let codes: Vec<_> = answers.await.iter().map(code).collect();
        let expected = [
            (403, "ClientError", "InvalidSignatureException"),
            (403, "ClientError", "UnrecognizedClientException"),
            (400, "ValidationError", "ValidationError"),
            (400, "ValidationError", "ValidationError"),
        ];
        let expected = expected
            .map(|(status, exception, code)| (status, exception.to_owned(), code.to_owned()));
        assert_eq!(codes, expected, "{operation}");
    }
    let refused = json!({"unheard": "of"});
    let sync = ["invoke_endpoint", "invoke_endpoint_with_response_stream"];
    let made: Vec<_> = sync
        .map(|operation| call(operation, refused.clone()))
        .into();
    for answer in calls_at(harness.listen, json!(made)).await {
        let expected = (424, "ModelError".to_owned(), "ModelError".to_owned());
        assert_eq!(
            (code(&answer), &answer["original"]),
            (expected, &json!(422))
        );
    }
    // One request at the only slot, and one in the queue, which takes no more.
    let long = json!({"input": "x", "service_ms": 12_000});
    let held: Vec<_> = (0..2)
        .map(|_| {
            let made = json!([call("invoke_endpoint", long.clone())]);
            tokio::spawn(calls_at(harness.listen, made))
        })
        .collect();
    eventually("one waits", async || {
        (harness.signal().await.models[0].waiting == 1).then_some(())
    })
    .await;
    let made: Vec<_> = sync.map(|operation| call(operation, long.clone())).into();
    for answer in calls_at(harness.listen, json!(made)).await {
        let expected = (
            503,
            "ServiceUnavailable".to_owned(),
            "ServiceUnavailable".to_owned(),
        );
        assert_eq!(code(&answer), expected, "{answer}");
    }
    // The first takes the quota's one line, and waits behind the others.
    let made: Vec<_> = (0..2)
        .map(|_| call("invoke_endpoint_async", long.clone()))
        .collect();
    let answers = calls_at(harness.listen, json!(made)).await;
    assert_eq!(answers[0]["status"], 202, "{}", answers[0]);
    assert_eq!(answers[1]["code"], "ThrottlingException", "{}", answers[1]);
    assert_eq!(answers[1]["status"], 429);
    for held in held {
        assert_eq!(held.await.expect("it is called")[0]["status"], 200);
    }
}

fn code(answer: &serde_json::Value) -> (u64, String, String) {
    let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
    let status = answer["status"].as_u64().unwrap_or_default();
    (status, text("exception"), text("code"))
}
