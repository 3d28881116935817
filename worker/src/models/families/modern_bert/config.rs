//! What ModernBERT's config.json says beside that of other families, with the defaults of transformers'
//! `ModernBertConfig`.
//!
//! Before version 5 transformers wrote one interval of global layers and two bases of rotations; since
//! then it writes a type for each layer and the rotation of each type. Both are read.

use serde::Deserialize;
use serde_json::Value;
use tidegate_kernels::Pooling;

use crate::models::families::HeadActivation;

const GLOBAL: &str = "full_attention";
const LOCAL: &str = "sliding_attention";

/// The bases of rotations where nothing is said.
const GLOBAL_BASE: f32 = 160_000.0;
const LOCAL_BASE: f32 = 10_000.0;

/// config.json, as it is written.
#[derive(Debug, Deserialize)]
pub struct Written {
    #[serde(default = "gelu")]
    pub hidden_activation: String,
    #[serde(default = "norm_eps")]
    pub norm_eps: f32,
    #[serde(default)]
    norm_bias: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default)]
    classifier_bias: bool,
    #[serde(default)]
    classifier_pooling: Option<String>,
    #[serde(default = "gelu")]
    classifier_activation: String,
    #[serde(default)]
    layer_types: Option<Vec<String>>,
    #[serde(default = "every_third")]
    global_attn_every_n_layers: usize,
    #[serde(default = "local_attention")]
    local_attention: usize,
    #[serde(default)]
    rope_parameters: Option<RopeParameters>,
    #[serde(default)]
    rope_scaling: Option<Value>,
    #[serde(default)]
    global_rope_theta: Option<f32>,
    /// `null` is the global one.
    #[serde(default = "local_base")]
    local_rope_theta: Option<f32>,
}

/// By the type of a layer.
#[derive(Debug, Default, Deserialize)]
struct RopeParameters {
    #[serde(default)]
    full_attention: Option<RopeOf>,
    #[serde(default)]
    sliding_attention: Option<RopeOf>,
}

#[derive(Debug, Deserialize)]
struct RopeOf {
    #[serde(default)]
    rope_type: Option<String>,
    #[serde(default)]
    rope_theta: Option<f32>,
}

fn gelu() -> String {
    "gelu".to_owned()
}

fn norm_eps() -> f32 {
    1e-5
}

fn every_third() -> usize {
    3
}

fn local_attention() -> usize {
    128
}

fn local_base() -> Option<f32> {
    Some(LOCAL_BASE)
}

/// What a layer sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    Global,
    Local,
}

/// What each layer sees.
#[derive(Debug)]
pub enum Reaches {
    /// The first of so many layers is global.
    Every(usize),
    Each(Vec<Reach>),
}

impl Reaches {
    /// Of a layer that there is.
    pub fn of(&self, layer: usize) -> Reach {
        match self {
            Reaches::Every(every) if !layer.is_multiple_of(*every) => Reach::Local,
            Reaches::Every(_) => Reach::Global,
            Reaches::Each(reaches) => reaches[layer],
        }
    }
}

/// What was read.
#[derive(Debug)]
pub struct Settings {
    pub reaches: Reaches,
    /// How many places away a query of a local layer sees keys, on both sides.
    pub window: usize,
    /// The bases of the rotations of global and of local layers.
    pub global_base: f32,
    pub local_base: f32,
    pub norm_bias: bool,
    pub attention_bias: bool,
    pub mlp_bias: bool,
    pub head_bias: bool,
    pub head_pooling: Pooling,
    pub head_activation: HeadActivation,
}

impl Written {
    /// Refuses what cannot be computed.
    pub fn settings(self, layers: usize) -> Result<Settings, String> {
        let rope = self.rope_parameters.as_ref();
        let global = rope.and_then(|rope| rope.full_attention.as_ref());
        let local = rope.and_then(|rope| rope.sliding_attention.as_ref());
        let global_base = self.global_rope_theta.unwrap_or(GLOBAL_BASE);
        let local_base = self.local_rope_theta.unwrap_or(global_base);
        if let Some(scaling) = &self.rope_scaling {
            return Err(format!(
                "rope_scaling {scaling} is not supported; expected none"
            ));
        }
        Ok(Settings {
            reaches: self.reaches(layers)?,
            window: self.local_attention / 2,
            global_base: base(GLOBAL, global, global_base)?,
            local_base: base(LOCAL, local, local_base)?,
            norm_bias: self.norm_bias,
            attention_bias: self.attention_bias,
            mlp_bias: self.mlp_bias,
            head_bias: self.classifier_bias,
            head_pooling: match self.classifier_pooling.as_deref() {
                None | Some("cls") => Pooling::Cls,
                Some("mean") => Pooling::Mean,
                Some(other) => {
                    return Err(format!(
                        "classifier_pooling \"{other}\" is not supported; expected cls or mean"
                    ));
                }
            },
            head_activation: match self.classifier_activation.as_str() {
                "gelu" => HeadActivation::Gelu,
                "relu" => HeadActivation::Relu,
                "tanh" => HeadActivation::Tanh,
                other => {
                    return Err(format!(
                        "classifier_activation \"{other}\" is not supported; expected gelu, relu \
                         or tanh"
                    ));
                }
            },
        })
    }

