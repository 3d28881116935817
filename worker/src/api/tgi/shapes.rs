//! The shapes of text-generation-inference's answers.

use serde_json::{Value, json};

use crate::api::error::ApiError;
use crate::api::sse::Lines;

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    End,
    Length,
    Stop,
}

pub fn token(id: u32, text: &str, logprob: Option<f32>, special: bool) -> Value {
    json!({ "id": id, "text": text, "logprob": logprob, "special": special })
}

/// `seed` is what was drawn with, if anything was.
pub fn details(reason: Option<Reason>, generated_tokens: usize, seed: Option<u64>) -> Value {
    let reason = reason.map(|reason| match reason {
        Reason::End => "eos_token",
        Reason::Length => "length",
        Reason::Stop => "stop_sequence",
    });
    json!({ "finish_reason": reason, "generated_tokens": generated_tokens, "seed": seed })
}

/// The whole text with its details; `tokens` and the tokens of the prompt are within these.
pub fn whole(text: &str, details: Option<Value>) -> Value {
    let mut reply = json!({ "generated_text": text });
    if let Some(details) = details {
        reply["details"] = details;
    }
    reply
}

/// A line of a stream; the last one has the whole text and its details.
pub fn line(index: usize, token: Value, end: Option<(&str, Value)>) -> Value {
    let (text, details) = match end {
        Some((text, details)) => (json!(text), details),
        None => (Value::Null, Value::Null),
    };
    json!({ "index": index, "token": token, "generated_text": text, "details": details })
}

/// The end of a stream that failed.
pub fn failed(error: ApiError) -> Lines {
    Lines::failed(
        error,
        |error| json!({ "error": error.message, "error_type": "generation" }),
    )
}
