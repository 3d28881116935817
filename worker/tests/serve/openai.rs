//! What clients see besides the numbers: shapes, refusals, health.

use serde_json::{Value, json};

use crate::tiny_model::{self, CLASSIFIER, RERANKER, TINY};
use crate::worker::{self, send};

#[tokio::test]
async fn the_answer_has_the_shape_that_clients_read() {
    let worker = worker::with_model(TINY)
        .args(["--name", "org/tiny"])
        .ready()
        .await;
    let answer = worker
        .post(&json!({ "input": ["a cat", "a dog"], "model": "org/tiny", "user": "u" }))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let mut body = answer.body;
    let embeddings: Vec<Value> = (0..2)
        .map(|index| body["data"][index]["embedding"].take())
        .collect();
    assert!(
        embeddings
            .iter()
            .all(|embedding| embedding.as_array().is_some_and(|e| e.len() == TINY.hidden))
    );
    let item = |index: usize| json!({ "object": "embedding", "index": index, "embedding": null });
    let expected = json!({
        "object": "list",
        "data": [item(0), item(1)],
        "model": "org/tiny",
        "usage": { "prompt_tokens": 8, "total_tokens": 8 },
    });
    assert_eq!(body, expected);

    let models = worker.get("/v1/models").await.body;
    assert_eq!(models["data"][0]["id"], "org/tiny");
    assert_eq!(
        worker.get("/v1/models/org/tiny").await.body,
        models["data"][0]
    );
    worker
        .get("/v1/models/other")
        .await
        .refusal(404, json!("model_not_found"));
}

#[tokio::test]
async fn refusals_say_what_is_wrong_in_openais_shape() {
    let worker = worker::with_model(TINY)
        .config("[limits]\nmax_texts = 4")
        .ready()
        .await;
    let too_long = tiny_model::words(TINY.positions);
    for (body, status, code, says) in [
        (
            json!({ "input": "a", "model": "other" }),
            404,
            json!("model_not_found"),
            "'tiny'",
        ),
        (json!({ "input": "" }), 400, Value::Null, "empty"),
        (json!({ "input": [] }), 400, Value::Null, "empty"),
        (json!({ "input": ["a", ""] }), 400, Value::Null, "input[1]"),
        (
            json!({ "input": [1, 2, 12] }),
            400,
            Value::Null,
            "input[0]: token id 12 does not exist, the model has 12",
        ),
        (
            json!({ "input": [vec![1; 65]] }),
            400,
            json!("context_length_exceeded"),
            "send fewer ids",
        ),
        (
            json!({ "input": [1, "a"] }),
            400,
            Value::Null,
            "mixed with texts",
        ),
        (
            json!({ "input": [3], "prompt_name": "query" }),
            400,
            Value::Null,
            "no prompt \"query\"",
        ),
        (json!({ "input": 3 }), 400, Value::Null, "string"),
        (
            json!({ "input": vec!["a"; 5] }),
            400,
            Value::Null,
            "at most 4",
        ),
        (
            json!({ "input": "a", "dimensions": 33 }),
            400,
            Value::Null,
            "expected 1 to 32",
        ),
        (
            json!({ "input": "a", "dimensions": 0 }),
            400,
            Value::Null,
            "expected 1 to 32",
        ),
        (
            json!({ "input": "a", "encoding_format": "hex" }),
            400,
            Value::Null,
            "hex",
        ),
        (
            json!({ "input": ["a", too_long] }),
            400,
            json!("context_length_exceeded"),
            "input[1]: the text has 66 tokens, the model reads at most 64",
        ),
        (json!({ "model": "tiny" }), 400, Value::Null, "input"),
    ] {
        let answer = worker.post(&body).await;
        let message = answer.refusal(status, code);
        assert!(message.contains(says), "{body}: {message}");
    }
    assert_eq!(
        worker.metric("tidegate_slots_busy").await,
        0.0,
        "refusals keep no slot"
    );
}

#[tokio::test]
async fn what_is_no_request_at_all_is_refused_in_the_same_shape() {
    let worker = worker::with_model(TINY)
        .config("[limits]\nmax_body_bytes = 1000")
        .ready()
        .await;
    let raw = |body: Vec<u8>| {
        send(
            reqwest::Client::new()
                .post(format!("{}/v1/embeddings", worker.url))
                .body(body),
        )
    };
    let answer = raw(b"{\"input\":".to_vec()).await.expect("an answer");
    assert!(answer.refusal(400, Value::Null).contains("line 1 column 9"));
    raw(vec![b' '; 2000])
        .await
        .expect("an answer")
        .refusal(413, json!("body_too_large"));
    worker
        .get("/v1/embeddings")
        .await
        .refusal(405, json!("method_not_supported"));
    worker
        .get("/v1/nothing")
        .await
        .refusal(404, json!("unknown_url"));
    let timeout = worker
        .request(&json!({ "input": "a" }))
        .header("x-request-timeout-ms", "soon");
    send(timeout)
        .await
        .expect("an answer")
        .refusal(400, Value::Null);
}

