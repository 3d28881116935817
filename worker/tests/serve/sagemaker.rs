//! The worker as SageMaker's hosting and Batch Transform ask a container.

use serde_json::{Value, json};

use crate::tiny_model::{CLASSIFIER, TINY};
use crate::worker::{self, Worker, send};

/// A `POST` to `/invocations` with a body of some kind: status and text.
async fn invoke(worker: &Worker, kind: &str, body: impl Into<reqwest::Body>) -> (u16, String) {
    let request = reqwest::Client::new().post(format!("{}/invocations", worker.url));
    let answer = request.header("content-type", kind).body(body).send().await;
    let answer = answer.expect("the worker answers");
    (answer.status().as_u16(), answer.text().await.expect("text"))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[tokio::test]
async fn a_body_is_answered_as_by_the_route_that_its_keys_name() {
    let worker = worker::with_model(TINY).ready().await;
    assert_eq!(worker.get("/ping").await.status, 200);
    let limits = worker.get("/execution-parameters").await.body;
    assert_eq!(limits["BatchStrategy"], "MULTI_RECORD");
    let inputs = json!({"inputs": ["a cat", "the mat"]});
    let direct = worker.post_to("/", &inputs).await;
    let invoked = worker.post_to("/invocations", &inputs).await;
    assert_eq!((invoked.status, &invoked.body), (200, &direct.body));
    let theirs = json!({"input": "a cat", "model": "as-it-is-called-elsewhere"});
    let invoked = worker.post_to("/invocations", &theirs).await;
    assert_eq!(invoked.status, 200, "{}", invoked.body);
    assert_eq!(invoked.body["data"][0]["embedding"], direct.body[0]);
    let chat = json!({"messages": [{"role": "user", "content": "hi"}]});
    let refused = worker.post_to("/invocations", &chat).await;
    assert_eq!(refused.status, 400, "{}", refused.body);
}

#[tokio::test]
async fn of_many_records_each_is_a_line_in_their_order() {
    let worker = worker::with_model(TINY).ready().await;
    let texts: Vec<String> = (0..70)
        .map(|n| ["cat", "dog", "mat"][n % 3].to_owned())
        .collect();
    let direct = worker
        .post_to("/", &json!({"inputs": ["cat", "dog", "mat"]}))
        .await;
    let (status, csv) = invoke(&worker, "text/csv", texts.join("\n")).await;
    assert_eq!(status, 200, "{csv}");
    let csv = lines(&csv);
    assert_eq!(csv.len(), texts.len());
    let records: String = (texts.iter())
        .map(|text| format!("{}\n", json!({"inputs": text})))
        .collect();
    let (status, jsonl) = invoke(&worker, "application/jsonlines", records).await;
    assert_eq!(status, 200, "{jsonl}");
    for (n, (vector, list)) in csv.iter().zip(lines(&jsonl)).enumerate() {
        assert_eq!(*vector, direct.body[n % 3], "record {n}");
        assert_eq!(list[0], direct.body[n % 3], "record {n}");
    }
    let (status, said) = invoke(&worker, "text/csv", "cat\ndog,mat\n").await;
    assert!(
        status >= 400 && said.contains("Record 2"),
        "{status} {said}"
    );
    let (status, said) = invoke(
        &worker,
        "application/jsonlines",
        "{\"inputs\": \"cat\"}\n{}\n",
    )
    .await;
    assert!(
        status >= 400 && said.contains("Record 2"),
        "{status} {said}"
    );
    let (status, said) = invoke(&worker, "image/png", "").await;
    assert!(
        status >= 400 && said.contains("image/png"),
        "{status} {said}"
    );
}

#[tokio::test]
async fn a_classifier_takes_a_csv_of_texts_and_not_of_pairs() {
    let worker = worker::with_model(CLASSIFIER).ready().await;
    let direct = worker
        .post_to("/predict", &json!({"inputs": "a cat"}))
        .await;
    let (status, csv) = invoke(&worker, "text/csv", "a cat\nthe mat").await;
    assert_eq!(status, 200, "{csv}");
    let csv = lines(&csv);
    assert_eq!((csv.len(), &csv[0]), (2, &direct.body));
}

#[tokio::test]
async fn a_container_serves_what_its_environment_names() {
    let home = crate::tiny_model::directory(TINY);
    let model = home.path().to_owned();
    let plan = worker::without_model(home).listen("127.0.0.1:8080");
    let plan = plan
        .env("SM_MODEL_DIR", model)
        .env("SAGEMAKER_BIND_TO_PORT", "0");
    let worker = plan.ready().await;
    let answer = send(worker.request_to("/invocations", &json!({"inputs": "a cat"}))).await;
    assert_eq!(answer.expect("the worker answers").status, 200);
}
