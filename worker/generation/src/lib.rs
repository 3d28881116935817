//! Generates answers token by token, independent of the network that computes them and of HTTP.
//!
//! [`Tokenizer`] reads texts, [`ChatTemplate`] makes a conversation one, [`Scheduler`] says which
//! tokens of which sequences a [`Network`] computes together, and chooses what comes next. All of
//! it is arithmetic: no clock, no thread, no file, no socket. The same requests in the same order
//! give the same answers, and an answer does not depend on what else is computed beside it.

mod grammar;
mod pages;
mod sampling;
mod schedule;
mod template;
mod text;
mod tokens;

pub use grammar::{Besides, Calls, Form, Function, Grammar, GrammarError, Grammars, Marks, Schema};
pub use pages::Pages;
pub use sampling::{Sampling, choice_seed, likeliest, log_sum};
pub use schedule::{
    Chunk, Delta, Finish, Limits, Network, Scheduler, Scored, Task, Totals, Wanted,
};
pub use template::{ChatTemplate, Conversation, TemplateError, TemplateValue};
pub use text::TextStream;
pub use tokens::{JSON_KEY, Named, Role, Tokenizer, TokenizerError, Vocabulary};
