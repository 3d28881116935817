//! One span: a piece of work with a begin, an end and attributes.

use std::borrow::Cow;
use std::time::SystemTime;

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, Tracer,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::Span as SdkSpan;

use crate::headers::{Parent, TraceHeaders};
use crate::tracer;

/// On which side of a call it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Answers a request of another process.
    Server,
    /// Asks another process.
    Client,
    /// Neither.
    Internal,
}

/// A span that ends when it is dropped; nothing while traces are off.
#[derive(Debug, Default)]
pub struct Span(Option<Box<SdkSpan>>);

impl Span {
    /// No span, whatever is asked of it.
    pub const fn none() -> Span {
        Span(None)
    }

    /// Begins a span of its own trace, or of the one that `parent` is in. Its name must have few values.
    pub fn begin(kind: Kind, name: impl Into<Cow<'static, str>>, parent: Option<Parent>) -> Span {
        Span::new(
            kind,
            name.into(),
            None,
            parent.map(|Parent(context)| context),
        )
    }

    /// The same, begun in the past.
    pub fn begin_at(
        kind: Kind,
        name: impl Into<Cow<'static, str>>,
        parent: Option<Parent>,
        at: SystemTime,
    ) -> Span {
        Span::new(
            kind,
            name.into(),
            Some(at),
            parent.map(|Parent(context)| context),
        )
    }

    /// Begins a span within this one.
    pub fn child(&self, kind: Kind, name: &'static str) -> Span {
        match &self.0 {
            Some(span) => Span::new(kind, name.into(), None, Some(span.span_context().clone())),
            None => Span(None),
        }
    }

    /// The same, begun in the past.
    pub fn child_at(&self, kind: Kind, name: &'static str, at: SystemTime) -> Span {
        match &self.0 {
            Some(span) => Span::new(
                kind,
                name.into(),
                Some(at),
                Some(span.span_context().clone()),
            ),
            None => Span(None),
        }
    }

    fn new(
        kind: Kind,
        name: Cow<'static, str>,
        at: Option<SystemTime>,
        parent: Option<SpanContext>,
    ) -> Span {
        let Some(tracer) = tracer() else {
            return Span(None);
        };
        let mut builder = SpanBuilder::from_name(name).with_kind(match kind {
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
            Kind::Internal => SpanKind::Internal,
        });
        builder.start_time = at;
        let context = match parent {
            Some(parent) => Context::new().with_remote_span_context(parent),
            None => Context::new(),
        };
        Span(Some(Box::new(tracer.build_with_context(builder, &context))))
    }

    /// Whether traces are on, so that this span is one or stands for one that is not sampled.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether attributes are kept: traces are on and this one is sampled.
    pub fn is_recording(&self) -> bool {
        self.0.as_ref().is_some_and(|span| span.is_recording())
    }

    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(key, value));
        }
    }

    /// Marks it as failed, of this type: one of few words.
    pub fn fail(&mut self, error_type: impl Into<Cow<'static, str>>) {
        if let Some(span) = &mut self.0 {
            let error_type = error_type.into();
            span.set_attribute(KeyValue::new("error.type", error_type.to_string()));
            span.set_status(Status::error(error_type));
        }
    }

    /// Ends it in the past.
    pub fn end_at(mut self, at: SystemTime) {
        if let Some(span) = &mut self.0 {
            span.end_with_timestamp(at);
        }
    }

    /// What the next process is told.
    pub fn headers(&self) -> Option<TraceHeaders> {
        let span = self.0.as_ref()?;
        Some(TraceHeaders::of(span.span_context()))
    }

    /// What spans of this process, begun elsewhere, are children of.
    pub fn as_parent(&self) -> Option<Parent> {
        let span = self.0.as_ref()?;
        Some(Parent(span.span_context().clone()))
    }

    /// The trace's id, in hexadecimal digits.
    pub fn trace_id(&self) -> Option<String> {
        let span = self.0.as_ref()?;
        Some(span.span_context().trace_id().to_string())
    }
}
