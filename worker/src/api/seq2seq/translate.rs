//! `POST /translate`: `{"text", "source", "target"}`, languages by code or by name.
//!
//! `text` is a string or a list of strings, and `translation` of the reply is likewise. `num_beams`
//! and the other options of the search may stand beside them; `"stream": true` sends the parts of one
//! text as they come, in lines `{"translation": PART}` of server-sent events, and `[DONE]`.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use tidegate_agent::Slot;

use super::{Asked, Growing, Options, begin, empty, failed, whole};
use crate::api::app::App;
use crate::api::error::{ApiError, Fault};
use crate::api::inference::Arrived;
use crate::api::sse::{self, Lines, Script};
use crate::engine::Event;
use crate::engine::seq2seq::Piece;

#[derive(Deserialize)]
struct Request {
    text: Texts,
    source: String,
    target: String,
    stream: Option<bool>,
    #[serde(flatten)]
    options: Options,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected `text` to be a string or a list of strings"
)]
enum Texts {
    One(String),
    Several(Vec<String>),
}

/// Texts, read.
pub struct Translate {
    asked: Asked,
    /// Whether `text` was a string.
    single: bool,
    stream: bool,
}

pub fn read(app: &App, body: &Arrived) -> Result<Translate, ApiError> {
    let request: Request = body.json()?;
    let writing = app.writing()?;
    let prompt = writing
        .prompts
        .translation(&request.source, &request.target);
    let prompt = prompt.map_err(|problem| ApiError::new(Fault::Invalid, problem))?;
    let single = matches!(request.text, Texts::One(_));
    let texts = match request.text {
        Texts::One(text) => vec![text],
        Texts::Several(texts) => texts,
    };
    if texts.iter().any(String::is_empty) {
        return Err(empty("text"));
    }
    let stream = request.stream == Some(true);
    if stream && !single {
        let message = "`stream` is for one text; `text` is a list";
        return Err(ApiError::param(Fault::Invalid, "stream", message));
    }
    let texts: Vec<String> = texts
        .into_iter()
        .map(|text| prompt.clone() + &text)
        .collect();
    let texts = ("text", texts.iter().map(String::as_str));
    Ok(Translate {
        asked: request.options.tasks(app, texts, writing.answer_tokens)?,
        single,
        stream,
    })
}

impl Translate {
    pub async fn reply(
        self,
        app: Arc<App>,
        slot: Slot,
        deadline: Option<Instant>,
    ) -> Result<Response, ApiError> {
        let Asked { tasks, stops, read } = self.asked;
        let texts = tasks.iter().map(|_| Growing::new(stops.clone()));
        let mut texts: Vec<Growing> = texts.collect();
        let events = begin(&app, tasks, slot, deadline).await?;
        if self.stream {
            let text = texts.swap_remove(0);
            return Ok(sse::stream(events, Vec::new(), Parts { app, text }));
        }
        let texts = whole(&app, events, texts).await?;
        let written: usize = texts.iter().map(|text| text.tokens().len()).sum();
        let mut said = texts.iter().map(Growing::text);
        let translation = match self.single {
            true => json!(said.next()),
            false => json!(said.collect::<Vec<_>>()),
        };
        let reply = json!({
            "translation": translation,
            "model": app.name,
            "usage": { "prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written },
        });
        Ok(Json(reply).into_response())
    }
}

/// The parts of one text.
struct Parts {
    app: Arc<App>,
    text: Growing,
}

impl Parts {
    fn piece(&mut self, piece: Piece) -> Result<Lines, ApiError> {
        let new = self
            .text
            .push(piece.delta, &self.app.writing()?.tokenizer)?;
        let mut lines = Lines::default();
        if !new.is_empty() {
            lines.lines.push(sse::data(&json!({ "translation": new })));
        }
        if self.text.finish().is_some() {
            lines.lines.push("data: [DONE]\n\n".into());
            lines.last = true;
        }
        Ok(lines)
    }
}

impl Script for Parts {
    type Output = Piece;

    fn lines(&mut self, event: Option<Event<Piece>>) -> Lines {
        let made = match event {
            Some(Event::Started | Event::Finished(_)) => Ok(Lines::default()),
            Some(Event::Output(piece)) => self.piece(piece),
            Some(Event::Failed(failure)) => Err(failed(&failure)),
            None => Err(ApiError::internal("the engine has ended")),
        };
        made.unwrap_or_else(|error| Lines::failed(error, |error| json!({ "error": error.message })))
    }
}
