//! text-generation-inference's parameters, as far as decoders have them; the others are refused by
//! name where they would change the text.

use serde::Deserialize;
use serde_json::Value;
use tidegate_generation::{Form, Schema};

use crate::api::error::{ApiError, Fault};
use crate::api::openai::generation::{self, Options, Stop, any_seed, shown};

/// The most alternatives to a token.
const MOST_TOP: u32 = 20;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Parameters {
    pub details: Option<bool>,
    pub decoder_input_details: Option<bool>,
    pub return_full_text: Option<bool>,
    pub truncate: Option<usize>,
    pub top_n_tokens: Option<u32>,
    do_sample: Option<bool>,
    temperature: Option<f64>,
    top_k: Option<i64>,
    top_p: Option<f64>,
    min_p: Option<f64>,
    typical_p: Option<f64>,
    repetition_penalty: Option<f64>,
    frequency_penalty: Option<f64>,
    presence_penalty: Option<f64>,
    seed: Option<u64>,
    #[serde(alias = "stop_sequences")]
    stop: Option<Stop>,
    #[serde(alias = "max_tokens")]
    max_new_tokens: Option<i64>,
    #[serde(alias = "min_tokens")]
    min_new_tokens: Option<i64>,
    ignore_eos: Option<bool>,
    grammar: Option<Grammar>,
    best_of: Option<u32>,
    watermark: Option<bool>,
    adapter_id: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Grammar {
    #[serde(rename = "type")]
    kind: String,
    value: Value,
}

impl Parameters {
    /// Refuses what is not supported.
    pub fn check(&self) -> Result<(), ApiError> {
        let refused = [
            ("best_of", self.best_of.is_some_and(|best| best != 1)),
            ("typical_p", self.typical_p.is_some_and(|p| p != 1.0)),
            ("watermark", self.watermark == Some(true)),
            ("adapter_id", self.adapter_id.is_some()),
        ];
        if let Some((name, _)) = refused.iter().find(|(_, stated)| *stated) {
            return Err(invalid(name, "is not supported: leave it out"));
        }
        match self {
            Parameters {
                truncate: Some(0), ..
            } => Err(invalid("truncate", "is 0; expected 1 or more")),
            Parameters {
                top_n_tokens: Some(top),
                ..
            } if *top > MOST_TOP => Err(invalid(
                "top_n_tokens",
                &format!("is {top}; expected 0 to {MOST_TOP}"),
            )),
            Parameters {
                temperature: Some(temperature),
                ..
            } if *temperature < 0.0 => Err(invalid(
                "temperature",
                &format!("is {temperature}; expected 0 or more"),
            )),
            Parameters {
                max_new_tokens: Some(tokens @ ..=0),
                ..
            } => Err(invalid(
                "max_new_tokens",
                &format!("is {tokens}; expected 1 or more"),
            )),
            _ => Ok(()),
        }
    }

    /// Whether anything is drawn: if that is said, or by a number that only drawing has.
    fn draws(&self) -> bool {
        let stated = self.top_k.is_some() || self.top_p.is_some() || self.min_p.is_some();
        match self.temperature {
            Some(temperature) => temperature > 0.0,
            None => self.do_sample == Some(true) || stated,
        }
    }

    /// What it is drawn with; none where the likeliest token is always taken.
    pub fn seed(&self) -> Option<u64> {
        self.draws().then(|| self.seed.unwrap_or_else(any_seed))
    }

    /// The same as OpenAI's clients ask for it.
    pub fn options(&self, seed: Option<u64>) -> Options {
        Options {
            max_tokens: self.max_new_tokens,
            min_tokens: self.min_new_tokens,
            ignore_eos: self.ignore_eos,
            temperature: match seed {
                Some(_) => self.temperature,
                None => Some(0.0),
            },
            top_p: self.top_p,
            top_k: self.top_k,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            seed: seed.map(|seed| seed as i64),
            stop: self.stop.clone(),
            ..Options::default()
        }
    }

    /// The form that the text must have.
    pub fn form(&self) -> Result<Option<generation::Form>, ApiError> {
        const FIELD: &str = "grammar";
        let Some(Grammar { kind, value }) = &self.grammar else {
            return Ok(None);
        };
        let json = |schema: &Value| {
            Form::Json(Schema {
                schema: schema.clone(),
                strict: true,
            })
        };
        let form = match (&kind[..], value) {
            ("json", Value::Object(_)) => json(value),
            ("json_schema", Value::Object(named)) if named.contains_key("schema") => {
                json(&named["schema"])
            }
            ("regex", Value::String(pattern)) => Form::Pattern(pattern.clone()),
            ("json" | "json_schema" | "regex", other) => {
                return Err(invalid(FIELD, &format!("has a value of {}", shown(other))));
            }
            (other, _) => {
                let problem = format!("is of type {other:?}; expected json, json_schema or regex");
                return Err(invalid(FIELD, &problem));
            }
        };
        Ok(Some(generation::Form {
            form,
            field: FIELD,
            enforced: true,
        }))
    }
}

fn invalid(name: &'static str, problem: &str) -> ApiError {
    ApiError::param(Fault::Invalid, name, format!("{name} {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(json: &str) -> Parameters {
        serde_json::from_str(json).expect(json)
    }

    #[test]
    fn the_likeliest_is_taken_unless_drawing_is_asked_for() {
        for greedy in [
            "{}",
            r#"{"do_sample": false}"#,
            r#"{"do_sample": true, "temperature": 0}"#,
            r#"{"seed": 4, "repetition_penalty": 1.2}"#,
        ] {
            assert_eq!(parameters(greedy).seed(), None, "{greedy}");
            assert_eq!(parameters(greedy).options(None).temperature, Some(0.0));
        }
        for drawn in [
            r#"{"do_sample": true, "seed": 4}"#,
            r#"{"temperature": 0.7, "seed": 4}"#,
            r#"{"top_k": 5, "seed": 4}"#,
        ] {
            assert_eq!(parameters(drawn).seed(), Some(4), "{drawn}");
        }
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (json, name) in [
            (r#"{"best_of": 2}"#, "best_of"),
            (r#"{"typical_p": 0.5}"#, "typical_p"),
            (r#"{"watermark": true}"#, "watermark"),
            (r#"{"adapter_id": "a"}"#, "adapter_id"),
            (r#"{"truncate": 0}"#, "truncate"),
            (r#"{"max_new_tokens": 0}"#, "max_new_tokens"),
            (r#"{"top_n_tokens": 100}"#, "top_n_tokens"),
        ] {
            let error = parameters(json).check().expect_err(json);
            assert_eq!(error.param, Some(name));
        }
        let wrong = parameters(r#"{"grammar": {"type": "ebnf", "value": "a"}}"#);
        assert_eq!(
            wrong.form().err().and_then(|error| error.param),
            Some("grammar")
        );
    }
}
