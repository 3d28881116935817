//! The grammars that answers are held to: made one at a time, on a thread of its own, and kept for
//! the next request that asks for the same.
//!
//! What a grammar is made from came from a client. However long it takes, no thread waits for it
//! that computes or that serves others.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use thiserror::Error;
use tidegate_generation::{self as generation, Form, Grammar, GrammarError, Tokenizer};
use tokio::sync::{Semaphore, oneshot};

/// Grammars that are kept: those asked for last.
const KEPT: usize = 16;

/// The longest that one is waited for.
const LONGEST: Duration = Duration::from_secs(10);

pub struct Grammars {
    tokenizer: Arc<Tokenizer>,
    /// Made with the first grammar.
    maker: OnceLock<Result<generation::Grammars, GrammarError>>,
    /// The one that was asked for last stands last.
    kept: Mutex<VecDeque<(Key, Grammar)>>,
    making: Arc<Semaphore>,
}

/// Of a form.
type Key = [u8; 32];

#[derive(Debug, Error)]
pub enum MakeError {
    #[error(transparent)]
    Grammar(#[from] GrammarError),
    #[error("other grammars are being read; try again soon")]
    Busy,
    #[error("the grammar takes more than {} seconds to read", LONGEST.as_secs())]
    Slow,
    #[error("the grammar cannot be read")]
    Died,
}

impl Grammars {
    pub fn new(tokenizer: Arc<Tokenizer>) -> Arc<Grammars> {
        Arc::new(Grammars {
            tokenizer,
            maker: OnceLock::new(),
            kept: Mutex::new(VecDeque::new()),
            making: Arc::new(Semaphore::new(1)),
        })
    }

    /// The grammar of a form, at its beginning.
    pub async fn grammar(self: &Arc<Self>, form: Form) -> Result<Grammar, MakeError> {
        let key = key(&form);
        if let Some(grammar) = self.known(key) {
            return Ok(grammar);
        }
        let turn = tokio::time::timeout(LONGEST, self.making.clone().acquire_owned());
        let turn = turn.await.map_err(|_| MakeError::Busy)?;
        let turn = turn.map_err(|_| MakeError::Died)?;
        // Another request may have asked for the same.
        if let Some(grammar) = self.known(key) {
            return Ok(grammar);
        }
        let (sender, made) = oneshot::channel();
        let grammars = self.clone();
        let thread = std::thread::Builder::new()
            .name("grammar".to_owned())
            .stack_size(generation::Grammars::STACK_BYTES);
        // It ends by itself, bounded by what the library does with the largest schema.
        let started = thread.spawn(move || {
            let _turn = turn;
            let grammar = grammars.make(&form);
            if let Ok(grammar) = &grammar {
                grammars.keep(key, grammar);
            }
            // Whoever asked may have left.
            let _ = sender.send(grammar);
        });
        started.map_err(|_| MakeError::Died)?;
        let made = tokio::time::timeout(LONGEST, made).await;
        let made = made.map_err(|_| MakeError::Slow)?;
        Ok(made.map_err(|_| MakeError::Died)??)
    }

    fn make(&self, form: &Form) -> Result<Grammar, GrammarError> {
        let maker = self
            .maker
            .get_or_init(|| generation::Grammars::new(&self.tokenizer));
        match maker {
            Ok(maker) => maker.grammar(form),
            Err(error) => Err(error.clone()),
        }
    }

    fn known(&self, key: Key) -> Option<Grammar> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let index = kept.iter().position(|(known, _)| *known == key)?;
        let found = kept.remove(index)?;
        let grammar = found.1.apart();
        kept.push_back(found);
        Some(grammar)
    }

    fn keep(&self, key: Key, grammar: &Grammar) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back((key, grammar.apart()));
        if kept.len() > KEPT {
            kept.pop_front();
        }
    }
}

fn key(form: &Form) -> Key {
    // A form is data without maps whose keys are no strings: it can always be written.
    let written = serde_json::to_vec(form).unwrap_or_default();
    Sha256::digest(written).into()
}
