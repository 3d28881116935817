//! How a text is wanted, as far as the routes have it in common, and what is refused by name.

use serde::Deserialize;
use serde_json::{Map, Value};
use tidegate_seq2seq::{Patience, Search, Task};

use super::encode;
use crate::api::app::{App, Writing};
use crate::api::error::{ApiError, Fault};

/// The most stop strings.
const MOST_STOPS: usize = 4;

/// Options of every route.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Options {
    #[serde(alias = "max_new_tokens", alias = "max_completion_tokens")]
    pub max_tokens: Option<usize>,
    #[serde(alias = "min_new_tokens")]
    pub min_tokens: Option<usize>,
    pub num_beams: Option<usize>,
    pub length_penalty: Option<f32>,
    pub early_stopping: Option<Early>,
    #[serde(alias = "stop_sequences")]
    pub stop: Option<Stops>,
    pub ignore_eos: Option<bool>,
    /// Options that others know.
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// transformers' `early_stopping`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Early {
    Flag(bool),
    Word(String),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Stops {
    One(String),
    Several(Vec<String>),
}

/// Texts, read.
pub struct Asked {
    pub tasks: Vec<Task>,
    pub stops: Vec<String>,
    /// Tokens of all sources.
    pub read: usize,
}

/// Options that would change the text, and the value at which they do not.
fn unsupported(name: &str, value: &Value) -> bool {
    let number = value.as_f64();
    match name {
        // Texts are the likeliest ones: nothing is drawn.
        "temperature" => number != Some(0.0),
        "top_p" | "typical_p" | "repetition_penalty" | "n" => number != Some(1.0),
        "best_of" => number != Some(1.0),
        "top_k" => !matches!(number, Some(0.0 | 1.0 | -1.0)),
        "min_p" | "presence_penalty" | "frequency_penalty" => number != Some(0.0),
        "no_repeat_ngram_size" | "top_n_tokens" | "num_return_sequences" => {
            !matches!(number, Some(0.0 | 1.0))
        }
        "do_sample" | "echo" | "watermark" | "return_full_text" | "decoder_input_details" => {
            value != &Value::Bool(false)
        }
        "logit_bias" => value.as_object().is_none_or(|bias| !bias.is_empty()),
        "response_format" => value["type"] != "text",
        "suffix" => value != "",
        "logprobs" | "grammar" | "adapter_id" | "truncate" => true,
        _ => false,
    }
}

impl Options {
    /// Reads texts into tasks; `otherwise` is the longest text to a request that does not say.
    pub fn tasks<'a>(
        &self,
        app: &App,
        (field, texts): (&'static str, impl Iterator<Item = &'a str>),
        otherwise: usize,
    ) -> Result<Asked, ApiError> {
        let writing = app.writing()?;
        self.refuse_unsupported()?;
        let search = self.search(writing)?;
        let max_tokens = self.max_tokens.unwrap_or(otherwise.min(writing.max_target));
        let limit = writing.max_target;
        if !(1..=limit).contains(&max_tokens) {
            let message = format!("max_tokens is {max_tokens}; expected 1 to {limit}");
            return Err(ApiError::param(Fault::Invalid, "max_tokens", message));
        }
        let template = Task {
            source: Vec::new(),
            search,
            max_tokens,
            min_tokens: self.min_tokens.unwrap_or(0).min(max_tokens),
            ignore_end: self.ignore_eos == Some(true),
            scored: false,
        };
        let tasks = texts.map(|text| {
            Ok(Task {
                source: encode(writing, field, text)?,
                ..template.clone()
            })
        });
        let tasks: Vec<Task> = tasks.collect::<Result<_, ApiError>>()?;
        let most = app.limits.max_texts.get();
        if tasks.is_empty() || tasks.len() > most {
            let message = format!("{field} holds {} texts; expected 1 to {most}", tasks.len());
            return Err(ApiError::param(Fault::Invalid, field, message));
        }
        Ok(Asked {
            read: tasks.iter().map(|task| task.source.len()).sum(),
            tasks,
            stops: self.stops()?,
        })
    }

    fn refuse_unsupported(&self) -> Result<(), ApiError> {
        let mut others = self.others.iter().filter(|(_, value)| !value.is_null());
        match others.find(|(name, value)| unsupported(name, value)) {
            None => Ok(()),
            Some((name, value)) => {
                let shown: String = value.to_string().chars().take(40).collect();
                let message = format!(
                    "{name} = {shown} is not supported by a sequence-to-sequence model: it returns the most likely texts, by one hypothesis or by `num_beams`"
                );
                Err(ApiError::new(Fault::Invalid, message))
            }
        }
    }

    fn search(&self, writing: &Writing) -> Result<Search, ApiError> {
        let most = writing.limits.targets;
        let invalid = |param, message: String| Err(ApiError::param(Fault::Invalid, param, message));
        let patience = match &self.early_stopping {
            None | Some(Early::Flag(false)) => Patience::Usual,
            Some(Early::Flag(true)) => Patience::Early,
            Some(Early::Word(word)) if word == "never" => Patience::Never,
            Some(Early::Word(_)) => {
                let message = "early_stopping is neither a boolean nor \"never\"".to_owned();
                return invalid("early_stopping", message);
            }
        };
        let length_penalty = self.length_penalty.unwrap_or(1.0);
        if !length_penalty.is_finite() {
            return invalid("length_penalty", "length_penalty is no number".to_owned());
        }
        match self.num_beams.unwrap_or(1) {
            1 => Ok(Search::Greedy),
            width if (2..=most).contains(&width) => Ok(Search::Beams {
                width,
                length_penalty,
                patience,
            }),
            width => invalid(
                "num_beams",
                format!("num_beams is {width}; expected 1 to {most}"),
            ),
        }
    }

    fn stops(&self) -> Result<Vec<String>, ApiError> {
        let stops = match self.stop.clone() {
            None => Vec::new(),
            Some(Stops::One(stop)) => vec![stop],
            Some(Stops::Several(stops)) => stops,
        };
        if stops.len() > MOST_STOPS {
            let message = format!(
                "{} stop strings; expected at most {MOST_STOPS}",
                stops.len()
            );
            return Err(ApiError::param(Fault::Invalid, "stop", message));
        }
        Ok(stops)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_would_change_a_text_is_refused_by_name() {
        let refused = |options: Value| {
            let options: Options = serde_json::from_value(options).expect("an object");
            let refusal = options.refuse_unsupported().err();
            refusal.map(|refusal| refusal.message)
        };
        for harmless in [
            json!({}),
            json!({ "temperature": 0, "top_p": 1.0, "n": 1, "seed": 7, "user": "x" }),
            json!({ "do_sample": false, "logprobs": null, "logit_bias": {} }),
        ] {
            assert_eq!(refused(harmless), None);
        }
        for (wrong, name) in [
            (json!({ "temperature": 0.7 }), "temperature = 0.7"),
            (json!({ "do_sample": true }), "do_sample = true"),
            (json!({ "n": 2 }), "n = 2"),
            (json!({ "logprobs": 3 }), "logprobs = 3"),
            (json!({ "best_of": 4 }), "best_of = 4"),
        ] {
            let message = refused(wrong).expect(name);
            assert!(message.starts_with(name), "{message}");
        }
    }
}
