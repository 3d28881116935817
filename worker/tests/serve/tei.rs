//! The routes of text-embeddings-inference: shapes, refusals, headers.

use std::path::Path;

use serde_json::{Value, json};

use crate::tiny_model::{self, CLASSIFIER, RERANKER, SLOW, TINY};
use crate::worker::{self, send};

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[tokio::test]
async fn embed_gives_the_vectors_of_v1_as_plain_lists() {
    let worker = worker::with_model(TINY).ready().await;
    let (expected, _) = worker.embed(json!(["a cat", "the dog"])).await;
    let body = json!({ "inputs": ["a cat", "the dog"] });
    let vectors: Vec<Vec<f32>> = worker.ask("/embed", &body).await;
    assert_eq!(vectors, expected);
    let one: Vec<Vec<f32>> = worker.ask("/", &json!({ "inputs": "a cat" })).await;
    assert_eq!(one, expected[..1], "a single text gives a list of one");
    let ids: Vec<Vec<f32>> = worker
        .ask("/embed", &json!({ "inputs": [[2, 10, 4, 3], "the dog"] }))
        .await;
    assert_eq!(ids, expected);

    let raw: Vec<Vec<f32>> = worker
        .ask(
            "/embed",
            &json!({ "inputs": "a cat", "normalize": false, "prompt_name": null }),
        )
        .await;
    let length = dot(&raw[0], &raw[0]).sqrt();
    assert!((length - 1.0).abs() > 1e-3, "it is left as it is: {length}");
    for (raw, unit) in raw[0].iter().zip(&expected[0]) {
        assert!((raw / length - unit).abs() < 1e-5);
    }
    let short: Vec<Vec<f32>> = worker
        .ask("/embed", &json!({ "inputs": "a cat", "dimensions": 4 }))
        .await;
    assert!((dot(&short[0], &short[0]) - 1.0).abs() < 1e-4 && short[0].len() == 4);
}

#[tokio::test]
async fn long_texts_are_cut_on_the_side_that_is_asked_for() {
    let worker = worker::with_model(TINY).ready().await;
    let inner = TINY.positions - tiny_model::FRAME_TOKENS;
    let whole = format!("{} mat", tiny_model::words(inner));
    let (start, end) = (tiny_model::words(inner), {
        let words: Vec<&str> = whole.split(' ').skip(1).collect();
        words.join(" ")
    });
    let embed = async |text: &str, direction: Value| -> Vec<Vec<f32>> {
        let body = json!({ "inputs": text, "truncation_direction": direction });
        worker.ask("/embed", &body).await
    };
    let (start, end) = (
        embed(&start, Value::Null).await,
        embed(&end, Value::Null).await,
    );
    assert_ne!(start, end);
    for right in [Value::Null, json!("right"), json!("Right")] {
        assert_eq!(embed(&whole, right).await, start);
    }
    for left in ["left", "Left"] {
        assert_eq!(embed(&whole, json!(left)).await, end);
    }
    let refused = json!({ "inputs": whole, "truncate": false });
    let refused = worker.post_to("/embed", &refused).await;
    let message = refused.tei_refusal(413, "Validation");
    assert!(message.contains("inputs[0]: the text has 65"), "{message}");
}

#[tokio::test]
async fn embed_all_gives_a_vector_for_each_token() {
    let worker = worker::with_model(TINY)
        .config("[limits]\nmax_rows = 20")
        .ready()
        .await;
    let body = json!({ "inputs": ["a cat", "the dog runs"] });
    let all: Vec<Vec<Vec<f32>>> = worker.ask("/embed_all", &body).await;
    assert_eq!([all[0].len(), all[1].len()], [4, 5]);
    assert!(all.iter().flatten().all(|row| row.len() == TINY.hidden));
    // The model's pooling is their mean.
    let body = json!({ "inputs": "a cat", "normalize": false });
    let pooled: Vec<Vec<f32>> = worker.ask("/embed", &body).await;
    for (column, pooled) in pooled[0].iter().enumerate() {
        let mean = all[0].iter().map(|row| row[column]).sum::<f32>() / 4.0;
        assert!((mean - pooled).abs() < 1e-4);
    }
    let many = json!({ "inputs": ["a a a a a a a a a", "a a a a a a a a a"] });
    for path in ["/embed_all", "/tokenize"] {
        let refused = worker.post_to(path, &many).await;
        assert!(refused.tei_refusal(413, "Validation").contains("20"));
    }
}

