//! Keys on the service's own address.

use serde_json::Value;
use tidegate_tests::{Harness, HarnessConfig, eventually};

use crate::files;
use crate::front::key;
use crate::sagemaker::write_private;
use crate::service::{Batches, OpenAi, input};

/// The status of a request for the list of files, and its body.
async fn listed(batches: &Batches, header: Option<(&'static str, String)>) -> (u16, Value) {
    let mut request = reqwest::Client::new().get(format!("{}/files", batches.url()));
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    let answer = request.send().await.expect("it answers");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

#[tokio::test]
async fn without_a_proxy_in_front_a_key_is_needed_and_sees_its_own_alone() {
    let ((own, own_line), (other, other_line), (stranger, stranger_line)) =
        (key("shop"), key("search"), key("stranger"));
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("one", &[]).await;
    let keys = harness.dir.path().join("api-keys");
    write_private(&keys, &format!("{own_line}\n{other_line}\n"));
    let config = format!("[clients]\napi_keys_file = '{}'\n", keys.display());
    let batches = Batches::start(&harness, &config).await;

    for wrong in [
        None,
        Some(("authorization", format!("Bearer {stranger}"))),
        Some(("authorization", format!("Basic {own}"))),
        Some(("api-key", own[1..].to_owned())),
    ] {
        let (status, body) = listed(&batches, wrong).await;
        assert_eq!(status, 401, "{body}");
        assert_eq!(body["error"]["code"], "invalid_api_key");
        assert_eq!(body["error"]["type"], "invalid_request_error");
        assert!(body["error"]["message"].is_string());
    }
    assert_eq!(
        listed(&batches, Some(("api-key", own.clone()))).await.0,
        200
    );

    let environment = [("OWN_KEY", own.as_str()), ("OTHER_KEY", &other)];
    let file = input(harness.dir.path(), 50, 200);
    let endpoint = Some("/v1/embeddings");
    let client = OpenAi::start_with(&environment, &batches.url(), "tour", &file, endpoint);
    files::every_call_is_answered(client).await;

    // A key that is taken in and one that is put out, while the service runs.
    std::fs::write(&keys, format!("{stranger_line}\n{other_line}\n")).expect("room");
    eventually("the keys are read again", async || {
        let of = |key: &String| Some(("api-key", key.clone()));
        let (new, old) = (of(&stranger), of(&own));
        (listed(&batches, new).await.0 == 200 && listed(&batches, old).await.0 == 401).then_some(())
    })
    .await;
    // Health and metrics are for whoever watches.
    assert!(batches.metric("tidegate_batch_unfinished").await >= 0.0);
}

#[tokio::test]
async fn what_is_not_understood_is_refused_as_openai_does() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let batches = Batches::start(&harness, "").await;
    let http = reqwest::Client::new();
    let url = batches.url();
    let whole = r#"{"input_file_id": "f", "endpoint": "/v1/embeddings", "completion_window": "24h"#;
    for (request, status, code) in [
        (
            http.post(format!("{url}/batches")).body("{"),
            400,
            "invalid_value",
        ),
        (
            http.post(format!("{url}/batches"))
                .body(format!("{whole}\", \"priority\": \"high\"}}")),
            400,
            "invalid_value",
        ),
        (
            http.put(format!("{url}/batches")),
            405,
            "method_not_allowed",
        ),
        (http.get(format!("{url}/files/%ff")), 404, "file_not_found"),
        (
            http.get(format!("{url}/files/..%2Fbatch.db")),
            404,
            "file_not_found",
        ),
        (
            http.get(format!("{url}/batches/batch_1")),
            404,
            "batch_not_found",
        ),
        (http.get(format!("{url}/nothing")), 404, "not_found"),
        (
            http.post(format!("{url}/files")).body("x"),
            415,
            "not_a_form",
        ),
        (
            form(&http, &url, "purpose", "batch", "surprise"),
            400,
            "unknown_field",
        ),
        (
            http.get(format!("{url}/files?limit=0")),
            400,
            "invalid_value",
        ),
    ] {
        let answer = request.send().await.expect("it answers");
        assert_eq!(answer.status(), status, "{code}");
        let body: Value = answer.json().await.expect("JSON");
        assert_eq!(body["error"]["code"], code, "{body}");
        assert_eq!(body["error"]["type"], "invalid_request_error");
    }
    let large = format!("{whole}{}\"}}", "x".repeat(3 << 20));
    let large = http.post(format!("{url}/batches")).body(large).send().await;
    // The refusal comes while the client still sends, and may be lost with the connection.
    if let Ok(answer) = large {
        assert_eq!(answer.status(), 413);
        let body: Value = answer.json().await.expect("JSON");
        assert_eq!(body["error"]["code"], "invalid_body", "{body}");
    }
}

/// A form with one field, and one that nobody knows.
fn form(
    http: &reqwest::Client,
    url: &str,
    name: &str,
    value: &str,
    unknown: &str,
) -> reqwest::RequestBuilder {
    let field = |name: &str| {
        format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let body = format!("{}{}--b--\r\n", field(name), field(unknown));
    let request = http.post(format!("{url}/files"));
    let kind = "multipart/form-data; boundary=b";
    request.header("content-type", kind).body(body)
}
