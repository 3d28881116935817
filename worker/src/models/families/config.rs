//! config.json.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// config.json, as far as it matters here.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    #[serde(default, deserialize_with = "or_default")]
    pub architectures: Vec<String>,
    pub vocab_size: usize,
    #[serde(alias = "dim")]
    pub hidden_size: usize,
    /// ELECTRA's: numbers in a token's embedding.
    #[serde(default)]
    pub embedding_size: Option<usize>,
    #[serde(alias = "n_layers")]
    pub num_hidden_layers: usize,
    #[serde(alias = "n_heads")]
    pub num_attention_heads: usize,
    #[serde(alias = "hidden_dim")]
    pub intermediate_size: usize,
    #[serde(alias = "activation", default = "gelu")]
    pub hidden_act: String,
    pub max_position_embeddings: usize,
    #[serde(default = "kinds_of_pairs")]
    pub type_vocab_size: usize,
    #[serde(default = "bert_eps")]
    pub layer_norm_eps: f32,
    #[serde(default)]
    pub pad_token_id: Option<usize>,
    #[serde(default)]
    pub position_embedding_type: Option<String>,
    #[serde(default)]
    pub relative_attention_num_buckets: Option<usize>,
    #[serde(default, deserialize_with = "labels")]
    pub id2label: Option<BTreeMap<String, String>>,
    /// How the labels of a classifier go together.
    #[serde(default)]
    pub problem_type: Option<String>,
    #[serde(default)]
    pub num_labels: Option<usize>,
}

fn gelu() -> String {
    "gelu".to_owned()
}

fn kinds_of_pairs() -> usize {
    2
}

fn bert_eps() -> f32 {
    1e-12
}

/// What is there, or the default where `null` stands.
pub fn or_default<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Labels, of which some models write numbers: their text is the label.
fn labels<'de, D>(from: D) -> Result<Option<BTreeMap<String, String>>, D::Error>
where
    D: Deserializer<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a label, as a text or a number")]
    enum Label {
        Text(String),
        Number(serde_json::Number),
    }
    let labels: Option<BTreeMap<String, Label>> = Option::deserialize(from)?;
    let text = |label| match label {
        Label::Text(text) => text,
        Label::Number(number) => number.to_string(),
    };
    let named = |labels: BTreeMap<String, Label>| {
        let texts = labels.into_iter().map(|(id, label)| (id, text(label)));
        texts.collect()
    };
    Ok(labels.map(named))
}
