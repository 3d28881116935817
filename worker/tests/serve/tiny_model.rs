//! Small models with random weights, written for one test: a whole directory as a hub has it.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Words that are one token each; others are unknown.
pub const WORDS: [&str; 8] = ["cat", "dog", "sits", "on", "the", "mat", "a", "runs"];
const SPECIAL: [&str; 4] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"];

/// Special tokens around every text.
pub const FRAME_TOKENS: usize = 2;

#[derive(Clone, Copy)]
pub struct Shape {
    pub hidden: usize,
    pub layers: usize,
    /// The longest text in tokens.
    pub positions: usize,
    /// Of a classification head; without any it is an embedding model.
    pub labels: &'static [&'static str],
}

/// Answers at once.
pub const TINY: Shape = Shape {
    hidden: 32,
    layers: 2,
    positions: 64,
    labels: &[],
};

/// Answers at once, with a score for each of three labels.
pub const CLASSIFIER: Shape = Shape {
    labels: &["bad", "fair", "good"],
    ..TINY
};

/// Answers at once, with one score.
pub const RERANKER: Shape = Shape {
    labels: &["relevant"],
    ..TINY
};

/// Takes about a second for twenty of [`long_text`]: long enough to look at it meanwhile.
pub const SLOW: Shape = Shape {
    hidden: 256,
    layers: 6,
    positions: 512,
    labels: &[],
};

/// A text of nearly as many tokens as [`SLOW`] reads.
pub fn long_text() -> String {
    words(500)
}

/// A text of `count` tokens, the special ones not counted.
pub fn words(count: usize) -> String {
    let words: Vec<&str> = WORDS.iter().copied().cycle().take(count).collect();
    words.join(" ")
}

/// A fresh directory with a model of this shape: mean pooling and normalised, or with a head.
pub fn directory(shape: Shape) -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    write(directory.path(), shape);
    directory
}

pub fn write(directory: &Path, shape: Shape) {
    let put = |name: &str, value: Value| {
        let file = directory.join(name);
        std::fs::create_dir_all(file.parent().expect("a file is in a directory"))
            .expect("it is made");
        std::fs::write(file, value.to_string()).expect("the file is written");
    };
    put("config.json", config(shape));
    put("tokenizer.json", tokenizer());
    if shape.labels.is_empty() {
        put(
            "1_Pooling/config.json",
            json!({ "pooling_mode_mean_tokens": true }),
        );
        put(
            "modules.json",
            json!([
                { "path": "", "type": "sentence_transformers.models.Transformer" },
                { "path": "1_Pooling", "type": "sentence_transformers.models.Pooling" },
                { "path": "2_Normalize", "type": "sentence_transformers.models.Normalize" },
            ]),
        );
    }
    std::fs::write(directory.join("model.safetensors"), weights(shape))
        .expect("the weights are written");
}

fn vocabulary() -> Vec<&'static str> {
    SPECIAL.into_iter().chain(WORDS).collect()
}

fn config(shape: Shape) -> Value {
    let labels: serde_json::Map<String, Value> = (shape.labels.iter().enumerate())
        .map(|(index, label)| (index.to_string(), json!(label)))
        .collect();
    let head = match shape.labels {
        [] => "BertModel",
        _ => "BertForSequenceClassification",
    };
    json!({
        "architectures": [head],
        "id2label": labels,
        "model_type": "bert",
        "vocab_size": vocabulary().len(),
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": 4,
        "intermediate_size": shape.hidden * 4,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "max_position_embeddings": shape.positions,
        "type_vocab_size": 2,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    })
}

