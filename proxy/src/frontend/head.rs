//! Writing the head of an answer to a client.

use std::cell::Cell;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;
use tidegate_http::RequestId;
use tidegate_http1::Version;
use tidegate_protocol::REQUEST_ID_HEADER;

/// What an answer has to know of its request and its connection.
#[derive(Clone, Debug)]
pub struct Terms {
    pub version: Version,
    /// A body would be taken for the next answer (RFC 9110, section 9.3.2).
    pub head_only: bool,
    /// Whether the connection stays open.
    pub persistent: bool,
    /// The origin that may read the answer in a browser.
    pub origin: Option<String>,
    /// By which client, proxy and worker name the request.
    pub id: RequestId,
}

/// A head that is being written.
pub struct HeadWriter(Vec<u8>);

impl HeadWriter {
    /// Begins with the status line; there is room for `body` bytes behind the head.
    pub fn new(status: StatusCode, body: usize) -> Self {
        let mut head = Vec::with_capacity(256 + body);
        let reason = status.canonical_reason().unwrap_or_default();
        let _ = write!(head, "HTTP/1.1 {} {reason}\r\n", status.as_str());
        HeadWriter(head)
    }

    pub fn field(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        self.raw_field(name.as_bytes(), value.as_ref())
    }

    pub fn raw_field(&mut self, name: &[u8], value: &[u8]) -> &mut Self {
        self.0.extend_from_slice(name);
        self.0.extend_from_slice(b": ");
        self.0.extend_from_slice(value);
        self.0.extend_from_slice(b"\r\n");
        self
    }

    pub fn length(&mut self, bytes: u64) -> &mut Self {
        let _ = write!(self.0, "content-length: {bytes}\r\n");
        self
    }

    pub fn date(&mut self) -> &mut Self {
        DATE.with(|cached| {
            let now = now();
            if cached.get().0 != now.as_secs() {
                cached.set((now.as_secs(), date(now)));
            }
            self.raw_field(b"date", &cached.get().1)
        })
    }

    /// The head with its empty line, on these terms.
    pub fn finish(mut self, terms: &Terms) -> Vec<u8> {
        self.field(REQUEST_ID_HEADER, terms.id.as_str());
        match (terms.version, terms.persistent) {
            (_, false) => self.field("connection", "close"),
            (Version::Http10, true) => self.field("connection", "keep-alive"),
            (Version::Http11, true) => &mut self,
        };
        if let Some(origin) = &terms.origin {
            self.field("access-control-allow-origin", origin);
            self.field(
                "access-control-expose-headers",
                "retry-after, retry-after-ms, x-request-id",
            );
            self.field("vary", "origin");
        }
        self.0.extend_from_slice(b"\r\n");
        self.0
    }
}

thread_local! {
    static DATE: Cell<(u64, [u8; 29])> = const { Cell::new((0, [b' '; 29])) };
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// As RFC 9110, section 5.6.7, has it.
fn date(since_1970: Duration) -> [u8; 29] {
    let text = httpdate::fmt_http_date(UNIX_EPOCH + since_1970);
    text.as_bytes().try_into().unwrap_or([b' '; 29])
}
