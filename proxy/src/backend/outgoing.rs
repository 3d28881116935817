//! A request as workers get it: written once, with new framing, and only with listed fields.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tidegate_http::RequestId;
use tidegate_http1::Fields;
use tidegate_protocol::{PROXY_HEADER, REQUEST_ID_HEADER, TIMEOUT_HEADER};
use tidegate_telemetry::{Span, TRACE_PARENT, TRACE_STATE};

/// The only fields of a client that reach a worker.
const PASSED_ON: [&str; 4] = ["accept", "content-type", TRACE_PARENT, TRACE_STATE];

/// A longer value of one of them is left out, so that waiting requests stay as small as the queue
/// counts them.
const FIELD_BYTES: usize = 1024;

/// A request as every worker gets it.
pub struct Outgoing {
    /// Request line and fields, without the empty line.
    head: Vec<u8>,
    body: Bytes,
    id: RequestId,
}

/// The fields by which a worker knows this proxy.
pub struct Introduction(Vec<u8>);

impl Outgoing {
    /// Takes over what is meant for the worker and nothing else. `HEAD` is asked as `GET`. While
    /// traces are on, each attempt has a span of its own in place of the client's.
    pub fn new(
        method: &Method,
        path: &str,
        client: Fields,
        body: Bytes,
        span: &Span,
        id: RequestId,
    ) -> Self {
        let method = match *method {
            Method::HEAD => &Method::GET,
            _ => method,
        };
        let mut head = Vec::with_capacity(512);
        let _ = write!(
            head,
            "{method} {path} HTTP/1.1\r\ncontent-length: {}\r\n",
            body.len()
        );
        for (name, value) in client.iter() {
            let listed = PASSED_ON
                .into_iter()
                .find(|listed| name.eq_ignore_ascii_case(listed.as_bytes()));
            let Some(listed) = listed.filter(|_| value.len() <= FIELD_BYTES) else {
                continue;
            };
            let replaced = span.is_on() && [TRACE_PARENT, TRACE_STATE].contains(&listed);
            if !replaced && !client.is_of_this_hop(name) {
                add(&mut head, listed, value);
            }
        }
        add(&mut head, REQUEST_ID_HEADER, id.as_str().as_bytes());
        Outgoing { head, body, id }
    }

    pub fn id(&self) -> &RequestId {
        &self.id
    }

    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The whole head for one worker, whose client waits for `left`.
    pub(super) fn head(
        &self,
        by: &Introduction,
        worker: SocketAddr,
        left: Duration,
        attempt: &Span,
    ) -> Vec<u8> {
        let mut head = Vec::with_capacity(self.head.len() + by.0.len() + 96);
        head.extend_from_slice(&self.head);
        head.extend_from_slice(&by.0);
        if let Some(trace) = attempt.headers() {
            add(&mut head, TRACE_PARENT, trace.parent.as_bytes());
            if let Some(state) = trace.state {
                add(&mut head, TRACE_STATE, state.as_bytes());
            }
        }
        let left = left.as_millis();
        let _ = write!(head, "host: {worker}\r\n{TIMEOUT_HEADER}: {left}\r\n\r\n");
        head
    }
}

impl Introduction {
    pub(super) fn new(proxy: &str, token: &str) -> Self {
        let mut fields = Vec::new();
        add(
            &mut fields,
            "authorization",
            format!("Bearer {token}").as_bytes(),
        );
        add(&mut fields, PROXY_HEADER, proxy.as_bytes());
        Introduction(fields)
    }
}

fn add(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    head.extend_from_slice(name.as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}
