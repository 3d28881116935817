//! Probabilities of tokens, as OpenAI's two routes write them.

use serde_json::{Value, json};
use tidegate_generation::{Scored, Tokenizer};

/// JSON has no minus infinity; OpenAI's servers write this.
const LEAST: f32 = -9999.0;

fn finite(logprob: f32) -> f32 {
    logprob.max(LEAST)
}

fn text(tokenizer: &Tokenizer, token: u32) -> String {
    String::from_utf8_lossy(tokenizer.vocabulary().bytes(token)).into_owned()
}

/// `choices[].logprobs` of a chat.
pub fn chat_logprobs(tokenizer: &Tokenizer, scored: &[Scored]) -> Value {
    let entry = |token: u32, logprob: f32| {
        json!({
            "token": text(tokenizer, token),
            "logprob": finite(logprob),
            "bytes": tokenizer.vocabulary().bytes(token),
        })
    };
    let content: Vec<Value> = scored
        .iter()
        .map(|scored| {
            let mut item = entry(scored.token, scored.logprob);
            let top: Vec<Value> = (scored.top.iter())
                .map(|&(token, logprob)| entry(token, logprob))
                .collect();
            item["top_logprobs"] = json!(top);
            item
        })
        .collect();
    json!({ "content": content, "refusal": null })
}

/// `choices[].logprobs` of a completion. `offset` is where the first token begins in the text, in
/// letters; `first` a token without a probability, the first of a prompt.
pub fn completion_logprobs(
    tokenizer: &Tokenizer,
    first: Option<u32>,
    scored: &[Scored],
    mut offset: usize,
) -> Value {
    let (mut tokens, mut logprobs, mut tops, mut offsets) = (vec![], vec![], vec![], vec![]);
    let mut push = |token: u32, logprob: Option<f32>, top: Value| {
        let text = text(tokenizer, token);
        offsets.push(offset);
        offset += text.chars().count();
        tokens.push(text);
        logprobs.push(logprob.map(finite));
        tops.push(top);
    };
    if let Some(first) = first {
        push(first, None, Value::Null);
    }
    for scored in scored {
        let mut top = serde_json::Map::new();
        for &(token, logprob) in &scored.top {
            top.insert(text(tokenizer, token), json!(finite(logprob)));
        }
        // The chosen token is always among them.
        top.entry(text(tokenizer, scored.token))
            .or_insert(json!(finite(scored.logprob)));
        push(scored.token, Some(scored.logprob), Value::Object(top));
    }
    json!({ "tokens": tokens, "token_logprobs": logprobs, "top_logprobs": tops, "text_offset": offsets })
}
