//! Answers as server-sent events (the WHATWG's HTML standard, section 9.2), written as the engine's
//! events come.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use http_body::Frame;
use serde_json::Value;
use tokio::sync::mpsc::Receiver;

use super::error::{ApiError, Fault};
use super::watch::StreamFailure;
use crate::engine::Event;

/// What a route says of the engine's events.
pub trait Script: Send + Unpin + 'static {
    type Output: Send + 'static;

    /// What is sent for an event, which is none if the engine has ended too soon.
    fn lines(&mut self, event: Option<Event<Self::Output>>) -> Lines;
}

/// What is sent next.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lines {
    pub lines: Vec<Bytes>,
    /// Whether nothing follows.
    pub last: bool,
    /// Why the answer is not whole.
    pub failure: Option<(Fault, String)>,
}

impl Lines {
    /// The end of a stream that failed, whose clients read what `say` makes of it.
    pub fn failed(error: ApiError, say: impl FnOnce(ApiError) -> Value) -> Lines {
        Lines {
            failure: Some((error.fault, error.message.clone())),
            lines: vec![data(&say(error))],
            last: true,
        }
    }
}

/// A line of data.
pub fn data(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}

/// A response that sends the first lines at once and others as they come. Dropping it, as when the client leaves, cancels what
/// is not computed yet.
pub fn stream<S: Script>(
    events: Receiver<Event<S::Output>>,
    first: Vec<Bytes>,
    script: S,
) -> Response {
    let failure = StreamFailure::default();
    let body = Stream {
        events,
        script,
        ready: first.into(),
        ended: false,
        failure: failure.clone(),
    };
    let mut response = Response::new(Body::new(body));
    response.extensions_mut().insert(failure);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Reverse proxies of nginx's kind would gather lines otherwise.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct Stream<S: Script> {
    events: Receiver<Event<S::Output>>,
    script: S,
    ready: VecDeque<Bytes>,
    ended: bool,
    failure: StreamFailure,
}

impl<S: Script> http_body::Body for Stream<S> {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let stream = self.get_mut();
        loop {
            if let Some(ready) = stream.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(ready))));
            }
            if stream.ended {
                return Poll::Ready(None);
            }
            match stream.events.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(event) => {
                    let Lines {
                        lines,
                        last,
                        failure,
                    } = stream.script.lines(event);
                    stream.ready.extend(lines);
                    if let Some((fault, problem)) = failure {
                        stream.failure.set(fault, problem);
                    }
                    stream.ended = last;
                    if last {
                        // What is still computed of it is not wanted any more.
                        stream.events.close();
                    }
                }
            }
        }
    }
}