#[tokio::test]
async fn with_a_token_file_only_the_token_opens_the_door() {
    const TOKEN: &str = "worker-token-0123456789";
    let home = tempfile::tempdir().expect("a temporary directory");
    let file = private_file(home.path(), TOKEN);
    let worker = worker::with_model(TINY)
        .args(["--token-file", &file])
        .ready()
        .await;
    let body = json!({ "input": "a cat" });
    worker
        .post(&body)
        .await
        .refusal(401, json!("invalid_api_key"));
    let wrong = worker.request(&body).bearer_auth("worker-token-0123456780");
    send(wrong)
        .await
        .expect("an answer")
        .refusal(401, json!("invalid_api_key"));
    let right = send(worker.request(&body).bearer_auth(TOKEN))
        .await
        .expect("an answer");
    assert_eq!(right.status, 200);
    let models = format!("{}/v1/models", worker.url);
    for path in ["/v1/models", "/v1/models/tiny"] {
        worker
            .get(path)
            .await
            .refusal(401, json!("invalid_api_key"));
    }
    let listed = send(reqwest::Client::new().get(models).bearer_auth(TOKEN));
    assert_eq!(listed.await.expect("an answer").status, 200);
    for open in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(worker.get(open).await.status, 200, "{open}");
    }
}

#[tokio::test]
async fn health_and_metrics_are_told() {
    let worker = worker::with_model(TINY).ready().await;
    worker.embed(json!(["a cat", "the dog runs"])).await;
    for path in ["/livez", "/healthz", "/readyz", "/health"] {
        assert_eq!(
            worker.get(path).await.body,
            json!({ "status": "ok" }),
            "{path}"
        );
    }
    for (name, value) in [
        ("tidegate_worker_requests_total{method=\"embeddings\"}", 1.0),
        ("tidegate_worker_answered_total{method=\"embeddings\"}", 1.0),
        ("tidegate_worker_input_tokens_sum", 9.0),
        ("tidegate_worker_batch_tokens_sum", 9.0),
        ("tidegate_slots", 32.0),
        ("tidegate_ready", 1.0),
    ] {
        assert_eq!(worker.metric(name).await, value, "{name}");
    }
    // Names of other servers are added only where the config asks for them.
    assert_eq!(worker.metric("te_batch_next_tokens_sum").await, 0.0);
}

#[tokio::test]
async fn a_text_that_has_no_tokens_is_refused_and_the_worker_serves_on() {
    let model = tiny_model::directory(TINY);
    let file = model.path().join("tokenizer.json");
    let text = std::fs::read(&file).expect("it is there");
    let mut tokenizer: Value = serde_json::from_slice(&text).expect("it is JSON");
    // Without it nothing is put around a text.
    tokenizer["post_processor"] = Value::Null;
    std::fs::write(&file, tokenizer.to_string()).expect("it is written");
    let home = tempfile::tempdir().expect("a temporary directory");
    let worker = worker::plan(home, model.path()).ready().await;
    let refused = worker.post(&json!({ "input": ["a cat", "  "] })).await;
    assert!(refused.refusal(400, Value::Null).contains("input[1]"));
    assert_eq!(worker.post(&json!({ "input": "a cat" })).await.status, 200);
}

