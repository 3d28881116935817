//! A batch through the stack's one published port.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_tests::within;

use crate::stack::{Stack, docker};

const LINES: usize = 300;
const PATIENCE: Duration = Duration::from_secs(120);

pub async fn one_is_answered_though_the_service_is_killed(stack: &Stack) {
    let file = upload(stack).await;
    let asked = json!({
        "input_file_id": file["id"],
        "endpoint": "/v1/embeddings",
        "completion_window": "24h",
    });
    let url = format!("{}/v1/batches", stack.url());
    let begun = reqwest::Client::new().post(&url).json(&asked).send().await;
    let begun: Value = begun.expect("it answers").json().await.expect("JSON");
    let id = begun["id"].as_str().unwrap_or_else(|| panic!("{begun}"));
    // The engine starts it again, as the compose file says.
    let service = stack.container("batch");
    docker(&["exec", &service, "/usr/bin/tidegate-batch", "probe"]);
    docker(&["restart", "--time", "0", &service]);
    let ended = within(PATIENCE, "the batch ends", async || {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let batch = reqwest::get(format!("{url}/{id}")).await.ok()?;
        let batch: Value = batch.json().await.ok()?;
        (batch["status"] == "completed").then_some(batch)
    });
    let ended = ended.await;
    assert_eq!(ended["request_counts"]["completed"], LINES, "{ended}");
}

async fn upload(stack: &Stack) -> Value {
    let line = |n: usize| {
        let body = json!({"input": format!("the tide is {n}")});
        let line = json!({"custom_id": n.to_string(), "method": "POST", "url": "/v1/embeddings", "body": body});
        format!("{line}\n")
    };
    let lines: String = (0..LINES).map(line).collect();
    let form = format!(
        "--b\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n\
         --b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n{lines}\r\n--b--\r\n"
    );
    let request = reqwest::Client::new().post(format!("{}/v1/files", stack.url()));
    let kind = "multipart/form-data; boundary=b";
    let answer = request.header("content-type", kind).body(form).send().await;
    let answer = answer.expect("it answers");
    assert_eq!(answer.status(), 200);
    answer.json().await.expect("JSON")
}
