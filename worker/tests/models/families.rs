//! Every family and head against what transformers computes, in f32 and in int8.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tidegate_kernels::{Isa, normalize};
use tidegate_worker::models::{self, Model, Overlong, Scaling, Sequence, Task, Text, Want};

use crate::support::{expected, fixture, quantized};

const EMBEDDING: [&str; 9] = [
    "bert",
    "bert-dense",
    "electra",
    "roberta",
    "xlm-roberta",
    "distilbert",
    "mpnet",
    "modernbert",
    "modernbert-biased",
];

/// Largest difference from transformers' numbers, relative to the largest of them. The encoder's
/// GELU alone is 1e-5 off.
const F32_CLOSE: f32 = 3e-4;

/// Least cosine of an int8 result to transformers' in these models of random weights.
const INT8_CLOSE: f64 = 0.995;

fn part<T: DeserializeOwned>(expected: &Value, key: &str) -> T {
    serde_json::from_value(expected[key].clone()).unwrap_or_else(|error| panic!("{key}: {error}"))
}

fn load(path: &Path) -> Model {
    models::load(path).unwrap_or_else(|error| panic!("{error}"))
}

/// What the model gives for texts or pairs, one by one and all at once; both have to agree.
fn results(model: &Model, sequences: &[Sequence], want: Want) -> Vec<Vec<f32>> {
    let all: Vec<&Sequence> = sequences.iter().collect();
    let mut workspaces = [model.network.workspace(), model.network.workspace()];
    let together = model.network.compute(&all, want, &mut workspaces).unwrap();
    for (one, together) in all.iter().zip(&together) {
        let alone = model
            .network
            .compute(&[one], want, &mut workspaces[..1])
            .unwrap();
        // The encoder's bits do not depend on the batch; a head's product may round differently.
        let off = alone[0].iter().zip(together).map(|(a, b)| (a - b).abs());
        assert!(
            off.fold(0.0, f32::max) < 1e-5,
            "alone {alone:?}, in a batch {together:?}"
        );
    }
    together
}

fn encode(model: &Model, text: Text<'_>) -> Sequence {
    model.tokenizer.encode(text, Overlong::Refuse).unwrap()
}

fn singles(model: &Model, texts: &[String]) -> Vec<Sequence> {
    texts
        .iter()
        .map(|text| encode(model, Text::One(text)))
        .collect()
}

fn ids(sequences: &[Sequence]) -> Vec<Vec<u32>> {
    sequences
        .iter()
        .map(|sequence| sequence.ids.clone())
        .collect()
}

