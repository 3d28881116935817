//! What chats and completions may ask for in common, checked field by field.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};

use serde::Deserialize;
use tidegate_generation::Sampling;

use crate::api::error::{ApiError, Fault};

/// The most stop strings; OpenAI takes four.
const MAX_STOPS: usize = 16;

/// The longest stop string in bytes.
const MAX_STOP_BYTES: usize = 1024;

/// The most answers to one prompt.
const MAX_CHOICES: i64 = 128;

/// The most tokens with a bias.
const MAX_BIASES: usize = 1024;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Options {
    pub max_tokens: Option<i64>,
    pub max_completion_tokens: Option<i64>,
    pub min_tokens: Option<i64>,
    pub ignore_eos: Option<bool>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub top_k: Option<i64>,
    pub min_p: Option<f64>,
    pub repetition_penalty: Option<f64>,
    pub presence_penalty: Option<f64>,
    pub frequency_penalty: Option<f64>,
    pub seed: Option<i64>,
    pub stop: Option<Stop>,
    pub include_stop_str_in_output: Option<bool>,
    pub logit_bias: Option<BTreeMap<String, f64>>,
    pub n: Option<i64>,
    pub best_of: Option<i64>,
    pub stream: Option<bool>,
    pub stream_options: Option<StreamOptions>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Stop {
    One(String),
    Several(Vec<String>),
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct StreamOptions {
    pub include_usage: Option<bool>,
    pub continuous_usage_stats: Option<bool>,
}

/// How a stream tells what it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streaming {
    pub usage_at_end: bool,
    pub usage_always: bool,
}

impl Options {
    /// Tokens of the answer, if the request limits them.
    pub fn max_tokens(&self) -> Result<Option<usize>, ApiError> {
        let (name, stated) = match self.max_completion_tokens {
            Some(_) => ("max_completion_tokens", self.max_completion_tokens),
            None => ("max_tokens", self.max_tokens),
        };
        match stated {
            None => Ok(None),
            Some(tokens @ 0..) => Ok(Some(tokens as usize)),
            Some(tokens) => Err(range(name, tokens, "0 or more")),
        }
    }

    pub fn min_tokens(&self) -> Result<usize, ApiError> {
        match self.min_tokens {
            None => Ok(0),
            Some(tokens @ 0..) => Ok(tokens as usize),
            Some(tokens) => Err(range("min_tokens", tokens, "0 or more")),
        }
    }

    pub fn choices(&self) -> Result<usize, ApiError> {
        let choices = self.n.unwrap_or(1);
        if !(1..=MAX_CHOICES).contains(&choices) {
            return Err(range("n", choices, "1 to 128"));
        }
        match self.best_of {
            Some(best) if best != choices => {
                let message = "best_of is not supported: every answer is returned; use n";
                Err(ApiError::param(Fault::Invalid, "best_of", message))
            }
            _ => Ok(choices as usize),
        }
    }

    pub fn stops(&self) -> Result<Vec<String>, ApiError> {
        let stops = match &self.stop {
            None => Vec::new(),
            Some(Stop::One(stop)) => vec![stop.clone()],
            Some(Stop::Several(stops)) => stops.clone(),
        };
        if stops.len() > MAX_STOPS || stops.iter().any(|stop| stop.len() > MAX_STOP_BYTES) {
            let message =
                format!("stop takes up to {MAX_STOPS} strings of up to {MAX_STOP_BYTES} bytes");
            return Err(ApiError::param(Fault::Invalid, "stop", message));
        }
        Ok(stops)
    }

    /// How the answer is streamed, if it is.
    pub fn streaming(&self) -> Result<Option<Streaming>, ApiError> {
        if self.stream != Some(true) {
            return match self.stream_options {
                None => Ok(None),
                Some(_) => {
                    let message = "stream_options needs stream to be true";
                    Err(ApiError::param(Fault::Invalid, "stream_options", message))
                }
            };
        }
        let options = self.stream_options.unwrap_or_default();
        let always = options.continuous_usage_stats == Some(true);
        Ok(Some(Streaming {
            usage_at_end: options.include_usage == Some(true) || always,
            usage_always: always,
        }))
    }

    /// A completion may be for its prompt's sake; an answer of no tokens is none.
    pub fn at_least_one_token(&self) -> Result<(), ApiError> {
        match (self.max_completion_tokens, self.max_tokens) {
            (Some(0), _) => Err(range("max_completion_tokens", 0, "1 or more")),
            (None, Some(0)) => Err(range("max_tokens", 0, "1 or more")),
            _ => Ok(()),
        }
    }

    pub fn sampling(&self, vocabulary: usize) -> Result<Sampling, ApiError> {
        let number = |name, value: Option<f64>, otherwise: f32, least: f64, most: f64| match value {
            None => Ok(otherwise),
            Some(value) if (least..=most).contains(&value) => Ok(value as f32),
            Some(value) => Err(range(name, value, &format!("{least} to {most}"))),
        };
        let top_k = match self.top_k {
            // vLLM's and llama.cpp's ways to say all.
            None | Some(-1) => 0,
            Some(top_k @ 0..) => top_k as usize,
            Some(top_k) => return Err(range("top_k", top_k, "-1 or more")),
        };
        Ok(Sampling {
            temperature: number("temperature", self.temperature, 1.0, 0.0, 2.0)?,
            top_k,
            top_p: number("top_p", self.top_p, 1.0, 0.0, 1.0)?,
            min_p: number("min_p", self.min_p, 0.0, 0.0, 1.0)?,
            repetition_penalty: number(
                "repetition_penalty",
                self.repetition_penalty,
                1.0,
                0.01,
                10.0,
            )?,
            presence_penalty: number("presence_penalty", self.presence_penalty, 0.0, -2.0, 2.0)?,
            frequency_penalty: number("frequency_penalty", self.frequency_penalty, 0.0, -2.0, 2.0)?,
            bias: self.bias(vocabulary)?,
            seed: self.seed.map_or_else(any_seed, |seed| seed as u64),
        })
    }

    fn bias(&self, vocabulary: usize) -> Result<BTreeMap<u32, f32>, ApiError> {
        let wrong = |message: String| ApiError::param(Fault::Invalid, "logit_bias", message);
        let stated = self.logit_bias.iter().flatten();
        if stated.clone().count() > MAX_BIASES {
            return Err(wrong(format!("logit_bias takes up to {MAX_BIASES} tokens")));
        }
        let read = |(token, bias): (&String, &f64)| {
            let id = token
                .parse()
                .ok()
                .filter(|&id: &u32| (id as usize) < vocabulary);
            let id = id.ok_or_else(|| {
                wrong(format!("{token:?} is no token id; there are {vocabulary}"))
            })?;
            match (-100.0..=100.0).contains(bias) {
                true => Ok((id, *bias as f32)),
                false => Err(wrong(format!(
                    "the bias of {id} is {bias}; expected -100 to 100"
                ))),
            }
        };
        stated.map(read).collect()
    }
}

fn range(name: &'static str, found: impl std::fmt::Display, expected: &str) -> ApiError {
    let message = format!("{name} is {found}; expected {expected}");
    ApiError::param(Fault::Invalid, name, message)
}

/// A number that nobody knows beforehand.
pub fn any_seed() -> u64 {
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(json: &str) -> Options {
        serde_json::from_str(json).expect(json)
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        for (json, name) in [
            (r#"{"temperature": 3}"#, "temperature"),
            (r#"{"top_p": -0.1}"#, "top_p"),
            (r#"{"logit_bias": {"9": 1}}"#, "logit_bias"),
            (r#"{"logit_bias": {"1": 101}}"#, "logit_bias"),
        ] {
            let error = options(json).sampling(9).expect_err(json);
            assert_eq!(error.param, Some(name));
        }
        assert!(options(r#"{"max_tokens": -1}"#).max_tokens().is_err());
        assert!(options(r#"{"n": 0}"#).choices().is_err());
        assert!(options(r#"{"best_of": 3}"#).choices().is_err());
        assert!(options(r#"{"stream_options": {}}"#).streaming().is_err());
        assert!(
            options(r#"{"max_tokens": 0}"#)
                .at_least_one_token()
                .is_err()
        );
    }

    #[test]
    fn nulls_are_defaults() {
        let options = options(
            r#"{"stop": null, "n": null, "stream": null, "seed": 4, "max_completion_tokens": 5, "max_tokens": 9}"#,
        );
        assert_eq!(options.stops().expect("none"), Vec::<String>::new());
        assert_eq!(options.max_tokens().expect("valid"), Some(5));
        assert_eq!(options.sampling(9).expect("valid").seed, 4);
        assert_eq!(options.streaming().expect("valid"), None);
        assert!(options.at_least_one_token().is_ok());
    }
}