#[tokio::test]
async fn similarity_is_the_cosine_to_each_sentence() {
    let worker = worker::with_model(TINY).ready().await;
    let sentences = ["the dog runs", "a cat"];
    let (vectors, _) = worker
        .embed(json!(["a cat", sentences[0], sentences[1]]))
        .await;
    let inputs = json!({ "source_sentence": "a cat", "sentences": sentences });
    let body = json!({ "inputs": inputs, "parameters": { "truncation_direction": "Left" } });
    let cosines: Vec<f32> = worker.ask("/similarity", &body).await;
    assert_eq!(cosines.len(), 2);
    assert!((cosines[0] - dot(&vectors[0], &vectors[1])).abs() < 1e-5);
    assert!((cosines[1] - 1.0).abs() < 1e-5);
    let inputs = json!({ "source_sentence": "a", "sentences": [] });
    let empty = worker
        .post_to("/similarity", &json!({ "inputs": inputs }))
        .await;
    empty.tei_refusal(400, "Empty");
}

#[tokio::test]
async fn predict_gives_every_label_its_probability_the_likeliest_first() {
    let worker = worker::with_model(CLASSIFIER).ready().await;
    type Predictions = Vec<(String, f64)>;
    let scores = |prediction: &Value| -> Predictions {
        let entries = prediction.as_array().expect("a list").iter();
        let score = |entry: &Value| {
            let label = entry["label"].as_str().expect("a label").to_owned();
            (label, entry["score"].as_f64().expect("a score"))
        };
        entries.map(score).collect()
    };
    let one: Value = worker.ask("/predict", &json!({ "inputs": "a cat" })).await;
    let one = scores(&one);
    assert!(one.is_sorted_by(|(_, a), (_, b)| a >= b));
    assert!((one.iter().map(|(_, score)| score).sum::<f64>() - 1.0).abs() < 1e-6);
    let mut labels: Vec<&str> = one.iter().map(|(label, _)| label.as_str()).collect();
    labels.sort_unstable();
    assert_eq!(labels, CLASSIFIER.labels);

    let raw = json!({ "inputs": ["a cat"], "raw_scores": true });
    let raw: Value = worker.ask("/", &raw).await;
    let raw = scores(&raw);
    let sum: f64 = raw.iter().map(|(_, score)| score.exp()).sum();
    for ((label, score), (raw_label, raw)) in one.iter().zip(&raw) {
        assert_eq!(label, raw_label);
        assert!((score - raw.exp() / sum).abs() < 1e-6);
    }
    let batch = json!({ "inputs": [["a cat"], ["the dog", "runs"]] });
    let batch: Vec<Value> = worker.ask("/predict", &batch).await;
    let pair: Value = worker
        .ask("/predict", &json!({ "inputs": ["the dog", "runs"] }))
        .await;
    assert_eq!([scores(&batch[0]), scores(&batch[1])], [one, scores(&pair)]);
    for (inputs, status, kind) in [
        (json!(["a", "b", "c"]), 422, "Validation"),
        (json!([["a"], []]), 422, "Validation"),
        (json!([]), 400, "Empty"),
        (json!({}), 422, "Validation"),
    ] {
        let refused = worker
            .post_to("/predict", &json!({ "inputs": inputs }))
            .await;
        refused.tei_refusal(status, kind);
    }
}

