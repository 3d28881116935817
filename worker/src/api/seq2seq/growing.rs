//! A text while its tokens come.

use tidegate_generation::TextStream;
use tidegate_seq2seq::Delta;

use super::Reason;
use crate::api::error::ApiError;
use crate::models::TextTokenizer;

/// Tokens that were taken, and their text as far as it may be shown.
#[derive(Clone, Debug)]
pub struct Growing {
    tokens: Vec<u32>,
    logprobs: Vec<f32>,
    score: Option<f32>,
    /// What the tokens say, as far as it has gone on from what they said before.
    read: String,
    stops: TextStream,
    shown: String,
    finish: Option<Reason>,
}

impl Growing {
    /// A text that ends before any of `stops`.
    pub fn new(stops: Vec<String>) -> Growing {
        Growing {
            tokens: Vec::new(),
            logprobs: Vec::new(),
            score: None,
            read: String::new(),
            stops: TextStream::new(stops, false),
            shown: String::new(),
            finish: None,
        }
    }

    /// Takes tokens, and gives the text that may be shown now. After a stop nothing is taken.
    pub fn push(&mut self, delta: Delta, tokenizer: &TextTokenizer) -> Result<String, ApiError> {
        if self.finish.is_some() {
            return Ok(String::new());
        }
        self.tokens.extend(delta.tokens);
        self.logprobs.extend(delta.logprobs);
        self.score = delta.score;
        let all = tokenizer.text(&self.tokens);
        let all = all.map_err(|error| ApiError::internal(error.to_string()))?;
        // A letter of several tokens is unreadable until its last one.
        let certain = match delta.finish {
            Some(_) => all.as_str(),
            None => all.trim_end_matches('\u{FFFD}'),
        };
        let mut new = match certain.strip_prefix(self.read.as_str()) {
            Some(new) => self.stops.push(new.as_bytes()),
            None => String::new(),
        };
        if certain.len() > self.read.len() {
            self.read = certain.to_owned();
        }
        if self.stops.stopped().is_some() {
            self.finish = Some(Reason::Stop);
        } else if let Some(finish) = delta.finish {
            new += &self.stops.finish();
            self.finish = Some(finish.into());
        }
        self.shown += &new;
        Ok(new)
    }

    pub fn finish(&self) -> Option<Reason> {
        self.finish
    }

    pub fn text(&self) -> &str {
        &self.shown
    }

    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    pub fn logprobs(&self) -> &[f32] {
        &self.logprobs
    }

    /// Of a search over several hypotheses.
    pub fn score(&self) -> Option<f32> {
        self.score
    }
}
