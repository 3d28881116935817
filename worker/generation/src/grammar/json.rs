//! Answers of a given form: JSON by a schema, by the llguidance library.

use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::Value;
use thiserror::Error;

use crate::tokens::Tokenizer;

/// Makes grammars over one vocabulary. Making one takes up to a second with a large vocabulary;
/// it is made once, with the first request that wants one.
pub struct Grammars {
    factory: ParserFactory,
}

/// Where an answer stands in its grammar.
pub struct Grammar {
    matcher: Matcher,
}

#[derive(Debug, Error)]
pub enum GrammarError {
    #[error("structured output is not possible with this model's tokens: {0}")]
    Vocabulary(String),
    #[error("the schema cannot be used: {0}")]
    Schema(String),
}

impl Grammars {
    /// # Errors
    /// A vocabulary without a token of the end.
    pub fn new(tokenizer: &Tokenizer) -> Result<Grammars, GrammarError> {
        let vocabulary = tokenizer.vocabulary();
        let Some(&end) = tokenizer.ends().first() else {
            let problem = "it has no token that ends an answer";
            return Err(GrammarError::Vocabulary(problem.to_owned()));
        };
        let words: Vec<Vec<u8>> = (0..vocabulary.len() as u32)
            .map(|token| match tokenizer.is_text(token) {
                true => vocabulary.bytes(token).to_vec(),
                // Never part of a text: the library knows such tokens by this byte.
                false => [&[TokTrie::SPECIAL_TOKEN_MARKER], vocabulary.bytes(token)].concat(),
            })
            .collect();
        let info = TokRxInfo::new(words.len() as u32, end);
        let trie = TokTrie::from(&info, &words).with_eos_tokens(tokenizer.ends());
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let factory = ParserFactory::new_simple(&environment);
        let mut factory = factory.map_err(|error| GrammarError::Vocabulary(error.to_string()))?;
        factory.quiet();
        Ok(Grammars { factory })
    }

    /// A grammar of JSON texts that a schema allows.
    pub fn json(&self, schema: &Value) -> Result<Grammar, GrammarError> {
        let grammar = TopLevelGrammar::from_json_schema(schema.clone());
        let parser = self.factory.create_parser(grammar);
        let parser = parser.map_err(|error| GrammarError::Schema(error.to_string()))?;
        Ok(Grammar {
            matcher: Matcher::new(Ok(parser)),
        })
    }
}

impl Grammar {
    /// Sets the logits of tokens that do not fit to minus infinity.
    pub(crate) fn mask(&mut self, logits: &mut [f32]) -> Result<(), String> {
        let mask = self.matcher.compute_mask_or_eos();
        let mask = mask.map_err(|error| error.to_string())?;
        for (token, logit) in logits.iter_mut().enumerate() {
            if token >= mask.len() || !mask.is_allowed(token as u32) {
                *logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }

    /// Goes on by a token. True when nothing can follow.
    pub(crate) fn accept(&mut self, token: u32) -> Result<bool, String> {
        let taken = self.matcher.consume_token(token);
        taken.map_err(|error| error.to_string())?;
        Ok(self.matcher.is_stopped())
    }
}
