//! Answers of a given form: which tokens may follow, by the llguidance library.
//!
//! A grammar is made from what a client sent: every step of its making and of its use is bounded,
//! and one that takes more is refused, or ends the one answer that it belongs to.

mod bounds;
mod form;

use std::sync::Arc;

use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use thiserror::Error;

pub use form::{Besides, Calls, Form, Function, Marks, Schema};

use crate::tokens::Tokenizer;

/// Bounds of the making: parts of regular expressions, and symbols of the grammar.
const LEXER_PARTS: u64 = 50_000;
const GRAMMAR_PARTS: usize = 100_000;

/// Bounds of one token's mask: steps of regular expressions, and rules looked at. Together they
/// take up to a few milliseconds.
const LEXER_STEPS: u64 = 50_000;
const RULE_STEPS: usize = 20_000;

/// States that are kept of an answer's regular expressions, of about 2 kB each.
const LEXER_STATES: usize = 10_000;

/// Makes grammars over one vocabulary. Making one of these takes up to a second with a large
/// vocabulary.
pub struct Grammars {
    factory: ParserFactory,
}

/// Where an answer stands in its grammar. A clone stands at the same place and shares what was
/// learnt of the grammar: made for several answers that one thread computes.
#[derive(Clone)]
pub struct Grammar {
    matcher: Matcher,
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum GrammarError {
    #[error("structured output is not possible with this model's tokens: {0}")]
    Vocabulary(String),
    /// Of the function of this name, or of the answer itself.
    #[error("the schema cannot be used: {problem}")]
    Schema {
        function: Option<String>,
        problem: String,
    },
    #[error("the regular expression cannot be used: {0}")]
    Pattern(String),
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
        let limits = factory.limits_mut();
        limits.initial_lexer_fuel = LEXER_PARTS;
        limits.max_grammar_size = GRAMMAR_PARTS;
        limits.step_lexer_fuel = LEXER_STEPS;
        limits.step_max_items = RULE_STEPS;
        limits.max_lexer_states = LEXER_STATES;
        // Worth its time for grammars that are used for long; it would be an unbounded part of
        // the making.
        limits.precompute_large_lexemes = false;
        limits.verbose_errors = false;
        Ok(Grammars { factory })
    }

    /// The grammar of a form. This recurses as deep as schemas refer to each other: it is to be
    /// called with [`Grammars::STACK_BYTES`] of stack.
    ///
    /// # Errors
    /// A schema or a pattern that is none, is too large, or asks for what cannot be held.
    pub fn grammar(&self, form: &Form) -> Result<Grammar, GrammarError> {
        form.check()?;
        self.made(form).map_err(|problem| match form {
            Form::Pattern(_) => GrammarError::Pattern(problem),
            Form::Json(_) | Form::Calls(_) => GrammarError::Schema {
                function: self.culprit(form),
                problem,
            },
        })
    }

    /// What [`Grammars::grammar`] needs for the deepest schema that the bounds let pass.
    pub const STACK_BYTES: usize = 256 << 20;

    fn made(&self, form: &Form) -> Result<Grammar, String> {
        let matcher = Matcher::new(self.factory.create_parser(form.grammar()));
        match matcher.get_error() {
            Some(error) => Err(plain(&error)),
            None => Ok(Grammar { matcher }),
        }
    }

    /// The first function whose parameters are refused by themselves.
    fn culprit(&self, form: &Form) -> Option<String> {
        let refused = |(function, schema): (Option<&str>, &Schema)| {
            let alone = Form::Json(schema.clone());
            self.made(&alone).err().and(function.map(str::to_owned))
        };
        form.schemas().find_map(refused)
    }
}

/// The library's message without what is for its own developers.
fn plain(error: &str) -> String {
    let first = error.split("\n<").next().unwrap_or(error);
    first.chars().take(500).collect()
}

impl Grammar {
    /// One that shares nothing with this one.
    pub fn apart(&self) -> Grammar {
        Grammar {
            matcher: self.matcher.deep_clone(),
        }
    }

    /// Sets the logits of tokens that do not fit to minus infinity.
    pub(crate) fn mask(&mut self, logits: &mut [f32]) -> Result<(), String> {
        let mask = self.matcher.compute_mask_or_eos();
        let mask = mask.map_err(|error| plain(&error.to_string()))?;
        let (words, width) = (mask.as_slice(), u32::BITS as usize);
        for (index, logits) in logits.chunks_mut(width).enumerate() {
            match words.get(index).copied().unwrap_or(0) {
                0 => logits.fill(f32::NEG_INFINITY),
                u32::MAX => {}
                word => {
                    for (bit, logit) in logits.iter_mut().enumerate() {
                        if word >> bit & 1 == 0 {
                            *logit = f32::NEG_INFINITY;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Goes on by a token. True when nothing can follow.
    pub(crate) fn accept(&mut self, token: u32) -> Result<bool, String> {
        let taken = self.matcher.consume_token(token);
        taken.map_err(|error| plain(&error.to_string()))?;
        Ok(self.matcher.is_stopped())
    }
}
