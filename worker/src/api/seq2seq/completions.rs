//! `POST /v1/completions` of a sequence-to-sequence model: the prompt is what is read, the
//! completion what is made of it.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_agent::Slot;

use super::{Asked, Growing, Options, Reason, begin, failed, whole};
use crate::api::app::App;
use crate::api::error::{ApiError, Fault};
use crate::api::inference::Arrived;
use crate::api::input::{Entry, Inputs};
use crate::api::openai;
use crate::api::sse::{self, Lines, Script};
use crate::engine::Event;
use crate::engine::seq2seq::Piece;

/// OpenAI's default.
const ANSWER_TOKENS: usize = 16;

#[derive(Deserialize)]
struct Request {
    model: Option<String>,
    prompt: Inputs,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    #[serde(flatten)]
    options: Options,
}

#[derive(Clone, Copy, Default, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// Prompts, read.
pub struct Completion {
    asked: Asked,
    form: Form,
    stream: bool,
    include_usage: bool,
}

struct Form {
    id: String,
    created: u64,
    model: String,
    read: usize,
}

pub fn read(app: &App, body: &Arrived) -> Result<Completion, ApiError> {
    let request: Request = body.json()?;
    openai::check_model(app, request.model.as_deref())?;
    let stream = request.stream == Some(true);
    if request.stream_options.is_some() && !stream {
        let message = "stream_options needs stream to be true";
        return Err(ApiError::param(Fault::Invalid, "stream_options", message));
    }
    let texts = request.prompt.0.iter().map(|entry| match entry {
        Entry::Text(text) => Ok(text.as_str()),
        Entry::Ids(_) => {
            let message = "a prompt of token ids is not supported by this model; send its text";
            Err(ApiError::param(Fault::Invalid, "prompt", message))
        }
    });
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    let texts = ("prompt", texts.into_iter());
    let asked = request.options.tasks(app, texts, ANSWER_TOKENS)?;
    Ok(Completion {
        form: Form {
            id: openai::id("cmpl"),
            created: openai::now(),
            model: app.name.clone(),
            read: asked.read,
        },
        asked,
        stream,
        include_usage: request.stream_options.unwrap_or_default().include_usage,
    })
}

impl Completion {
    /// Sends the texts, whole or as they come.
    pub async fn reply(
        self,
        app: Arc<App>,
        slot: Slot,
        deadline: Option<Instant>,
    ) -> Result<Response, ApiError> {
        let Completion { asked, form, .. } = self;
        let texts: Vec<Growing> = asked
            .tasks
            .iter()
            .map(|_| Growing::new(asked.stops.clone()))
            .collect();
        let events = begin(&app, asked.tasks, slot, deadline).await?;
        if self.stream {
            let chunks = Chunks {
                app,
                form,
                texts,
                include_usage: self.include_usage,
            };
            return Ok(sse::stream(events, Vec::new(), chunks));
        }
        let texts = whole(&app, events, texts).await?;
        let choice = |(index, text): (usize, &Growing)| {
            let reason = text.finish().map(reason);
            json!({ "index": index, "text": text.text(), "logprobs": null, "finish_reason": reason })
        };
        let choices: Vec<Value> = texts.iter().enumerate().map(choice).collect();
        let mut reply = form.chunk(json!(choices));
        reply["usage"] = form.usage(&texts);
        Ok(Json(reply).into_response())
    }
}

/// As OpenAI names it.
fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Length => "length",
        Reason::End | Reason::Stop => "stop",
    }
}

impl Form {
    fn chunk(&self, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }

    fn usage(&self, texts: &[Growing]) -> Value {
        let written: usize = texts.iter().map(|text| text.tokens().len()).sum();
        json!({
            "prompt_tokens": self.read,
            "completion_tokens": written,
            "total_tokens": self.read + written,
        })
    }
}

/// The chunks of a streamed completion.
struct Chunks {
    app: Arc<App>,
    form: Form,
    texts: Vec<Growing>,
    include_usage: bool,
}

impl Chunks {
    fn chunk(&self, choices: Value) -> Value {
        let mut chunk = self.form.chunk(choices);
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    fn piece(&mut self, piece: Piece) -> Result<Lines, ApiError> {
        let tokenizer = &self.app.writing()?.tokenizer;
        let Some(text) = self.texts.get_mut(piece.choice) else {
            return Ok(Lines::default());
        };
        let ended = text.finish().is_some();
        let new = text.push(piece.delta, tokenizer)?;
        let reason = text.finish().filter(|_| !ended).map(reason);
        let mut lines = Lines::default();
        if !new.is_empty() || reason.is_some() {
            let chunk = self.chunk(json!([{
                "index": piece.choice,
                "text": new,
                "logprobs": null,
                "finish_reason": reason,
            }]));
            lines.lines.push(sse::data(&chunk));
        }
        if self.texts.iter().all(|text| text.finish().is_some()) {
            self.end(&mut lines);
        }
        Ok(lines)
    }

    fn end(&self, lines: &mut Lines) {
        if self.include_usage {
            let mut chunk = self.form.chunk(json!([]));
            chunk["usage"] = self.form.usage(&self.texts);
            lines.lines.push(sse::data(&chunk));
        }
        lines.lines.push("data: [DONE]\n\n".into());
        lines.last = true;
    }
}

impl Script for Chunks {
    type Output = Piece;

    fn lines(&mut self, event: Option<Event<Piece>>) -> Lines {
        let made = match event {
            Some(Event::Started | Event::Finished(_)) => Ok(Lines::default()),
            Some(Event::Output(piece)) => self.piece(piece),
            Some(Event::Failed(failure)) => Err(failed(&failure)),
            None => Err(ApiError::internal("the engine has ended")),
        };
        // The status was sent long ago: clients look for an event like this.
        made.unwrap_or_else(|error| Lines::failed(error, openai::error_body))
    }
}
