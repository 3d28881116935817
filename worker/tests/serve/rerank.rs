//! Reranking, as Cohere's and Jina's clients ask for it and as those of text-embeddings-inference.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::tiny_model::{self, RERANKER};
use crate::worker;

const DOCUMENTS: [&str; 4] = ["the cat sits", "a dog runs", "the mat", "the cat sits"];

#[derive(Deserialize)]
struct Rank {
    index: usize,
    score: f32,
    text: Option<String>,
}

#[derive(Deserialize)]
struct Prediction {
    label: String,
    score: f32,
}

#[tokio::test]
async fn documents_come_back_by_score_and_equal_ones_by_index() {
    let worker = worker::with_model(RERANKER).ready().await;
    let body = json!({ "model": "tiny", "query": "a cat", "documents": DOCUMENTS });
    let answer = worker.post_to("/v1/rerank", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body["model"], "tiny");
    let tokens = (5 + 3) + (5 + 3) + (5 + 2) + (5 + 3);
    let usage = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
    assert_eq!(answer.body["usage"], usage);

    let results = answer.body["results"].as_array().expect("a list").clone();
    assert_eq!(results.len(), DOCUMENTS.len());
    let score = |result: &Value| result["relevance_score"].as_f64().expect("a score");
    assert!(results.is_sorted_by(|a, b| score(a) >= score(b)));
    assert!(results.iter().all(|r| (0.0..=1.0).contains(&score(r))));
    assert!(results.iter().all(|r| r.get("document").is_none()));
    let place = |index: usize| results.iter().position(|r| r["index"] == index);
    assert_eq!(place(0).map(|at| at + 1), place(3), "equal texts, in order");

    let body = json!({
        "query": "a cat", "top_n": 2, "return_documents": true,
        "documents": DOCUMENTS.map(|text| json!({ "text": text })),
    });
    let top = worker.post_to("/v1/rerank", &body).await.body;
    let top = top["results"].as_array().expect("a list");
    assert_eq!(top.len(), 2);
    for (short, long) in top.iter().zip(&results) {
        assert_eq!(short["index"], long["index"]);
        let index = short["index"].as_u64().expect("an index") as usize;
        assert_eq!(short["document"], json!({ "text": DOCUMENTS[index] }));
    }
}

#[tokio::test]
async fn both_routes_give_the_same_scores_and_raw_ones_before_the_sigmoid() {
    let worker = worker::with_model(RERANKER).ready().await;
    let ours = json!({ "query": "a cat", "documents": DOCUMENTS });
    let ours = worker.post_to("/v1/rerank", &ours).await.body;
    let body = json!({ "query": "a cat", "texts": DOCUMENTS, "return_text": true });
    let ranks: Vec<Rank> = worker.ask("/rerank", &body).await;
    let raw = json!({ "query": "a cat", "texts": DOCUMENTS, "raw_scores": true });
    let raw: Vec<Rank> = worker.ask("/", &raw).await;
    for (at, (rank, raw)) in ranks.iter().zip(&raw).enumerate() {
        let result = &ours["results"][at];
        assert_eq!(result["index"], json!(rank.index));
        let score = result["relevance_score"].as_f64().expect("a score");
        assert!((score - f64::from(rank.score)).abs() < 1e-6);
        assert_eq!(rank.text.as_deref(), Some(DOCUMENTS[rank.index]));
        assert_eq!(raw.text, None);
        let expected = 1.0 / (1.0 + (-raw.score).exp());
        assert!((rank.score - expected).abs() < 1e-6);
    }
    let pair = json!({ "inputs": ["a cat", DOCUMENTS[2]] });
    let predicted: Vec<Prediction> = worker.ask("/predict", &pair).await;
    let rank = ranks.iter().find(|rank| rank.index == 2);
    assert_eq!((predicted.len(), &*predicted[0].label), (1, "relevant"));
    let difference = predicted[0].score - rank.expect("all are ranked").score;
    assert!(difference.abs() < 1e-6);
}

