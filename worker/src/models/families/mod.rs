//! Encoder families: what config.json says of a model, and what each family calls its tensors.
//!
//! BERT, ELECTRA, RoBERTa (with XLM-R and CamemBERT), DistilBERT and MPNet are one structure under
//! different names; what differs is said here, and the encoder is built once for all of them.
//! ModernBERT is another structure, with settings of its own.

mod build;
mod config;
mod family;
mod modern_bert;

use std::collections::BTreeMap;

use serde::Deserialize;
use tidegate_kernels::{Activation, Pooling};

use self::config::Config;
pub use self::config::or_default;
use self::family::{FAMILIES, Family, LayerNames, Layers};
pub use self::family::{HeadActivation, Kinds};
use super::files::Files;
use super::{ModelError, Scoring};

/// The file that says what a model is.
pub const CONFIG_FILE: &str = "config.json";

/// No model of these families has more; what claims to is refused before memory is taken for it.
const MOST_POSITIONS: usize = 1 << 20;

/// As [`MOST_POSITIONS`], where no table of positions has to be as long.
const MOST_ROTATED: usize = 1 << 16;

/// As [`MOST_POSITIONS`], of the labels of a classifier.
const MOST_LABELS: usize = 1 << 16;

/// A model's config and its family.
#[derive(Debug)]
pub struct Architecture {
    pub config: Config,
    pub family: &'static Family,
    activation: Activation,
    structure: Structure,
}

/// How the layers are built, with what the config says of that.
#[derive(Debug)]
enum Structure {
    Bert(&'static LayerNames),
    ModernBert(modern_bert::Settings),
}

/// The one part of every config.json that says how to read the rest.
#[derive(Deserialize)]
struct Kind {
    model_type: String,
}

/// Reads config.json and refuses what cannot be computed.
pub fn read(files: &Files) -> Result<Architecture, ModelError> {
    let invalid = |problem: String| files.invalid(CONFIG_FILE, problem);
    let Kind { model_type } = files.need_json(CONFIG_FILE)?;
    let family = (FAMILIES.iter()).find(|family| family.types.contains(&model_type.as_str()));
    let Some(family) = family else {
        let known: Vec<&str> = FAMILIES
            .iter()
            .flat_map(|family| family.types)
            .copied()
            .collect();
        return Err(invalid(format!(
            "model_type \"{model_type}\" is not supported; expected one of {}",
            known.join(", ")
        )));
    };
    let mut config: Config = files.need_json(CONFIG_FILE)?;
    let (structure, activation) = match &family.layers {
        Layers::Bert(names) => {
            let activation = named_activation("hidden_act", &config.hidden_act);
            (Structure::Bert(names), activation)
        }
        Layers::ModernBert => {
            let written: modern_bert::Written = files.need_json(CONFIG_FILE)?;
            config.layer_norm_eps = written.norm_eps;
            let activation = named_activation("hidden_activation", &written.hidden_activation);
            let settings = written.settings(config.num_hidden_layers);
            (
                Structure::ModernBert(settings.map_err(invalid)?),
                activation,
            )
        }
    };
    let activation = activation.map_err(invalid)?;
    let positions = config.position_embedding_type.as_deref();
    if positions.is_some_and(|kind| kind != "absolute") {
        let found = positions.unwrap_or_default();
        return Err(invalid(format!(
            "position_embedding_type \"{found}\" is not supported; expected \"absolute\""
        )));
    }
    let architecture = Architecture {
        config,
        family,
        activation,
        structure,
    };
    architecture.check_sizes().map_err(invalid)?;
    Ok(architecture)
}

/// The activation that stands under `key`.
fn named_activation(key: &str, name: &str) -> Result<Activation, String> {
    match name {
        "gelu" | "gelu_python" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
        "relu" => Ok(Activation::Relu),
        "silu" | "swish" => Ok(Activation::Silu),
        other => Err(format!(
            "{key} \"{other}\" is not supported; expected gelu, gelu_new, relu or silu"
        )),
    }
}

impl Architecture {
    fn check_sizes(&self) -> Result<(), String> {
        let config = &self.config;
        for (key, value) in [
            ("hidden_size", config.hidden_size),
            ("num_hidden_layers", config.num_hidden_layers),
            ("num_attention_heads", config.num_attention_heads),
            ("intermediate_size", config.intermediate_size),
            ("vocab_size", config.vocab_size),
        ] {
            if value == 0 {
                return Err(format!("{key} is 0; expected at least 1"));
            }
        }
        if !config
            .hidden_size
            .is_multiple_of(config.num_attention_heads)
        {
            return Err(format!(
                "hidden_size {} is not a multiple of num_attention_heads {}",
                config.hidden_size, config.num_attention_heads
            ));
        }
        const PROBLEMS: [&str; 3] = [
            "single_label_classification",
            "multi_label_classification",
            "regression",
        ];
        let problem = config.problem_type.as_deref();
        if let Some(problem) = problem.filter(|problem| !PROBLEMS.contains(problem)) {
            return Err(format!(
                "problem_type \"{problem}\" is not supported; expected one of {}",
                PROBLEMS.join(", ")
            ));
        }
        if !(config.layer_norm_eps > 0.0 && config.layer_norm_eps < 1.0) {
            let key = match &self.structure {
                Structure::Bert(_) => "layer_norm_eps",
                Structure::ModernBert(_) => "norm_eps",
            };
            return Err(format!(
                "{key} is {}; expected more than 0 and less than 1",
                config.layer_norm_eps
            ));
        }
        let embedded = config.embedding_size.unwrap_or(config.hidden_size);
        if self.family.types.contains(&"electra") && embedded != config.hidden_size {
            return Err(format!(
                "embedding_size {embedded} is not supported; expected hidden_size, {}",
                config.hidden_size
            ));
        }
        let labels = self.label_count();
        if labels.is_some_and(|count| !(1..=MOST_LABELS).contains(&count)) {
            return Err(format!(
                "num_labels is {}; expected 1 to {MOST_LABELS}",
                labels.unwrap_or(0)
            ));
        }
        self.check_positions()
    }

