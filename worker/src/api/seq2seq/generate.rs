//! `POST /generate` and `POST /generate_stream`, as text-generation-inference has them, and `POST /`,
//! which is whichever of them `stream` says.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_agent::Slot;

use super::{Asked, Growing, Options, Reason, begin, failed, whole};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::inference::Arrived;
use crate::api::sse::{self, Lines, Script};
use crate::engine::Event;
use crate::engine::seq2seq::Piece;

/// text-generation-inference's default.
const ANSWER_TOKENS: usize = 100;

#[derive(Deserialize)]
struct Request {
    inputs: String,
    #[serde(default)]
    parameters: Option<Parameters>,
    /// Known to `/` alone.
    stream: Option<bool>,
}

#[derive(Default, Deserialize)]
struct Parameters {
    details: Option<bool>,
    #[serde(flatten)]
    options: Options,
}

/// An input, read.
pub struct Generate {
    asked: Asked,
    details: bool,
    stream: bool,
}

pub fn read(app: &App, body: &Arrived) -> Result<Generate, ApiError> {
    let request: Request = body.json()?;
    let Parameters { details, options } = request.parameters.unwrap_or_default();
    let texts = ("inputs", std::iter::once(request.inputs.as_str()));
    let mut asked = options.tasks(app, texts, ANSWER_TOKENS)?;
    asked.tasks.iter_mut().for_each(|task| task.scored = true);
    Ok(Generate {
        asked,
        details: details == Some(true),
        stream: request.stream == Some(true),
    })
}

impl Generate {
    pub async fn whole(
        self,
        app: Arc<App>,
        slot: Slot,
        deadline: Option<Instant>,
    ) -> Result<Response, ApiError> {
        Ok(Json(self.made(app, slot, deadline).await?).into_response())
    }

    /// What text-generation-inference answers at `/`: a list where it is not streamed.
    pub async fn reply(
        self,
        app: Arc<App>,
        slot: Slot,
        deadline: Option<Instant>,
    ) -> Result<Response, ApiError> {
        match self.stream {
            true => self.stream(app, slot, deadline).await,
            false => Ok(Json(json!([self.made(app, slot, deadline).await?])).into_response()),
        }
    }

    async fn made(
        self,
        app: Arc<App>,
        slot: Slot,
        deadline: Option<Instant>,
    ) -> Result<Value, ApiError> {
        let Asked { tasks, stops, .. } = self.asked;
        let events = begin(&app, tasks, slot, deadline).await?;
        let texts = whole(&app, events, vec![Growing::new(stops)]).await?;
        let mut reply = json!({});
        for text in &texts {
            reply["generated_text"] = json!(text.text());
            if self.details {
                let mut details = details(text);
                details["prefill"] = json!([]);
                details["tokens"] = json!(tokens(&app, text)?);
                reply["details"] = details;
            }
        }
        Ok(reply)
    }

    pub async fn stream(
        self,
        app: Arc<App>,
        slot: Slot,
        deadline: Option<Instant>,
    ) -> Result<Response, ApiError> {
        let Asked { tasks, stops, read } = self.asked;
        let events = begin(&app, tasks, slot, deadline).await?;
        let script = Tokens {
            app,
            read,
            text: Growing::new(stops),
            sent: 0,
        };
        Ok(sse::stream(events, Vec::new(), script))
    }
}

fn details(text: &Growing) -> Value {
    let reason = text.finish().map(|reason| match reason {
        Reason::End => "eos_token",
        Reason::Length => "length",
        Reason::Stop => "stop_sequence",
    });
    json!({
        "finish_reason": reason,
        "generated_tokens": text.tokens().len(),
        "seed": null,
        "score": text.score(),
    })
}

fn tokens(app: &App, text: &Growing) -> Result<Vec<Value>, ApiError> {
    let places = 0..text.tokens().len();
    places.map(|at| token(app, text, at)).collect()
}

/// A token and what it adds to the text.
fn token(app: &App, text: &Growing, at: usize) -> Result<Value, ApiError> {
    let writing = app.writing()?;
    let read = |end: usize| {
        let read = writing.tokenizer.text(&text.tokens()[..end]);
        read.map_err(|error| ApiError::internal(error.to_string()))
    };
    let (before, after) = (read(at)?, read(at + 1)?);
    let id = text.tokens()[at];
    Ok(json!({
        "id": id,
        "text": after.strip_prefix(before.as_str()).unwrap_or_default(),
        "logprob": text.logprobs().get(at),
        "special": writing.ends.contains(&id),
    }))
}

/// A line for each token.
struct Tokens {
    app: Arc<App>,
    /// Tokens of the input.
    read: usize,
    text: Growing,
    sent: usize,
}

impl Tokens {
    fn piece(&mut self, piece: Piece) -> Result<Lines, ApiError> {
        let tokenizer = &self.app.writing()?.tokenizer;
        self.text.push(piece.delta, tokenizer)?;
        let mut lines = Lines {
            last: self.text.finish().is_some(),
            ..Lines::default()
        };
        let count = self.text.tokens().len();
        for at in self.sent..count {
            let is_last = lines.last && at + 1 == count;
            let line = json!({
                "index": at + 1,
                "token": token(&self.app, &self.text, at)?,
                "generated_text": is_last.then(|| self.text.text()),
                "details": is_last.then(|| self.details()),
            });
            lines.lines.push(sse::data(&line));
        }
        self.sent = count;
        Ok(lines)
    }

    fn details(&self) -> Value {
        let mut details = details(&self.text);
        details["input_length"] = json!(self.read);
        details
    }
}

impl Script for Tokens {
    type Output = Piece;

    fn lines(&mut self, event: Option<Event<Piece>>) -> Lines {
        let made = match event {
            Some(Event::Started | Event::Finished(_)) => Ok(Lines::default()),
            Some(Event::Output(piece)) => self.piece(piece),
            Some(Event::Failed(failure)) => Err(failed(&failure)),
            None => Err(ApiError::internal("the engine has ended")),
        };
        made.unwrap_or_else(|error| {
            let line = json!({ "error": error.message, "error_type": "generation" });
            Lines {
                lines: vec![sse::data(&line)],
                last: true,
            }
        })
    }
}