#[tokio::test]
async fn tokenize_says_every_token_and_where_it_stands() {
    let worker = worker::with_model(TINY).ready().await;
    let token = |id: u32, text: &str, place: Option<(usize, usize)>| {
        json!({
            "id": id, "text": text, "special": place.is_none(),
            "start": place.map(|(start, _)| start), "stop": place.map(|(_, stop)| stop),
        })
    };
    let bare = [token(10, "a", Some((0, 1))), token(4, "cat", Some((2, 5)))];
    let framed = [
        vec![token(2, "[CLS]", None)],
        bare.to_vec(),
        vec![token(3, "[SEP]", None)],
    ]
    .concat();
    let read: Value = worker.ask("/tokenize", &json!({ "inputs": "a cat" })).await;
    assert_eq!(read, json!([framed]));
    let body = json!({ "inputs": ["a cat", ""], "add_special_tokens": false });
    let read: Value = worker.ask("/tokenize", &body).await;
    assert_eq!(read, json!([bare, []]));
    assert_eq!(worker.metric("tidegate_slots_busy").await, 0.0);
}

#[tokio::test]
async fn info_says_what_is_served_and_within_which_limits() {
    let labels = json!({
        "id2label": { "0": "bad", "1": "fair", "2": "good" },
        "label2id": { "bad": 0, "fair": 1, "good": 2 },
    });
    let label = json!({ "id2label": { "0": "relevant" }, "label2id": { "relevant": 0 } });
    for (shape, model_type) in [
        (TINY, json!({ "embedding": { "pooling": "mean" } })),
        (CLASSIFIER, json!({ "classifier": labels })),
        (RERANKER, json!({ "reranker": label })),
    ] {
        let worker = worker::with_model(shape).ready().await;
        let mut info = worker.get("/info").await.body;
        assert!(info["tokenization_workers"].take().as_u64() >= Some(1));
        let expected = json!({
            "model_id": "tiny", "model_sha": null, "model_dtype": "float32",
            "model_type": model_type, "max_concurrent_requests": 32,
            "max_input_length": 64, "max_batch_tokens": 1024, "max_batch_requests": null,
            "max_client_batch_size": 2048, "auto_truncate": true,
            "tokenization_workers": null, "version": env!("CARGO_PKG_VERSION"),
            "sha": null, "docker_label": null,
        });
        assert_eq!(info, expected);
    }
}

#[tokio::test]
async fn headers_and_metrics_say_what_a_request_took() {
    let worker = worker::with_model(TINY)
        .config("[metrics]\naliases = ['text-embeddings-inference']")
        .ready()
        .await;
    let answer = worker
        .post_to("/embed", &json!({ "inputs": ["a cat", "the dog"] }))
        .await;
    assert_eq!(answer.header("x-compute-type"), Some("cpu"));
    assert_eq!(answer.header("x-compute-characters"), Some("12"));
    assert_eq!(answer.header("x-compute-tokens"), Some("8"));
    for name in [
        "x-compute-time",
        "x-total-time",
        "x-tokenization-time",
        "x-queue-time",
        "x-inference-time",
    ] {
        let value = answer.header(name).expect(name);
        assert!(value.parse::<u64>().is_ok(), "{name}: {value}");
    }
    worker.post_to("/embed", &json!({ "inputs": [] })).await;
    for (name, value) in [
        ("te_request_count{method=\"embed\"}", 2.0),
        ("te_request_success{method=\"embed\"}", 1.0),
        ("te_request_failure{err=\"empty\"}", 1.0),
    ] {
        assert_eq!(worker.metric(name).await, value, "{name}");
    }
}

