//! The spans of a request in the worker: the request, and in it tokenizing, the wait for a batch or a
//! step, and computing. Names of attributes are those of OpenTelemetry's semantic conventions where they
//! have one.

use std::time::{Duration, SystemTime};

use axum::http::HeaderMap;
use tidegate_protocol::REQUEST_ID_HEADER;
use tidegate_telemetry::{Kind, Parent, Span, TRACE_PARENT, TRACE_STATE};

use crate::engine::Usage;

/// The span of a request that has arrived; nothing while traces are off.
pub fn begin(method: &'static str, model: &str, headers: &HeaderMap) -> Span {
    if !tidegate_telemetry::is_on() {
        return Span::none();
    }
    let field = |name: &str| headers.get(name).map(|value| value.as_bytes());
    let parent = Parent::of(field(TRACE_PARENT), field(TRACE_STATE));
    let mut span = Span::begin(Kind::Server, method, parent);
    if span.is_recording() {
        span.set("gen_ai.operation.name", method);
        span.set("gen_ai.request.model", model.to_owned());
        if let Some(id) = headers
            .get(REQUEST_ID_HEADER)
            .and_then(|id| id.to_str().ok())
        {
            span.set("tidegate.request.id", id.to_owned());
        }
    }
    span
}

/// The request's texts were read into tokens just now.
pub fn tokenized(span: &Span, tokens: usize, took: Duration) {
    if !span.is_recording() {
        return;
    }
    let now = SystemTime::now();
    let mut tokenizing = span.child_at(Kind::Internal, "tokenize", now - took);
    tokenizing.set("gen_ai.usage.input_tokens", tokens as i64);
    tokenizing.end_at(now);
}

/// A request was computed to its end just now; its last batch had so many texts, where there are
/// batches of texts.
pub fn computed(parent: Option<&Parent>, usage: &Usage, batch_texts: Option<usize>) {
    let Some(parent) = parent else {
        return;
    };
    let now = SystemTime::now();
    let begun = now - usage.computed;
    let begin = |name, at| Span::begin_at(Kind::Internal, name, Some(parent.clone()), at);
    begin("queue", begun - usage.waited).end_at(begun);
    let mut computing = begin("compute", begun);
    computing.set("gen_ai.usage.input_tokens", usage.read as i64);
    if usage.written > 0 {
        computing.set("gen_ai.usage.output_tokens", usage.written as i64);
    }
    if let Some(texts) = batch_texts {
        computing.set("tidegate.batch.texts", texts as i64);
    }
    computing.end_at(now);
}
