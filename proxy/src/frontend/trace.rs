//! The spans of a request in the proxy: the request, and in it the wait in the queue and each attempt.
//! Names of attributes are those of OpenTelemetry's semantic conventions where they have one.

use std::net::SocketAddr;

use http::StatusCode;
use tidegate_queue::AttemptError;
use tidegate_telemetry::{Kind, Parent, Span, TRACE_PARENT, TRACE_STATE};

use super::request::Request;
use crate::answers::{Answers, RouteId};
use crate::backend::{Answer, REQUEST_ID};
use crate::dispatch::Place;

/// The span of a request that has arrived; nothing while traces are off.
pub fn begin(request: &Request, route: RouteId, answers: &Answers) -> Span {
    if !tidegate_telemetry::is_on() {
        return Span::none();
    }
    let fields = request.fields();
    let parent = Parent::of(fields.get(TRACE_PARENT), fields.get(TRACE_STATE));
    let name = answers.name(route);
    let path = name.split_once(' ').map(|(_, path)| path.to_owned());
    let mut span = Span::begin(Kind::Server, name, parent);
    if !span.is_recording() {
        return span;
    }
    span.set("http.request.method", request.method().to_string());
    span.set("url.scheme", "http");
    // A path that is known is a route; any other is the client's.
    if let Some(path) = path {
        span.set("url.path", request.path().to_owned());
        span.set("http.route", path);
    }
    let id = request.text(REQUEST_ID).map(str::to_owned);
    if let Some(id) = id.or_else(|| span.trace_id()) {
        span.set("tidegate.request.id", id);
    }
    span
}

/// The request has a place in a queue.
pub fn entered(span: &mut Span, place: &Place) {
    if span.is_recording() {
        span.set("gen_ai.request.model", place.model().to_owned());
        span.set("tidegate.class", place.class().to_owned());
    }
}

/// The client is answered with this status.
pub fn answered(span: &mut Span, status: StatusCode) {
    if span.is_recording() {
        span.set("http.response.status_code", i64::from(status.as_u16()));
        if status.is_server_error() {
            span.fail(status.as_str().to_owned());
        }
    }
}

/// One request to one worker.
pub struct Attempt {
    span: Span,
    outcome: &'static str,
}

impl Attempt {
    pub fn begin(request: &Span, worker: SocketAddr) -> Attempt {
        let mut span = request.child(Kind::Client, "attempt");
        if span.is_recording() {
            span.set("server.address", worker.ip().to_string());
            span.set("server.port", i64::from(worker.port()));
        }
        Attempt {
            span,
            outcome: "abandoned",
        }
    }

    pub fn span(&self) -> &Span {
        &self.span
    }

    /// What came of it.
    pub fn ended(&mut self, answer: &Result<Answer, AttemptError>) {
        if !self.span.is_recording() {
            return;
        }
        match answer {
            Ok(answer) => {
                self.outcome = "answered";
                let status = answer.status();
                let code = i64::from(status.as_u16());
                self.span.set("http.response.status_code", code);
                if status.is_client_error() || status.is_server_error() {
                    self.span.fail(status.as_str().to_owned());
                }
            }
            Err(attempt_error) => {
                self.outcome = word(*attempt_error);
                self.span.fail(self.outcome);
            }
        }
    }
}

impl Drop for Attempt {
    /// One that is dropped before its answer was given up: the client left, its time was over, or
    /// another attempt was faster.
    fn drop(&mut self) {
        if self.span.is_recording() {
            self.span.set("tidegate.attempt.outcome", self.outcome);
        }
    }
}

fn word(attempt_error: AttemptError) -> &'static str {
    match attempt_error {
        AttemptError::Full => "full",
        AttemptError::NotReady => "not_ready",
        AttemptError::Unreachable => "unreachable",
        AttemptError::Died => "died",
    }
}
