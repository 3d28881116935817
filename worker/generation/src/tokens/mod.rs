//! From text to token ids and back: byte-level BPE and SentencePiece's BPE, from the metadata of a
//! GGUF file or from a tokenizer.json.

mod from_gguf;
mod from_json;
mod pieces;
mod spm;
mod vocabulary;

use aho_corasick::AhoCorasick;
use thiserror::Error;

pub use from_gguf::JSON_KEY;
pub use from_json::Named;
pub use vocabulary::{Role, Vocabulary};

use spm::Spm;

/// What SentencePiece writes a space as.
const SPACE: char = '▁';

/// Reads texts into tokens.
pub struct Tokenizer {
    vocabulary: Vocabulary,
    model: Model,
    /// A text begins with this token.
    begin: Option<u32>,
    /// Whether a text of its own is given the token of the beginning.
    begins: bool,
    /// An answer ends with any of these.
    ends: Vec<u32>,
}

enum Model {
    /// By the tokenizers library.
    Library(Box<tokenizers::Tokenizer>),
    /// By scores of joins; tokens that are found before the text is cut.
    Scores {
        spm: Spm,
        added: Option<AhoCorasick>,
        /// Ids of what `added` finds.
        ids: Vec<u32>,
        /// A text begins with a space of its own.
        space_first: bool,
        /// Space behind a control token is left out.
        strip_after_control: bool,
    },
}

#[derive(Debug, Error)]
pub enum TokenizerError {
    #[error("{key}: {problem}")]
    Attribute { key: String, problem: String },
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("tokenizer.json: {0}")]
    Json(String),
    #[error("the text cannot be tokenized: {0}")]
    Text(String),
}

impl Tokenizer {
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The token of the beginning.
    pub fn begin(&self) -> Option<u32> {
        self.begin
    }

    /// The tokens that an answer ends with.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Adds tokens that an answer ends with, as a generation_config.json names them.
    pub fn also_ends(&mut self, tokens: &[u32]) {
        for &token in tokens {
            let known = (token as usize) < self.vocabulary.len();
            if known && !self.ends.contains(&token) {
                self.ends.push(token);
            }
        }
    }

    /// The tokens of a text, control tokens in it included. It begins with the token of the
    /// beginning where the model wants one.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut tokens = self.pieces(text)?;
        if let (true, Some(begin)) = (self.begins, self.begin)
            && tokens.first() != Some(&begin)
        {
            tokens.insert(0, begin);
        }
        Ok(tokens)
    }

    /// The tokens of a text and nothing else.
    pub fn pieces(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        match &self.model {
            Model::Library(tokenizer) => {
                let encoding = tokenizer.encode_fast(text, false);
                let encoding = encoding.map_err(|error| TokenizerError::Text(error.to_string()))?;
                Ok(encoding.get_ids().to_vec())
            }
            Model::Scores { .. } => Ok(self.by_scores(text)),
        }
    }

    fn by_scores(&self, text: &str) -> Vec<u32> {
        let Model::Scores {
            spm,
            added,
            ids,
            space_first,
            strip_after_control,
        } = &self.model
        else {
            return Vec::new();
        };
        let mut tokens = Vec::new();
        // As at the start of a text, a space of its own stands behind a control token.
        let mut fresh = *space_first;
        let mut at = 0;
        let between = |piece: &str, fresh: bool, tokens: &mut Vec<u32>| {
            if !piece.is_empty() {
                let space = if fresh { " " } else { "" };
                let marked = format!("{space}{piece}").replace(' ', &SPACE.to_string());
                spm.encode(&marked, tokens);
            }
        };
        for found in added.iter().flat_map(|added| added.find_iter(text)) {
            if found.start() < at {
                continue;
            }
            between(&text[at..found.start()], fresh, &mut tokens);
            let id = ids[found.pattern().as_usize()];
            tokens.push(id);
            at = found.end();
            let control = self.vocabulary.role(id) == Role::Control;
            fresh = *space_first && control;
            if control && *strip_after_control {
                at = text.len() - text[at..].trim_start().len();
            }
        }
        between(&text[at..], fresh, &mut tokens);
        tokens
    }

    /// The bytes of tokens, control tokens left out.
    pub fn decode(&self, tokens: &[u32]) -> Vec<u8> {
        let shown = tokens.iter().filter(|&&token| self.is_text(token));
        shown
            .flat_map(|&token| self.vocabulary.bytes(token))
            .copied()
            .collect()
    }

    /// Whether a token is part of a text.
    pub fn is_text(&self, token: u32) -> bool {
        !matches!(self.vocabulary.role(token), Role::Control | Role::Unused)
    }
}
