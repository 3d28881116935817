//! Sequence-to-sequence models.

use std::sync::Arc;
use std::time::Instant;

use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_agent::Slot;

use super::shapes::{self, Reason};
use super::{ANSWER_TOKENS, Request};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::inference::Arrived;
use crate::api::seq2seq::{self, Asked, Growing, Options, begin, failed};
use crate::api::sse::{self, Lines, Script};
use crate::engine::Event;
use crate::engine::seq2seq::Piece;

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
    pub stream: bool,
}

pub fn read(app: &App, body: &Arrived) -> Result<Generate, ApiError> {
    let request: Request<Parameters> = body.json()?;
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
    ) -> Result<Value, ApiError> {
        let Asked { tasks, stops, .. } = self.asked;
        let events = begin(&app, tasks, slot, deadline).await?;
        let texts = seq2seq::whole(&app, events, vec![Growing::new(stops)]).await?;
        let Some(text) = texts.first() else {
            return Err(ApiError::internal("there is no text"));
        };
        let details = match self.details {
            true => {
                let mut details = details(text);
                details["prefill"] = json!([]);
                details["tokens"] = json!(tokens(&app, text)?);
                Some(details)
            }
            false => None,
        };
        Ok(shapes::whole(text.text(), details))
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
        seq2seq::Reason::End => Reason::End,
        seq2seq::Reason::Length => Reason::Length,
        seq2seq::Reason::Stop => Reason::Stop,
    });
    let mut details = shapes::details(reason, text.tokens().len(), None);
    details["score"] = json!(text.score());
    details
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
    let text_of = after.strip_prefix(before.as_str()).unwrap_or_default();
    let logprob = text.logprobs().get(at).copied();
    Ok(shapes::token(
        id,
        text_of,
        logprob,
        writing.ends.contains(&id),
    ))
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
            let token = token(&self.app, &self.text, at)?;
            let end = is_last.then(|| (self.text.text(), self.details()));
            let line = shapes::line(at + 1, token, end);
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
        made.unwrap_or_else(shapes::failed)
    }
}
