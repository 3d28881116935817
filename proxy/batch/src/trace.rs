//! The spans of a line: the line, from its turn to its answer, and in it each request to the proxy.

use reqwest::{RequestBuilder, StatusCode};
use tidegate_telemetry::{Kind, Span, TRACE_PARENT, TRACE_STATE};

use crate::input::Line;

/// The span of a line, with which a trace begins; nothing while traces are off.
pub fn line(line: &Line, batch: &str) -> Span {
    let mut span = Span::begin(Kind::Internal, "batch line", None);
    if span.is_recording() {
        span.set("tidegate.batch.id", batch.to_owned());
        span.set("tidegate.batch.line", i64::from(line.number));
        span.set("url.path", line.endpoint.path());
    }
    span
}

/// The request, which tells the proxy of its span.
pub fn told(request: RequestBuilder, span: &Span) -> RequestBuilder {
    let Some(trace) = span.headers() else {
        return request;
    };
    let request = request.header(TRACE_PARENT, trace.parent);
    match trace.state {
        Some(state) => request.header(TRACE_STATE, state),
        None => request,
    }
}

/// The proxy answered with this status.
pub fn answered(span: &mut Span, status: StatusCode) {
    if span.is_recording() {
        span.set("http.request.method", "POST");
        span.set("http.response.status_code", i64::from(status.as_u16()));
        if status.is_client_error() || status.is_server_error() {
            span.fail(status.as_str().to_owned());
        }
    }
}