    fn check_positions(&self) -> Result<(), String> {
        let (least, found) = (
            self.first_position() + 1,
            self.config.max_position_embeddings,
        );
        let most = match &self.structure {
            Structure::Bert(_) => MOST_POSITIONS,
            Structure::ModernBert(_) => MOST_ROTATED,
        };
        if !(least..=most).contains(&found) {
            return Err(format!(
                "max_position_embeddings is {found}; expected {least} to {most}"
            ));
        }
        if self.modern().is_some() && !self.head_dim().is_multiple_of(2) {
            return Err(format!(
                "hidden_size / num_attention_heads is {}; expected an even number",
                self.head_dim()
            ));
        }
        Ok(())
    }

    /// Numbers of a head.
    pub fn head_dim(&self) -> usize {
        self.config.hidden_size / self.config.num_attention_heads
    }

    /// Memory that the tables of rotations will hold, for texts of up to `longest` tokens.
    pub fn ropes_bytes(&self, longest: usize) -> usize {
        match &self.structure {
            Structure::Bert(_) => 0,
            Structure::ModernBert(_) => modern_bert::ropes_bytes(self.head_dim(), longest),
        }
    }

    fn modern(&self) -> Option<&modern_bert::Settings> {
        match &self.structure {
            Structure::Bert(_) => None,
            Structure::ModernBert(settings) => Some(settings),
        }
    }

    /// Whether norms have a bias, in a head too.
    pub fn norms_have_bias(&self) -> bool {
        self.modern().is_none_or(|settings| settings.norm_bias)
    }

    /// Whether the first layer of a classification head has a bias.
    pub fn head_has_bias(&self) -> bool {
        self.modern().is_none_or(|settings| settings.head_bias)
    }

    /// What follows the first layer of a classification head.
    pub fn head_activation(&self) -> HeadActivation {
        let usual = self.family.head.activation;
        self.modern()
            .map_or(usual, |settings| settings.head_activation)
    }

    /// The row of the position table that a text's first token has.
    fn first_position(&self) -> usize {
        match self.family.offset_positions {
            true => self.config.pad_token_id.unwrap_or(1).saturating_add(1),
            false => 0,
        }
    }

    /// The longest text that the positions allow, in tokens.
    pub fn longest(&self) -> usize {
        self.config.max_position_embeddings - self.first_position()
    }

    /// The labels of a classification head, by index; none for a model without such a head.
    pub fn labels(&self) -> Option<Vec<String>> {
        let named = self.config.id2label.as_ref();
        let label = |index: usize| {
            let named = named.and_then(|named| named.get(&index.to_string()));
            named.map_or_else(|| format!("LABEL_{index}"), String::clone)
        };
        let count = self.label_count()?;
        Some((0..count).map(label).collect())
    }

    fn label_count(&self) -> Option<usize> {
        let suffix = "ForSequenceClassification";
        let config = &self.config;
        let mut names = config.architectures.iter();
        let named = config.id2label.as_ref().map_or(0, BTreeMap::len);
        names
            .any(|name| name.ends_with(suffix))
            .then_some(match named {
                // What transformers assumes where nothing is said.
                0 => config.num_labels.unwrap_or(2),
                named => named,
            })
    }

    /// What the classification head reads of a text.
    pub fn head_pooling(&self) -> Pooling {
        self.modern()
            .map_or(Pooling::Cls, |settings| settings.head_pooling)
    }

    /// How the labels go together, as transformers takes it.
    pub fn scoring(&self) -> Scoring {
        match self.config.problem_type.as_deref() {
            Some("multi_label_classification") => Scoring::Each,
            Some("regression") => Scoring::Number,
            _ => Scoring::OneOf,
        }
    }

    /// Kinds that a token may have.
    pub fn kinds(&self) -> usize {
        match self.family.kinds {
            Kinds::OfPairs => self.config.type_vocab_size,
            Kinds::AllZero | Kinds::None => usize::MAX,
        }
    }
}