    fn reaches(&self, layers: usize) -> Result<Reaches, String> {
        let Some(types) = &self.layer_types else {
            return match self.global_attn_every_n_layers {
                0 => Err("global_attn_every_n_layers is 0; expected at least 1".to_owned()),
                every => Ok(Reaches::Every(every)),
            };
        };
        if types.len() != layers {
            return Err(format!(
                "layer_types has {} entries; expected num_hidden_layers, {layers}",
                types.len()
            ));
        }
        let reach = |kind: &String| match kind.as_str() {
            GLOBAL => Ok(Reach::Global),
            LOCAL => Ok(Reach::Local),
            other => Err(format!(
                "layer_types has \"{other}\"; expected {GLOBAL} or {LOCAL}"
            )),
        };
        let reaches = types.iter().map(reach).collect::<Result<_, _>>()?;
        Ok(Reaches::Each(reaches))
    }
}

/// The base of a kind of layers.
fn base(kind: &str, rope: Option<&RopeOf>, older: f32) -> Result<f32, String> {
    let scaling = rope.and_then(|rope| rope.rope_type.as_deref());
    if let Some(scaling) = scaling.filter(|scaling| *scaling != "default") {
        return Err(format!(
            "rope_type \"{scaling}\" of {kind} is not supported; expected \"default\""
        ));
    }
    let base = rope.and_then(|rope| rope.rope_theta).unwrap_or(older);
    match base.is_finite() && base >= 1.0 {
        true => Ok(base),
        false => Err(format!(
            "rope_theta of {kind} is {base}; expected at least 1"
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(config: Value) -> Result<Settings, String> {
        let written: Written = serde_json::from_value(config).map_err(|error| error.to_string())?;
        written.settings(4)
    }

    fn reaches(settings: &Settings) -> Vec<Reach> {
        (0..4).map(|layer| settings.reaches.of(layer)).collect()
    }

    #[test]
    fn both_forms_of_the_config_say_the_same() {
        let older = read(json!({
            "global_attn_every_n_layers": 2, "local_attention": 64,
            "global_rope_theta": 80000.0, "local_rope_theta": 5000.0,
        }));
        let newer = read(json!({
            "layer_types": [GLOBAL, LOCAL, GLOBAL, LOCAL], "local_attention": 64,
            "rope_parameters": {
                GLOBAL: {"rope_type": "default", "rope_theta": 80000.0},
                LOCAL: {"rope_type": "default", "rope_theta": 5000.0},
            },
        }));
        let (older, newer) = (older.expect("it is read"), newer.expect("it is read"));
        for settings in [older, newer] {
            assert_eq!(
                reaches(&settings),
                [Reach::Global, Reach::Local, Reach::Global, Reach::Local]
            );
            assert_eq!(settings.window, 32);
            let bases = (settings.global_base, settings.local_base);
            assert_eq!(bases, (80_000.0, 5_000.0));
        }
    }

    #[test]
    fn what_is_not_said_is_as_transformers_takes_it() {
        let read = |config| read(config).expect("it is read");
        let nothing = read(json!({}));
        let expected = [Reach::Global, Reach::Local, Reach::Local, Reach::Global];
        assert_eq!(reaches(&nothing), expected);
        assert_eq!(nothing.window, 64);
        assert_eq!(
            (nothing.global_base, nothing.local_base),
            (160_000.0, 10_000.0)
        );
        let null = read(json!({ "global_rope_theta": 5.0, "local_rope_theta": null }));
        assert_eq!(null.local_base, 5.0);
    }

    #[test]
    fn what_cannot_be_computed_is_named() {
        for (config, named) in [
            (
                json!({ "global_attn_every_n_layers": 0 }),
                "every_n_layers is 0",
            ),
            (json!({ "layer_types": [GLOBAL] }), "has 1 entries"),
            (
                json!({ "layer_types": ["chunked", LOCAL, LOCAL, LOCAL] }),
                "\"chunked\"",
            ),
            (
                json!({ "rope_scaling": {"type": "linear"} }),
                "rope_scaling",
            ),
            (
                json!({ "rope_parameters": { LOCAL: {"rope_type": "yarn"} } }),
                "\"yarn\" of sliding_attention",
            ),
            (
                json!({ "global_rope_theta": -1.0 }),
                "rope_theta of full_attention",
            ),
            (json!({ "classifier_pooling": "last" }), "\"last\""),
            (json!({ "classifier_activation": "mish" }), "\"mish\""),
        ] {
            let problem = read(config).expect_err(named);
            assert!(problem.contains(named), "{problem}");
        }
    }
}