fn tokenizer() -> Value {
    let vocabulary: HashMap<&str, usize> = vocabulary().into_iter().zip(0..).collect();
    let special = |id: usize| {
        json!({
            "id": id, "content": SPECIAL[id], "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true,
        })
    };
    let frame = |id: usize| json!({ "id": SPECIAL[id], "ids": [id], "tokens": [SPECIAL[id]] });
    json!({
        "version": "1.0",
        // As trained, and to be ignored when served.
        "truncation": { "max_length": 8, "strategy": "LongestFirst", "stride": 0, "direction": "Right" },
        "padding": null,
        "added_tokens": (0..SPECIAL.len()).map(special).collect::<Vec<_>>(),
        "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                { "SpecialToken": { "id": "[CLS]", "type_id": 0 } },
                { "Sequence": { "id": "A", "type_id": 0 } },
                { "SpecialToken": { "id": "[SEP]", "type_id": 0 } },
            ],
            "pair": [
                { "SpecialToken": { "id": "[CLS]", "type_id": 0 } },
                { "Sequence": { "id": "A", "type_id": 0 } },
                { "SpecialToken": { "id": "[SEP]", "type_id": 0 } },
                { "Sequence": { "id": "B", "type_id": 1 } },
                { "SpecialToken": { "id": "[SEP]", "type_id": 1 } },
            ],
            "special_tokens": { "[CLS]": frame(2), "[SEP]": frame(3) },
        },
        "decoder": null,
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary },
    })
}

/// Names and dimensions of all tensors.
fn tensors(shape: Shape) -> Vec<(String, Vec<usize>)> {
    let (hidden, inner) = (shape.hidden, shape.hidden * 4);
    let mut tensors: Vec<(String, Vec<usize>)> = vec![
        (
            "embeddings.word_embeddings.weight".into(),
            vec![vocabulary().len(), hidden],
        ),
        (
            "embeddings.position_embeddings.weight".into(),
            vec![shape.positions, hidden],
        ),
        (
            "embeddings.token_type_embeddings.weight".into(),
            vec![2, hidden],
        ),
        ("embeddings.LayerNorm.weight".into(), vec![hidden]),
        ("embeddings.LayerNorm.bias".into(), vec![hidden]),
    ];
    for layer in 0..shape.layers {
        for (name, rows, columns) in [
            ("attention.self.query", hidden, hidden),
            ("attention.self.key", hidden, hidden),
            ("attention.self.value", hidden, hidden),
            ("attention.output.dense", hidden, hidden),
            ("intermediate.dense", inner, hidden),
            ("output.dense", hidden, inner),
        ] {
            tensors.push((
                format!("encoder.layer.{layer}.{name}.weight"),
                vec![rows, columns],
            ));
            tensors.push((format!("encoder.layer.{layer}.{name}.bias"), vec![rows]));
        }
        for name in ["attention.output.LayerNorm", "output.LayerNorm"] {
            tensors.push((format!("encoder.layer.{layer}.{name}.weight"), vec![hidden]));
            tensors.push((format!("encoder.layer.{layer}.{name}.bias"), vec![hidden]));
        }
    }
    let labels = shape.labels.len();
    if labels > 0 {
        for (name, _) in &mut tensors {
            name.insert_str(0, "bert.");
        }
        for (name, rows) in [("bert.pooler.dense", hidden), ("classifier", labels)] {
            tensors.push((format!("{name}.weight"), vec![rows, hidden]));
            tensors.push((format!("{name}.bias"), vec![rows]));
        }
    }
    tensors
}

/// Weights drawn by a fixed rule, so that a model is the same each time.
fn weights(shape: Shape) -> Vec<u8> {
    let tensors = tensors(shape);
    let mut state = 1_u32;
    let mut draw = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * 0.2).to_le_bytes()
    };
    let values: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, dims)| (0..dims.iter().product()).flat_map(&mut draw).collect())
        .collect();
    let views = tensors.iter().zip(&values).map(|((name, dims), bytes)| {
        let view = TensorView::new(Dtype::F32, dims.clone(), bytes).expect("shape and bytes agree");
        (name.clone(), view)
    });
    safetensors::serialize(views, None).expect("the tensors serialize")
}
