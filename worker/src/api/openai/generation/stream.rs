//! Answers as server-sent events in OpenAI's chunks.

use axum::body::Bytes;
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;

use super::{Streaming, Usage, failed};
use crate::api::error::ApiError;
use crate::api::openai::error;
use crate::api::sse::{self, Lines, Script};
use crate::engine::Event;
use crate::engine::decoder::Piece;

/// How the chunks of a route look.
pub trait Shape: Send + Unpin + 'static {
    /// Before anything is computed.
    fn first(&mut self) -> Vec<Value>;

    /// For a part of an answer; none if there is nothing to show yet.
    fn chunks(&mut self, piece: Piece) -> Vec<Value>;

    /// A chunk without choices, for what all took.
    fn usage(&self) -> Value;
}

/// A response that sends chunks as they come.
pub fn stream<S: Shape>(
    events: Receiver<Event<Piece>>,
    mut shape: S,
    streaming: Streaming,
    usage: Usage,
) -> Response {
    let first = shape.first();
    let chunks = Chunks {
        shape,
        streaming,
        usage,
    };
    let first = chunks.lines_of(first);
    sse::stream(events, first, chunks)
}

struct Chunks<S> {
    shape: S,
    streaming: Streaming,
    usage: Usage,
}

impl<S: Shape> Chunks<S> {
    fn lines_of(&self, chunks: Vec<Value>) -> Vec<Bytes> {
        let with_usage = |mut chunk: Value| {
            if self.streaming.usage_always {
                chunk["usage"] = json!(self.usage);
            } else if self.streaming.usage_at_end {
                chunk["usage"] = Value::Null;
            }
            sse::data(&chunk)
        };
        chunks.into_iter().map(with_usage).collect()
    }

    fn end(&self) -> Lines {
        let mut lines = Vec::new();
        if self.streaming.usage_at_end {
            let mut chunk = self.shape.usage();
            chunk["usage"] = json!(self.usage);
            lines.push(sse::data(&chunk));
        }
        lines.push(Bytes::from_static(b"data: [DONE]\n\n"));
        Lines {
            lines,
            last: true,
            failure: None,
        }
    }
}

impl<S: Shape> Script for Chunks<S> {
    type Output = Piece;

    fn lines(&mut self, event: Option<Event<Piece>>) -> Lines {
        // The status was sent long ago: clients look for an event with an error.
        let fail = |problem: ApiError| Lines::failed(problem, error::body);
        match event {
            Some(Event::Started) => Lines::default(),
            Some(Event::Output(piece)) => {
                self.usage.add(&piece);
                let chunks = self.shape.chunks(piece);
                Lines {
                    lines: self.lines_of(chunks),
                    ..Lines::default()
                }
            }
            Some(Event::Finished(_)) => self.end(),
            Some(Event::Failed(failure)) => fail(failed(&failure)),
            None => fail(ApiError::internal("the engine has ended")),
        }
    }
}
