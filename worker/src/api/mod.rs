//! The API for clients: routes, bodies, refusals.
//!
//! [`openai`] and [`tei`] are families of routes: they read bodies and shape replies. What they have
//! in common is beside them, and knows neither: admission, texts, numbers, errors, and
//! [`inference`], the one way of every request that the model computes.

mod admit;
mod app;
mod error;
mod grammars;
mod inference;
mod input;
mod memory;
mod numbers;
mod openai;
mod reply;
mod rerank;
mod routes;
mod sagemaker;
mod seq2seq;
mod slash;
mod sse;
mod tei;
mod texts;
mod tgi;
mod watch;

pub use self::app::{App, Generating, Served, Writing};
pub use self::memory::Pool;
pub use self::routes::routes;