#[tokio::test]
async fn what_cannot_be_ranked_is_refused() {
    let worker = worker::with_model(RERANKER)
        .config("[limits]\nmax_texts = 2")
        .ready()
        .await;
    for (body, code, says) in [
        (json!({ "query": "a", "documents": [] }), None, "empty list"),
        (json!({ "query": "", "documents": ["a"] }), None, "`query`"),
        (
            json!({ "query": "a", "documents": ["a", "a", "a"] }),
            None,
            "3 texts",
        ),
        (
            json!({ "query": "a", "documents": [1] }),
            None,
            "as strings or",
        ),
        (
            json!({ "query": "a", "documents": ["a"], "top_n": 0 }),
            None,
            "top_n",
        ),
        (
            json!({ "query": "a", "documents": ["a"], "model": "x" }),
            Some((404, "model_not_found")),
            "'tiny'",
        ),
        (
            json!({ "query": "a", "documents": [tiny_model::words(80)], "truncate": false }),
            Some((400, "context_length_exceeded")),
            "documents[0]",
        ),
    ] {
        let answer = worker.post_to("/v1/rerank", &body).await;
        let (status, code) = match code {
            Some((status, code)) => (status, json!(code)),
            None => (400, Value::Null),
        };
        let message = answer.refusal(status, code);
        assert!(message.contains(says), "{body}: {message}");
    }
    let long = json!({ "query": "a", "documents": [tiny_model::words(80)] });
    let cut = worker.post_to("/v1/rerank", &long).await;
    assert_eq!(cut.body["usage"]["total_tokens"], RERANKER.positions);
    let many = json!({ "query": "a", "texts": ["a", "a", "a"] });
    let many = worker.post_to("/rerank", &many).await;
    many.tei_refusal(413, "Validation");
}

#[tokio::test]
async fn every_route_answers_its_own_clients() {
    let worker = worker::with_model(RERANKER).ready().await;
    let body = json!({
        "model": "tiny", "query": "a cat", "documents": DOCUMENTS, "top_n": 3,
        "max_chunks_per_doc": 1, "max_tokens_per_doc": 4096, "rank_fields": ["text"],
        "truncate_prompt_tokens": -1,
    });
    let first = worker.post_to("/v1/rerank", &body).await.body;
    // Cohere's clients look for an id and what was billed.
    assert!(first["id"].as_str().is_some_and(|id| !id.is_empty()));
    assert_eq!(first["meta"]["api_version"]["version"], "1");
    assert!(first["meta"]["billed_units"]["search_units"].is_number());
    for path in ["/v2/rerank", "/rerank", "/v1/rerank/", "/rerank/"] {
        let answer = worker.post_to(path, &body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert_eq!(answer.body["results"], first["results"], "{path}");
        assert_ne!(answer.body["id"], first["id"]);
    }
    let texts = json!({ "query": "a cat", "texts": DOCUMENTS });
    let ranks: Vec<Rank> = worker.ask("/rerank", &texts).await;
    assert_eq!(json!(ranks[0].index), first["results"][0]["index"]);
}

#[tokio::test]
async fn what_would_change_a_ranking_and_is_not_served_is_refused() {
    let worker = worker::with_model(RERANKER).ready().await;
    for (field, value) in [
        ("rank_fields", json!(["title", "text"])),
        ("max_chunks_per_doc", json!(10)),
        ("max_tokens_per_doc", json!(16)),
        ("truncate_prompt_tokens", json!(16)),
    ] {
        let mut body = json!({ "query": "a", "documents": ["a"] });
        body[field] = value;
        let refused = worker.post_to("/v2/rerank", &body).await;
        let message = refused.refusal(400, Value::Null);
        assert!(message.contains(field), "{message}");
        assert_eq!(refused.body["error"]["param"], field);
    }
}
