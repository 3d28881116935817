//! The answers to a conversation: whole, or chunk by chunk.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tidegate_agent::Slot;
use tidegate_generation::Finish;

use super::Chat;
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::openai::generation::{
    self, CallReader, Part, Shape, Tools, Usage, Whole, chat_logprobs, finish_reason,
};
use crate::engine::decoder::Piece;

/// How answers are sent.
pub struct Manner {
    pub id: String,
    pub created: u64,
    pub model: String,
    pub logprobs: bool,
    pub tools: Tools,
    pub choices: usize,
}

impl Chat {
    /// Sends the answers, whole or as they come.
    pub async fn reply(
        self,
        app: Arc<App>,
        slot: Slot,
        deadline: Option<Instant>,
    ) -> Result<Response, ApiError> {
        let Chat { asked, manner } = self;
        let usage = Usage::of_prompt(asked.prompt_tokens);
        let streaming = asked.streaming;
        let events = generation::begin(&app, asked, slot, deadline).await?;
        match streaming {
            Some(streaming) => {
                let readers = (0..manner.choices).map(|_| manner.tools.reader());
                let chunks = Chunks {
                    readers: readers.collect(),
                    app,
                    manner,
                };
                Ok(generation::stream(events, chunks, streaming, usage))
            }
            None => {
                let (answers, usage) = generation::whole(events, manner.choices, usage).await?;
                let choices = answers.into_iter().enumerate();
                let choices: Result<Vec<_>, _> = choices
                    .map(|(index, answer)| manner.choice(&app, index, answer))
                    .collect();
                Ok(Json(json!({
                    "id": manner.id,
                    "object": "chat.completion",
                    "created": manner.created,
                    "model": manner.model,
                    "choices": choices?,
                    "usage": usage,
                    "system_fingerprint": null,
                }))
                .into_response())
            }
        }
    }
}

impl Manner {
    fn choice(&self, app: &App, index: usize, answer: Whole) -> Result<Value, ApiError> {
        let (text, calls) = match self.tools.reader() {
            Some(reader) => reader.whole(&answer.text),
            None => (answer.text, Vec::new()),
        };
        let mut message = json!({ "role": "assistant", "content": text, "refusal": null });
        let reason = answer.finish.as_ref();
        let reason = reason.map_or("stop", |finish| reason_of(finish, !calls.is_empty()));
        if !calls.is_empty() {
            message["tool_calls"] = calls.iter().map(|call| call.json()).collect();
            if text.is_empty() {
                message["content"] = Value::Null;
            }
        }
        let logprobs = match self.logprobs {
            true => chat_logprobs(&app.generating()?.tokenizer, &answer.scored),
            false => Value::Null,
        };
        Ok(
            json!({ "index": index, "message": message, "logprobs": logprobs, "finish_reason": reason }),
        )
    }

    fn chunk(&self, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": null,
            "choices": choices,
        })
    }

    fn delta(&self, index: usize, delta: Value, logprobs: Value, finish: Option<&str>) -> Value {
        self.chunk(json!([{ "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish }]))
    }
}

/// An answer that was cut is not one that calls, whatever stands in it.
fn reason_of(finish: &Finish, calls: bool) -> &'static str {
    match (finish, calls) {
        (Finish::End | Finish::Stop(_), true) => "tool_calls",
        (finish, _) => finish_reason(finish),
    }
}

/// The chunks of a streamed chat.
struct Chunks {
    app: Arc<App>,
    manner: Manner,
    /// One an answer, where tools are offered.
    readers: Vec<Option<CallReader>>,
}

impl Chunks {
    /// What of an answer can be sent, as deltas, and whether it has called.
    fn deltas(&mut self, choice: usize, text: String, ended: bool) -> (Vec<Value>, bool) {
        let content = |text: String| json!({ "content": text });
        let Some(Some(reader)) = self.readers.get_mut(choice) else {
            let text = (!text.is_empty()).then(|| content(text));
            return (text.into_iter().collect(), false);
        };
        let mut parts = reader.push(&text);
        if ended {
            parts.extend(reader.end());
        }
        let delta = |part| match part {
            Part::Text(text) => content(text),
            Part::Call { index, call } => {
                let mut call = call.json();
                call["index"] = json!(index);
                json!({ "tool_calls": [call] })
            }
            Part::Arguments { index, text } => {
                json!({ "tool_calls": [{ "index": index, "function": { "arguments": text } }] })
            }
        };
        (parts.into_iter().map(delta).collect(), reader.calls() > 0)
    }
}

impl Shape for Chunks {
    fn first(&mut self) -> Vec<Value> {
        let role = |index| {
            let delta = json!({ "role": "assistant", "content": "", "refusal": null });
            self.manner.delta(index, delta, Value::Null, None)
        };
        (0..self.manner.choices).map(role).collect()
    }

    fn chunks(&mut self, piece: Piece) -> Vec<Value> {
        let Piece { choice, delta, .. } = piece;
        let (mut deltas, calls) = self.deltas(choice, delta.text, delta.finish.is_some());
        let mut logprobs = match (&self.manner.logprobs, self.app.generating()) {
            (true, Ok(generating)) if !delta.scored.is_empty() => {
                chat_logprobs(&generating.tokenizer, &delta.scored)
            }
            _ => Value::Null,
        };
        if deltas.is_empty() && !logprobs.is_null() {
            deltas.push(json!({ "content": "" }));
        }
        let manner = &self.manner;
        let shown = deltas
            .into_iter()
            .map(|delta| manner.delta(choice, delta, logprobs.take(), None));
        let mut chunks: Vec<Value> = shown.collect();
        if let Some(finish) = &delta.finish
            && !matches!(finish, Finish::Failed(_))
        {
            let reason = reason_of(finish, calls);
            chunks.push(manner.delta(choice, json!({}), Value::Null, Some(reason)));
        }
        chunks
    }

    fn usage(&self) -> Value {
        self.manner.chunk(json!([]))
    }
}
