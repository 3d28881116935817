//! `POST /generate` and `POST /generate_stream`, as text-generation-inference has them, and `POST /`,
//! which is one or the other by `stream`: of decoders ([`decoder`]) and of sequence-to-sequence models
//! ([`seq2seq`]), in the same shapes.

mod decoder;
mod error;
mod parameters;
mod seq2seq;
mod shapes;

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_agent::Slot;

pub use self::error::refuse;
use super::app::App;
use super::error::ApiError;
use super::inference::{Arrived, Call};
use super::slash;

/// text-generation-inference's default of the longest answer.
const ANSWER_TOKENS: usize = 100;

const METHOD: &str = "generate";

pub fn routes() -> Router<Arc<App>> {
    slash::with([
        ("/generate", post(generate)),
        ("/generate_stream", post(generate_stream)),
    ])
}

/// A body of all three routes; `P` is what a kind of model knows of parameters.
#[derive(Deserialize)]
struct Request<P> {
    inputs: String,
    #[serde(default)]
    parameters: Option<P>,
    /// Known to `/` alone.
    stream: Option<bool>,
}

/// A request, read.
enum Generate {
    Decoder(Box<decoder::Generate>),
    Seq2Seq(seq2seq::Generate),
}

fn read(app: &App, body: &Arrived) -> Result<Generate, ApiError> {
    match app.writing.get() {
        Some(_) => seq2seq::read(app, body).map(Generate::Seq2Seq),
        None => decoder::read(app, body).map(|asked| Generate::Decoder(Box::new(asked))),
    }
}

async fn generate(call: Call) -> Response {
    let reply = async |asked: Generate, app, slot, deadline| {
        Ok(Json(asked.whole(app, slot, deadline).await?).into_response())
    };
    call.generate(METHOD, refuse, read, reply).await
}

async fn generate_stream(call: Call) -> Response {
    let reply =
        async |asked: Generate, app, slot, deadline| asked.stream(app, slot, deadline).await;
    call.generate("generate_stream", refuse, read, reply).await
}

/// `POST /`: a list where it is not streamed.
pub async fn root(call: Call) -> Response {
    let reply = async |asked: Generate, app, slot, deadline| match asked.streams() {
        true => asked.stream(app, slot, deadline).await,
        false => {
            let made = asked.whole(app, slot, deadline).await?;
            Ok(Json(json!([made])).into_response())
        }
    };
    call.generate(METHOD, refuse, read, reply).await
}

impl Generate {
    fn streams(&self) -> bool {
        match self {
            Generate::Decoder(asked) => asked.stream,
            Generate::Seq2Seq(asked) => asked.stream,
        }
    }

    async fn whole(
        self,
        app: Arc<App>,
        slot: Slot,
        deadline: Option<Instant>,
    ) -> Result<Value, ApiError> {
        match self {
            Generate::Decoder(asked) => asked.whole(&app, slot, deadline).await,
            Generate::Seq2Seq(asked) => asked.whole(app, slot, deadline).await,
        }
    }

    async fn stream(
        self,
        app: Arc<App>,
        slot: Slot,
        deadline: Option<Instant>,
    ) -> Result<Response, ApiError> {
        match self {
            Generate::Decoder(asked) => asked.stream(app, slot, deadline).await,
            Generate::Seq2Seq(asked) => asked.stream(app, slot, deadline).await,
        }
    }
}
