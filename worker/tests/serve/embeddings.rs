//! The numbers: equal to the original's, whatever else is in the batch and however they are sent.

use std::path::Path;

use base64::Engine as _;
use serde::Deserialize;
use serde_json::json;

use crate::tiny_model::{self, FRAME_TOKENS, TINY};
use crate::worker;

#[derive(Deserialize)]
struct Expected {
    tokens: Vec<u64>,
    vectors: Vec<Vec<f32>>,
}

fn fixture<T: for<'de> Deserialize<'de>>(name: &str) -> T {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures/embeddings")
        .join(name);
    let text = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum::<f64>()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[tokio::test]
async fn vectors_equal_those_of_sentence_transformers() {
    let worker = worker::with_default_model().ready().await;
    let inputs: Vec<String> = fixture("inputs.json");
    let expected: Expected = fixture("expected.json");

    let (together, tokens) = worker.embed(json!(inputs)).await;
    assert_eq!(together.len(), inputs.len());
    assert_eq!(tokens, expected.tokens.iter().sum::<u64>());
    for (index, input) in inputs.iter().enumerate() {
        let (alone, tokens) = worker.embed(json!(input)).await;
        assert_eq!(tokens, expected.tokens[index], "{input:?}");
        for vector in [&alone[0], &together[index]] {
            let cosine = cosine(vector, &expected.vectors[index]);
            assert!(cosine >= 0.9999, "{input:?}: cosine {cosine}");
        }
        let norm = alone[0].iter().map(|value| value * value).sum::<f32>();
        assert!((norm - 1.0).abs() < 1e-4, "{input:?}: not of length 1");
    }
}

#[tokio::test]
async fn base64_holds_the_same_numbers_as_a_list_of_floats() {
    let worker = worker::with_model(TINY).ready().await;
    let (numbers, _) = worker.embed(json!("the cat sits")).await;
    let answer = worker
        .post(&json!({ "input": "the cat sits", "encoding_format": "base64" }))
        .await;
    let text = answer.body["data"][0]["embedding"]
        .as_str()
        .expect("a string");
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text)
        .expect("base64");
    let decoded: Vec<f32> = bytes
        .as_chunks()
        .0
        .iter()
        .copied()
        .map(f32::from_le_bytes)
        .collect();
    assert_eq!(decoded, numbers[0]);
    assert_eq!(decoded.len(), TINY.hidden);
}

#[tokio::test]
async fn a_text_has_the_same_vector_alone_and_among_others_of_any_length() {
    let worker = worker::with_model(TINY).ready().await;
    let texts: Vec<String> = [1, 40, 3, 62, 7, 7, 20].map(tiny_model::words).into();
    let (together, tokens) = worker.embed(json!(texts)).await;
    assert_eq!(tokens as usize, 140 + texts.len() * FRAME_TOKENS);
    for (text, vector) in texts.iter().zip(&together) {
        let (alone, _) = worker.embed(json!(text)).await;
        assert!(cosine(&alone[0], vector) > 0.999_999, "{text}");
    }
}

#[tokio::test]
async fn a_long_request_is_computed_in_several_batches_and_answered_in_order() {
    let worker = worker::with_model(TINY)
        .config("[batch]\nmax_tokens = 10")
        .ready()
        .await;
    let texts: Vec<String> = (1..=30).map(tiny_model::words).collect();
    let (vectors, _) = worker.embed(json!(texts)).await;
    assert!(worker.metric("tidegate_worker_batch_texts_count").await >= 28.0);
    for index in [0, 13, 29] {
        let (alone, _) = worker.embed(json!(texts[index])).await;
        assert!(
            cosine(&alone[0], &vectors[index]) > 0.999_999,
            "text {index}"
        );
    }
}

#[tokio::test]
async fn a_truncated_text_is_its_beginning() {
    let worker = worker::with_model(TINY).ready().await;
    let longest = TINY.positions - FRAME_TOKENS;
    let (cut, tokens) = worker.embed(json!(tiny_model::words(longest + 50))).await;
    let (beginning, _) = worker.embed(json!(tiny_model::words(longest))).await;
    assert_eq!(tokens as usize, TINY.positions);
    assert_eq!(cut, beginning);
}