/// A file that nobody else can read.
pub fn private_file(home: &std::path::Path, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let file = home.join("worker.token");
    std::fs::write(&file, text).expect("the file is written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))
        .expect("the mode is set");
    file.to_str().expect("a plain path").to_owned()
}

#[tokio::test]
async fn token_ids_are_taken_for_the_text_that_they_come_from() {
    let worker = worker::with_model(TINY).ready().await;
    let texts = ["the cat sits", "a dog"];
    let read: Vec<Vec<Value>> = worker.ask("/tokenize", &json!({ "inputs": texts })).await;
    let ids = |tokens: &Vec<Value>| tokens.iter().map(|token| token["id"].clone()).collect();
    let ids: Vec<Vec<Value>> = read.iter().map(ids).collect();
    let (expected, tokens) = worker.embed(json!(texts)).await;
    assert_eq!(worker.embed(json!(ids)).await, (expected.clone(), tokens));
    let (one, _) = worker.embed(json!(ids[0])).await;
    assert_eq!(one, expected[..1], "a list of ids is one input");
    let (mixed, _) = worker.embed(json!([texts[0], ids[1]])).await;
    assert_eq!(mixed, expected);
}

#[tokio::test]
async fn dimensions_cut_a_vector_and_bring_it_to_length_1_again() {
    let worker = worker::with_model(TINY).ready().await;
    let embed = async |dimensions: usize| -> Vec<f32> {
        let body = json!({ "input": "the cat sits", "dimensions": dimensions });
        let answer = worker.post(&body).await;
        serde_json::from_value(answer.body["data"][0]["embedding"].clone()).expect("numbers")
    };
    let (whole, _) = worker.embed(json!("the cat sits")).await;
    assert_eq!(embed(TINY.hidden).await, whole[0]);
    let cut = embed(5).await;
    let length = whole[0][..5].iter().map(|n| n * n).sum::<f32>().sqrt();
    assert_eq!(cut.len(), 5);
    for (cut, whole) in cut.iter().zip(&whole[0]) {
        assert!((cut - whole / length).abs() < 1e-5, "{cut} of {whole}");
    }
}

#[tokio::test]
async fn prompts_are_put_before_texts_and_not_before_token_ids() {
    let model = tiny_model::directory(TINY);
    let prompts = json!({
        "prompts": { "query": "the dog ", "document": "a mat " },
        "default_prompt_name": "document",
    });
    let file = model.path().join("config_sentence_transformers.json");
    std::fs::write(file, prompts.to_string()).expect("it is written");
    let home = tempfile::tempdir().expect("a temporary directory");
    let worker = worker::plan(home, model.path()).ready().await;
    let plain = worker::with_model(TINY).ready().await;
    let (default, tokens) = worker.embed(json!("runs")).await;
    assert_eq!(plain.embed(json!("a mat runs")).await, (default, tokens));

    let named = worker
        .post(&json!({ "input": "runs", "prompt_name": "query" }))
        .await;
    let expected = plain.post(&json!({ "input": "the dog runs" })).await;
    assert_eq!(named.body["data"], expected.body["data"]);
    let named: Value = worker
        .ask(
            "/embed",
            &json!({ "inputs": "runs", "prompt_name": "query" }),
        )
        .await;
    assert_eq!(named[0], expected.body["data"][0]["embedding"]);

    let unknown = json!({ "input": "runs", "prompt_name": "other" });
    let unknown = worker.post(&unknown).await;
    assert!(unknown.refusal(400, Value::Null).contains("document"));
    let ids = json!([2, 8, 3]);
    assert_eq!(worker.embed(ids.clone()).await, plain.embed(ids).await);
    let ids = json!({ "input": [2, 8, 3], "prompt_name": "query" });
    let ids = worker.post(&ids).await;
    assert!(ids.refusal(400, Value::Null).contains("token ids"));
}

#[tokio::test]
async fn a_model_for_something_else_says_what_it_is_and_where_to_ask() {
    for (shape, path, body, says) in [
        (
            CLASSIFIER,
            "/v1/embeddings",
            json!({ "input": "a" }),
            "a classifier: use /predict",
        ),
        (
            RERANKER,
            "/v1/embeddings",
            json!({ "input": "a" }),
            "a reranker: use /v1/rerank",
        ),
        (
            TINY,
            "/v1/rerank",
            json!({ "query": "a", "documents": ["a"] }),
            "an embedding model: use /v1/embeddings",
        ),
    ] {
        let worker = worker::with_model(shape).ready().await;
        let refused = worker.post_to(path, &body).await;
        let message = refused.refusal(400, json!("wrong_model_type"));
        assert!(message.contains(says), "{message}");
    }
}

#[tokio::test]
async fn a_body_is_read_as_it_comes_and_not_decoded() {
    let worker = worker::with_model(TINY).ready().await;
    for (path, body) in [
        ("/v1/embeddings", json!({ "input": "a" })),
        ("/embed", json!({ "inputs": "a" })),
    ] {
        for (coding, status) in [
            ("gzip", 415),
            ("identity, br", 415),
            ("zzz", 415),
            ("Identity", 200),
        ] {
            let request = worker.request_to(path, &body);
            let answer = request.header("content-encoding", coding).send().await;
            let answer = answer.expect("an answer");
            assert_eq!(answer.status(), status, "{coding} to {path}");
            let takes = answer.headers().get("accept-encoding");
            assert_eq!(takes.is_some(), status == 415, "{coding} to {path}");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_by_its_length_is_not_waited_for() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let worker = worker::with_model(TINY).ready().await;
    let address = worker.url.trim_start_matches("http://");
    let stream = tokio::net::TcpStream::connect(address).await;
    let mut stream = stream.expect("it connects");
    let head = "POST /v1/embeddings HTTP/1.1\r\nhost: w\r\ncontent-length: 99999999999\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("it is sent");
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 413");
}
