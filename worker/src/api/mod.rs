//! What clients meet: routes, bodies, refusals.
//!
//! [`openai`] and [`tei`] are families of routes: they read bodies and shape replies. What they have
//! in common is beside them, and knows neither: admission, texts, numbers, errors, and
//! [`inference`], the one way of every request that the model computes.

mod admit;
mod app;
mod error;
mod inference;
mod input;
mod numbers;
mod openai;
mod routes;
mod tei;
mod texts;

pub use self::app::{App, Generating, Served};
pub use self::routes::routes;
