//! `POST /tokenize`: how texts are read into tokens. Nothing is computed, but a slot is held, for
//! a long text takes its time.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::api::app::App;
use crate::api::error::{ApiError, Fault};
use crate::api::inference::Arrived;
use crate::api::input::{Entry, Inputs};
use crate::api::reply::Reply;
use crate::api::texts;
use crate::metrics;
use crate::models::{Frame, Token, TokenizeError};

#[derive(Deserialize)]
struct Request {
    inputs: Inputs,
    add_special_tokens: Option<bool>,
    prompt_name: Option<String>,
}

#[derive(Serialize)]
struct SimpleToken {
    id: u32,
    text: String,
    special: bool,
    /// Where it begins, in characters; null for a special token.
    start: Option<usize>,
    stop: Option<usize>,
}

impl From<Token> for SimpleToken {
    fn from(token: Token) -> SimpleToken {
        SimpleToken {
            id: token.id,
            text: token.text,
            special: token.special,
            start: token.place.map(|(start, _)| start),
            stop: token.place.map(|(_, stop)| stop),
        }
    }
}

pub fn answer(app: &App, body: &Arrived) -> Result<Reply, ApiError> {
    let request: Request = body.json()?;
    let entries = request.inputs.0;
    texts::count("inputs", entries.len(), app.limits.max_texts.get())?;
    let served = app.served()?;
    let prompt = served.prompt(request.prompt_name.as_deref())?;
    let frame = match request.add_special_tokens {
        Some(false) => Frame::Bare,
        _ => Frame::Special,
    };
    let refused = |fault, message: String| ApiError::param(fault, "inputs", message);
    let most = app.limits.max_rows.get();
    let (begun, mut count) = (Instant::now(), 0);
    let mut read: Vec<Vec<SimpleToken>> = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        body.awaited()?;
        let Entry::Text(text) = entry else {
            let message = format!("inputs[{index}] is token ids already; expected a text");
            return Err(refused(Fault::Invalid, message));
        };
        let tokens = format!("{prompt}{text}");
        let tokens = served.tokenizer.tokens(&tokens, frame, most);
        let tokens = tokens.map_err(|error| {
            let fault = match error {
                TokenizeError::TooMany { .. } => Fault::TooMany,
                _ => Fault::Tokenizer,
            };
            refused(fault, format!("inputs[{index}]: {error}"))
        })?;
        count += tokens.len();
        if count > most {
            let message = format!("`inputs` has more than {most} tokens, the most that are listed");
            return Err(refused(Fault::TooMany, message));
        }
        read.push(tokens.into_iter().map(SimpleToken::from).collect());
    }
    metrics::tokenized(read.iter().map(Vec::len), begun.elapsed());
    // Some numbers and a text for each.
    let numbers = 8 * count;
    Ok(Reply::list("[", read.into_iter(), "]", numbers))
}
