//! The spans of a request in the proxy: the request, and in it the wait in the queue and each attempt.
//! Names of attributes are those of OpenTelemetry's semantic conventions where they have one.

use std::net::SocketAddr;

use http::StatusCode;
use tidegate_http::RequestId;
use tidegate_protocol::REQUEST_ID_HEADER;
use tidegate_queue::AttemptError;
use tidegate_telemetry::{Kind, Parent, Span, TRACE_PARENT, TRACE_STATE};

use super::request::Request;
use crate::answers::{Answers, RouteId};
use crate::backend::Answer;
use crate::dispatch::Place;

/// The span of a request that has arrived, which is nothing while traces are off, and the request's id.
pub fn begin(request: &Request, route: RouteId, answers: &Answers) -> (Span, RequestId) {
    let mut span = begin_span(request, route, answers);
    let id = id_of(request, &span);
    if span.is_recording() {
        span.set("tidegate.request.id", id.to_string());
    }
    (span, id)
}

/// The client's id of a request, or else that of its trace, or else one that is made here.
fn id_of(request: &Request, span: &Span) -> RequestId {
    let fields = request.fields();
    let stated = match fields.is_of_this_hop(REQUEST_ID_HEADER.as_bytes()) {
        true => None,
        false => fields.get(REQUEST_ID_HEADER),
    };
    let of_trace = || RequestId::stated(span.trace_id()?.as_bytes());
    (stated.and_then(RequestId::stated))
        .or_else(of_trace)
        .unwrap_or_else(RequestId::random)
}

fn begin_span(request: &Request, route: RouteId, answers: &Answers) -> Span {
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

/// One request to one worker, up to the last byte of its answer.
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
        Attempt::of(span)
    }

    /// No attempt at a worker.
    pub fn none() -> Attempt {
        Attempt::of(Span::none())
    }

    fn of(span: Span) -> Attempt {
        Attempt {
            span,
            outcome: "abandoned",
        }
    }

    pub fn span(&self) -> &Span {
        &self.span
    }

    /// The head of its answer has come, or why none will.
    pub fn begun(&mut self, answer: &Result<Answer, AttemptError>) {
        if !self.span.is_recording() {
            return;
        }
        match answer {
            Ok(answer) => {
                let status = answer.status();
                let code = i64::from(status.as_u16());
                self.span.set("http.response.status_code", code);
                if status.is_client_error() || status.is_server_error() {
                    self.span.fail(status.as_str().to_owned());
                }
            }
            Err(attempt_error) => self.failed(*attempt_error),
        }
    }

    /// The last byte of its answer has come.
    pub fn answered(mut self) {
        self.outcome = "answered";
    }

    /// No answer of it comes any more.
    pub fn failed(&mut self, attempt_error: AttemptError) {
        self.outcome = word(attempt_error);
        self.span.fail(self.outcome);
    }
}

impl Drop for Attempt {
    /// One that is dropped before the end of its answer was given up: the client left, its time was
    /// over, or another attempt was faster.
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
