//! Answers as server-sent events (the WHATWG's HTML standard, section 9.2), in OpenAI's chunks.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use http_body::Frame;
use serde_json::Value;
use tokio::sync::mpsc::Receiver;

use super::{Streaming, Usage, failed};
use crate::api::openai::error;
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

/// A response that sends chunks as they come. Dropping it, as when the client leaves, cancels what
/// is not computed yet.
pub fn stream<S: Shape>(
    events: Receiver<Event<Piece>>,
    mut shape: S,
    streaming: Streaming,
    usage: Usage,
) -> Response {
    let first = shape.first();
    let mut chunks = Chunks {
        events,
        shape,
        streaming,
        usage,
        ready: VecDeque::new(),
        ended: false,
    };
    chunks.put(first);
    let mut response = Response::new(Body::new(chunks));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Reverse proxies of nginx's kind would gather chunks otherwise.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct Chunks<S> {
    events: Receiver<Event<Piece>>,
    shape: S,
    streaming: Streaming,
    usage: Usage,
    ready: VecDeque<Bytes>,
    ended: bool,
}

impl<S: Shape> Chunks<S> {
    fn put(&mut self, chunks: Vec<Value>) {
        for mut chunk in chunks {
            if self.streaming.usage_always {
                chunk["usage"] = serde_json::json!(self.usage);
            } else if self.streaming.usage_at_end {
                chunk["usage"] = Value::Null;
            }
            self.ready.push_back(event(&chunk));
        }
    }

    fn take(&mut self, next: Option<Event<Piece>>) {
        match next {
            Some(Event::Started) => {}
            Some(Event::Output(piece)) => {
                self.usage.add(&piece);
                let chunks = self.shape.chunks(piece);
                self.put(chunks);
            }
            Some(Event::Finished(_)) => {
                if self.streaming.usage_at_end {
                    let mut chunk = self.shape.usage();
                    chunk["usage"] = serde_json::json!(self.usage);
                    self.ready.push_back(event(&chunk));
                }
                self.ready
                    .push_back(Bytes::from_static(b"data: [DONE]\n\n"));
                self.ended = true;
            }
            Some(Event::Failed(failure)) => self.fail(error::body(failed(&failure))),
            None => {
                let failure = crate::api::error::ApiError::internal("the engine has ended");
                self.fail(error::body(failure));
            }
        }
    }

    /// The status was sent long ago: clients look for an event like this.
    fn fail(&mut self, error: Value) {
        self.ready.push_back(event(&error));
        self.ended = true;
    }
}

fn event(data: &Value) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}

impl<S: Shape> http_body::Body for Chunks<S> {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let chunks = self.get_mut();
        loop {
            if let Some(ready) = chunks.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(ready))));
            }
            if chunks.ended {
                return Poll::Ready(None);
            }
            match chunks.events.poll_recv(context) {
                Poll::Ready(next) => chunks.take(next),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
