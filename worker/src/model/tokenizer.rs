//! From text to token ids, and the one place that knows how long a text may be.

use std::path::Path;

use thiserror::Error;
use tokenizers::{Tokenizer, TruncationParams};

use super::ModelError;

/// A text as the model reads it, special tokens included.
pub type TokenIds = Vec<u32>;

/// Whether texts are lowered before they are read into tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Casing {
    Keep,
    Lower,
}

/// What to do with a text that is longer than the model reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlong {
    Refuse,
    /// Leave out what is too much at its end.
    Truncate,
}

pub struct TextTokenizer {
    whole: Tokenizer,
    /// The same, cutting at the limit; it keeps the special tokens at the end.
    cutting: Tokenizer,
    limit: usize,
    casing: Casing,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum TokenizeError {
    #[error("the text has {tokens} tokens, the model reads at most {limit}")]
    TooLong { tokens: usize, limit: usize },
    #[error("nothing is left of the text when it is read into tokens")]
    Empty,
    #[error("the text cannot be read into tokens: {0}")]
    Failed(String),
}

impl TextTokenizer {
    /// Reads a tokenizer.json. Its own truncation and padding are dropped: they belong to how
    /// the model was trained, not to how it is served.
    pub fn read(
        file: &Path,
        limit: usize,
        vocabulary: usize,
        casing: Casing,
    ) -> Result<Self, ModelError> {
        let invalid = |problem: String| ModelError::Invalid {
            file: file.to_owned(),
            problem,
        };
        if !file.is_file() {
            return Err(ModelError::Missing {
                file: file.to_owned(),
                hint: "a model directory holds config.json, tokenizer.json and model.safetensors",
            });
        }
        let mut whole = Tokenizer::from_file(file).map_err(|error| invalid(error.to_string()))?;
        let entries = whole.get_vocab_size(true);
        if entries > vocabulary {
            return Err(invalid(format!(
                "it has {entries} tokens, config.json has a vocab_size of {vocabulary}"
            )));
        }
        whole.with_padding(None);
        whole
            .with_truncation(None)
            .map_err(|error| invalid(error.to_string()))?;
        let mut cutting = whole.clone();
        let cut = TruncationParams {
            max_length: limit,
            ..TruncationParams::default()
        };
        cutting
            .with_truncation(Some(cut))
            .map_err(|error| invalid(error.to_string()))?;
        Ok(TextTokenizer {
            whole,
            cutting,
            limit,
            casing,
        })
    }

    /// The longest text, in tokens, special ones included.
    pub fn limit(&self) -> usize {
        self.limit
    }

    pub fn encode(&self, text: &str, overlong: Overlong) -> Result<TokenIds, TokenizeError> {
        let tokenizer = match overlong {
            Overlong::Refuse => &self.whole,
            Overlong::Truncate => &self.cutting,
        };
        let encoding = match self.casing {
            Casing::Keep => tokenizer.encode_fast(text, true),
            Casing::Lower => tokenizer.encode_fast(text.to_lowercase(), true),
        };
        let encoding = encoding.map_err(|error| TokenizeError::Failed(error.to_string()))?;
        let tokens = encoding.len();
        if tokens == 0 {
            return Err(TokenizeError::Empty);
        }
        if tokens > self.limit {
            return Err(TokenizeError::TooLong {
                tokens,
                limit: self.limit,
            });
        }
        Ok(encoding.get_ids().to_vec())
    }
}