fn assert_close(name: &str, found: &[Vec<f32>], expected: &[Vec<f32>]) {
    assert_eq!(found.len(), expected.len(), "{name}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.len(), expected.len(), "{name} {index}");
        let scale = expected.iter().fold(1e-3_f32, |most, x| most.max(x.abs()));
        let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
        let off = off.fold(0.0, f32::max) / scale;
        assert!(off < F32_CLOSE, "{name} {index}: {off}");
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| -> f64 {
        let pairs = a.iter().zip(b);
        pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    product(a, b) / (product(a, a) * product(b, b)).sqrt()
}

fn embeddings(model: &Model, sequences: &[Sequence]) -> Vec<Vec<f32>> {
    let mut vectors = results(model, sequences, Want::Result);
    let Task::Embedding { scaling, .. } = &model.card.task else {
        panic!("{:?} is no embedding model", model.card.task);
    };
    if *scaling == Scaling::Unit {
        vectors
            .iter_mut()
            .for_each(|vector| normalize(Isa::best(), vector));
    }
    vectors
}

#[test]
fn embeddings_equal_those_of_transformers() {
    for name in EMBEDDING {
        let expected = expected(name);
        let model = load(&fixture(name));
        let texts: Vec<String> = part(&expected, "texts");
        let sequences = singles(&model, &texts);
        let token_ids: Vec<Vec<u32>> = part(&expected, "token_ids");
        assert_eq!(ids(&sequences), token_ids, "{name}");
        let vectors: Vec<Vec<f32>> = part(&expected, "embeddings");
        assert_close(name, &embeddings(&model, &sequences), &vectors);
        let hidden: Vec<Vec<f32>> = part(&expected, "hidden");
        let found = results(&model, &sequences[..1], Want::Tokens);
        assert_close(name, &found, &[hidden.concat()]);
    }
}

#[test]
fn classifiers_and_rerankers_give_the_logits_of_transformers() {
    for (name, task) in [
        ("bert-cross-encoder", "reranker"),
        ("electra-cross-encoder", "reranker"),
        ("modernbert-cross-encoder", "reranker"),
        ("modernbert-classifier", "classifier"),
        ("bert-multi-label", "classifier"),
        ("roberta-classifier", "classifier"),
        ("distilbert-classifier", "classifier"),
    ] {
        let expected = expected(name);
        let model = load(&fixture(name));
        assert_eq!(model.card.task.name(), task, "{name}");
        let mut checked = 0;
        if expected.get("texts").is_some() {
            let texts: Vec<String> = part(&expected, "texts");
            let sequences = singles(&model, &texts);
            let token_ids: Vec<Vec<u32>> = part(&expected, "token_ids");
            assert_eq!(ids(&sequences), token_ids, "{name}");
            let logits: Vec<Vec<f32>> = part(&expected, "logits");
            assert_close(name, &results(&model, &sequences, Want::Result), &logits);
            checked += texts.len();
        }
        if expected.get("pairs").is_some() {
            let pairs: Vec<(String, String)> = part(&expected, "pairs");
            let both = expected.get("pair_logits").is_some();
            let key = |key: &str| {
                if both {
                    format!("pair_{key}")
                } else {
                    key.to_owned()
                }
            };
            let sequences: Vec<_> = pairs
                .iter()
                .map(|(a, b)| encode(&model, Text::Pair(a, b)))
                .collect();
            let token_ids: Vec<Vec<u32>> = part(&expected, &key("token_ids"));
            assert_eq!(ids(&sequences), token_ids, "{name}");
            let logits: Vec<Vec<f32>> = part(&expected, &key("logits"));
            assert_close(name, &results(&model, &sequences, Want::Result), &logits);
            checked += pairs.len();
        }
        assert!(checked >= 8, "{name}: {checked}");
    }
}

#[test]
fn a_quantized_model_stays_close_in_every_family() {
    for name in EMBEDDING {
        let expected = expected(name);
        let quantized = quantized(fixture(name));
        let model = load(&quantized.file);
        let texts: Vec<String> = part(&expected, "texts");
        let sequences = singles(&model, &texts);
        let token_ids: Vec<Vec<u32>> = part(&expected, "token_ids");
        assert_eq!(ids(&sequences), token_ids, "{name}");
        let vectors: Vec<Vec<f32>> = part(&expected, "embeddings");
        for (found, expected) in embeddings(&model, &sequences).iter().zip(&vectors) {
            let cosine = cosine(found, expected);
            assert!(cosine > INT8_CLOSE, "{name}: {cosine}");
        }
    }
}

#[test]
fn a_quantized_head_keeps_its_labels() {
    let expected = expected("roberta-classifier");
    let quantized = quantized(fixture("roberta-classifier"));
    let model = load(&quantized.file);
    let Task::Classification { labels, .. } = &model.card.task else {
        panic!("{:?}", model.card.task);
    };
    assert_eq!(labels, &["negative", "neutral", "positive"]);
    let texts: Vec<String> = part(&expected, "texts");
    let sequences = singles(&model, &texts);
    let logits: Vec<Vec<f32>> = part(&expected, "logits");
    for (found, expected) in results(&model, &sequences, Want::Result)
        .iter()
        .zip(&logits)
    {
        assert!(
            cosine(found, expected) > INT8_CLOSE,
            "{found:?} {expected:?}"
        );
    }
}

#[test]
fn a_pair_is_cut_at_its_longer_text_and_nothing_is_kept_of_the_rest() {
    let model = load(&fixture("bert-cross-encoder"));
    let limit = model.tokenizer.limit();
    let (short, long) = (
        "a sea",
        "the tide is high and the sea is calm ".repeat(20_000),
    );
    let alone = encode(&model, Text::One(short));
    for (pair, kept) in [
        (Text::Pair(short, &long), short),
        (Text::Pair(&long, short), short),
    ] {
        let cut = model.tokenizer.encode(pair, Overlong::CutEnd).unwrap();
        assert_eq!(cut.len(), limit);
        // The shorter text is whole, wherever it stands.
        let inner = &alone.ids[1..alone.len() - 1];
        assert!(
            cut.ids.windows(inner.len()).any(|ids| ids == inner),
            "{kept}"
        );
        let refused = model.tokenizer.encode(pair, Overlong::Refuse);
        assert!(refused.is_err());
    }
    let both = model
        .tokenizer
        .encode(Text::Pair(&long, &long), Overlong::CutEnd)
        .unwrap();
    let second = both.kinds.iter().filter(|kind| **kind == 1).count();
    // Three special tokens, one of them behind the second text.
    assert_eq!(both.len(), limit);
    assert_eq!(second, (limit - 3).div_ceil(2) + 1);
}