#[tokio::test]
async fn refusals_have_its_shape_and_statuses() {
    let worker = worker::with_model(TINY)
        .config("[limits]\nmax_texts = 2\nmax_body_bytes = 1000")
        .ready()
        .await;
    let inputs = |inputs: Value| json!({ "inputs": inputs });
    for (path, body, status, kind) in [
        ("/embed", inputs(json!(["a", "a", "a"])), 413, "Validation"),
        ("/embed", inputs(json!("a ".repeat(600))), 413, "Validation"),
        (
            "/embed",
            json!({ "inputs": "a", "dimensions": 99 }),
            413,
            "Validation",
        ),
        ("/embed", inputs(json!("")), 400, "Empty"),
        ("/embed", inputs(json!([77])), 422, "Tokenizer"),
        ("/embed", inputs(json!(7)), 422, "Validation"),
        ("/", json!({}), 422, "Validation"),
        ("/predict", inputs(json!("a")), 424, "Backend"),
        (
            "/rerank",
            json!({ "query": "a", "texts": ["a"] }),
            424,
            "Backend",
        ),
        ("/nothing", json!({}), 404, "Validation"),
    ] {
        let answer = worker.post_to(path, &body).await;
        answer.tei_refusal(status, kind);
    }
    let url = format!("{}/embed", worker.url);
    let broken = reqwest::Client::new().post(url).body("{\"inputs\":");
    let broken = send(broken).await.expect("an answer");
    broken.tei_refusal(422, "Validation");
    let wrong_method = worker.get("/embed").await;
    wrong_method.tei_refusal(405, "Validation");
}

#[tokio::test]
async fn a_full_worker_says_so_to_clients_and_proxies() {
    let worker = worker::with_model(SLOW).config("slots = 1").ready().await;
    let running = worker.keep_busy(20);
    worker.until_metric("tidegate_slots_busy", 1.0).await;
    let full = worker.post_to("/embed", &json!({ "inputs": "a" })).await;
    full.tei_refusal(429, "Overloaded");
    assert_eq!(full.header("x-tidegate-refused"), Some("full"));
    let late = worker.request_to("/embed", &json!({ "inputs": "a" }));
    let late = late.header("x-request-timeout-ms", "x");
    let late = send(late).await.expect("an answer");
    late.tei_refusal(413, "Validation");
    assert!(running.await.expect("it was not cut").is_ok());
}

#[tokio::test]
async fn before_the_model_is_loaded_it_is_unhealthy_and_proxies_are_told() {
    // Takes connections and never answers.
    let hub = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", hub.local_addr().expect("it is bound"));
    let home = tempfile::tempdir().expect("a temporary directory");
    let cache = home.path().join("cache");
    let worker = worker::plan(home, "hf://org/tiny")
        .env("HF_ENDPOINT", url)
        .env("HF_HOME", cache)
        .listening()
        .await;
    let early = worker.post_to("/", &json!({ "inputs": "a" })).await;
    early.tei_refusal(503, "Unhealthy");
    assert_eq!(early.header("x-tidegate-refused"), Some("not-ready"));
    worker.get("/info").await.tei_refusal(503, "Unhealthy");
}

#[tokio::test]
async fn labels_that_may_hold_together_are_scored_one_by_one() {
    let families = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/families");
    let model = families.join("bert-multi-label");
    let expected = std::fs::read(model.join("expected.json")).expect("the fixture is there");
    let expected: Value = serde_json::from_slice(&expected).expect("it is JSON");
    let home = tempfile::tempdir().expect("a temporary directory");
    let worker = worker::plan(home, &model).ready().await;
    let text = &expected["texts"][1];
    let body = json!({ "inputs": text });
    let found = worker.post_to("/predict", &body).await.body;
    for (label, logit) in ["calm", "loud", "late"].iter().zip(0..) {
        let logit = expected["logits"][1][logit].as_f64().expect("a number");
        let found = found.as_array().expect("a list").iter();
        let mut found = found.filter(|prediction| prediction["label"] == **label);
        let score = found
            .next()
            .and_then(|prediction| prediction["score"].as_f64());
        let score = score.expect("each label has a score");
        let sigmoid = 1.0 / (1.0 + (-logit).exp());
        assert!(
            (score - sigmoid).abs() < 1e-3,
            "{label}: {score}, not {sigmoid}"
        );
    }
}
