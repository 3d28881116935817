//! In a build without structured output nothing can be held to a schema.

use serde_json::Value;
use thiserror::Error;

use crate::tokens::Tokenizer;

/// Never made.
pub enum Grammars {}

/// Never made.
pub enum Grammar {}

#[derive(Debug, Error)]
pub enum GrammarError {
    #[error("this worker was built without structured output")]
    NotBuilt,
}

impl Grammars {
    pub fn new(_: &Tokenizer) -> Result<Grammars, GrammarError> {
        Err(GrammarError::NotBuilt)
    }

    pub fn json(&self, _: &Value) -> Result<Grammar, GrammarError> {
        match *self {}
    }
}

impl Grammar {
    pub(crate) fn mask(&mut self, _: &mut [f32]) -> Result<(), String> {
        match *self {}
    }

    pub(crate) fn accept(&mut self, _: u32) -> Result<bool, String> {
        match *self {}
    }
}
