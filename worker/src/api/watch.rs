//! A request from its arrival to the last byte of its answer: its span, and its line in the log. A stream ends when
//! its last event is sent or its client leaves, long after its head.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use http_body::{Body as _, Frame, SizeHint};
use tidegate_protocol::REQUEST_ID_HEADER;
use tidegate_telemetry::Span;
use tracing::{debug, error};

use super::error::{ApiError, Fault};
use crate::trace;

/// A request that is being answered.
pub struct Watched {
    method: &'static str,
    id: Option<HeaderValue>,
    begun: Instant,
    span: Span,
    /// 0 until the head of the answer is made.
    status: u16,
    has_ended: bool,
}

/// Why an answer failed whose head was sent before; set in the extensions of such a response.
#[derive(Clone, Default)]
pub struct StreamFailure(Arc<OnceLock<(Fault, String)>>);

impl StreamFailure {
    /// Only the first counts.
    pub fn set(&self, fault: Fault, problem: String) {
        let _ = self.0.set((fault, problem));
    }
}

impl Watched {
    pub fn begin(
        method: &'static str,
        model: &str,
        headers: &HeaderMap,
        begun: Instant,
    ) -> Watched {
        Watched {
            method,
            id: headers.get(REQUEST_ID_HEADER).cloned(),
            begun,
            span: trace::begin(method, model, headers),
            status: 0,
            has_ended: false,
        }
    }

    pub fn span(&self) -> &Span {
        &self.span
    }

    /// It is refused, or failed.
    pub fn failed(&mut self, error: &ApiError) {
        self.note(error.fault, &error.message);
    }

    /// The response, with whose last byte the request ends.
    pub fn until_sent(mut self, response: Response) -> Response {
        self.status = response.status().as_u16();
        self.span
            .set("http.response.status_code", i64::from(self.status));
        if response.body().is_end_stream() {
            self.end();
            return response;
        }
        let failure = response.extensions().get::<StreamFailure>().cloned();
        response.map(|body| {
            Body::new(WatchedBody {
                body,
                failure,
                watched: self,
            })
        })
    }

    fn note(&mut self, fault: Fault, problem: &str) {
        self.span.fail(fault.label());
        if fault == Fault::Internal {
            let Watched { method, .. } = *self;
            error!(request_id = self.id(), method, problem, "a request failed");
        }
    }

    fn end(&mut self) {
        if !std::mem::replace(&mut self.has_ended, true) {
            self.say("answered");
        }
    }

    fn say(&self, what: &str) {
        let ms = self.begun.elapsed().as_millis() as u64;
        let Watched { method, status, .. } = *self;
        debug!(request_id = self.id(), method, status, ms, "{what}");
    }

    fn id(&self) -> &str {
        let id = self.id.as_ref().and_then(|id| id.to_str().ok());
        id.unwrap_or_default()
    }
}

impl Drop for Watched {
    /// A request that nobody ended was given up.
    fn drop(&mut self) {
        if !self.has_ended {
            self.span.fail("client_left");
            self.say("the client left");
        }
    }
}

struct WatchedBody {
    body: Body,
    failure: Option<StreamFailure>,
    watched: Watched,
}

impl WatchedBody {
    fn end(&mut self) {
        let failure = self.failure.take();
        if let Some((fault, problem)) = failure.as_ref().and_then(|failure| failure.0.get()) {
            self.watched.note(*fault, problem);
        }
        self.watched.end();
    }
}

impl http_body::Body for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let watched = self.get_mut();
        let frame = ready!(Pin::new(&mut watched.body).poll_frame(context));
        match &frame {
            Some(Err(error)) => {
                watched.watched.note(Fault::Internal, &error.to_string());
                watched.end();
            }
            Some(Ok(_)) if !watched.body.is_end_stream() => {}
            _ => watched.end(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
