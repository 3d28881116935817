//! A connection of which hyper sees only what RFC 9110 and RFC 9112 allow.
//!
//! hyper reads more than they do: bare line feeds, equal lengths, a length beside a coding, any `Host`
//! or none. Two readers of one connection could so take one request for two. What comes is therefore
//! read here first, by the same parser as at the clients' side of the proxy. The bytes of a valid request are
//! passed on as they came. A head that is refused is replaced by [`FAULTY`], a method that no client can
//! send, so that it is answered in its turn, behind the requests before it; a body that is refused
//! breaks off. Nothing behind either is read.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tidegate_http1::{BodyDecoder, Fault, Limits, RequestReader, asked_path};
use tidegate_protocol::api::Dialect;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::patient::Patient;

/// The method of the request that stands for one that is refused.
pub const FAULTY: &str = "FAULTY";

const REPLACEMENT: &[u8] = b"FAULTY / HTTP/1.1\r\nhost: -\r\nconnection: close\r\n\r\n";

/// Most bytes of one read.
const PIECE: usize = 16 << 10;

/// What is wrong with the last request of a connection.
#[derive(Clone, Debug, Default)]
pub struct Found(Arc<Faults>);

#[derive(Debug, Default)]
struct Faults {
    head: OnceLock<(Fault, Dialect)>,
    body: OnceLock<Fault>,
}

impl Found {
    /// In the head that [`FAULTY`] stands for, and the family of the path that it seems to ask for.
    pub fn in_head(&self) -> Option<(Fault, Dialect)> {
        self.0.head.get().copied()
    }

    /// In the body of the request that is served.
    pub fn in_body(&self) -> Option<Fault> {
        self.0.body.get().copied()
    }
}

/// A stream, and what was read from it.
pub struct Strict {
    stream: Patient,
    limits: Limits,
    found: Found,
    heads: RequestReader,
    /// The body that is read; `None` before the first one.
    body: Option<BodyDecoder>,
    /// Read from the stream and not passed on.
    inbound: Vec<u8>,
    /// Bytes at its beginning that were found valid.
    valid: usize,
    /// What a chunked body holds, which nobody needs here.
    data: Vec<u8>,
}

impl Strict {
    pub fn new(stream: Patient, limits: Limits, found: Found) -> Self {
        Strict {
            stream,
            limits,
            found,
            heads: RequestReader::default(),
            body: None,
            inbound: Vec::new(),
            valid: 0,
            data: Vec::new(),
        }
    }

    fn has_ended(&self) -> bool {
        self.found.in_head().is_some() || self.found.in_body().is_some()
    }

    /// Whether the client may be in the middle of a request.
    fn has_more(&self) -> bool {
        let in_body = self.body.as_ref().is_some_and(|body| !body.is_done());
        self.has_ended() || in_body || !self.inbound.is_empty()
    }

    /// Looks at what was read. A head is found valid alone, without what comes behind it, so that a
    /// body is read only for the request that is served.
    fn check(&mut self) -> io::Result<()> {
        match self.body.as_mut().filter(|body| !body.is_done()) {
            Some(body) => match read_body(body, &self.inbound, &mut self.data) {
                Ok(length) => self.valid = length,
                Err(fault) => {
                    let _ = self.found.0.body.set(fault);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, fault));
                }
            },
            None => match self.heads.read(&self.inbound, &self.limits) {
                Ok(None) => {}
                Ok(Some(head)) => {
                    self.valid = head.len();
                    self.body = Some(BodyDecoder::new(head.framing));
                    self.heads = RequestReader::default();
                }
                Err(fault) => {
                    let dialect = Dialect::of(asked_path(&self.inbound));
                    let _ = self.found.0.head.set((fault, dialect));
                    self.inbound = REPLACEMENT.to_vec();
                    self.valid = REPLACEMENT.len();
                }
            },
        }
        Ok(())
    }

    /// Passes on what is valid, as far as there is room.
    fn pass_on(&mut self, buffer: &mut ReadBuf<'_>) {
        let length = self.valid.min(buffer.remaining());
        buffer.put_slice(&self.inbound[..length]);
        self.inbound.drain(..length);
        self.valid -= length;
        if self.inbound.is_empty() {
            // An idle connection holds nothing.
            self.inbound = Vec::new();
        }
    }
}

/// How many of these bytes belong to a body.
fn read_body(body: &mut BodyDecoder, inbound: &[u8], data: &mut Vec<u8>) -> Result<usize, Fault> {
    match body.left() {
        Some(left) => {
            let length =
                usize::try_from(left).map_or(inbound.len(), |left| left.min(inbound.len()));
            body.advance(length);
            Ok(length)
        }
        None => {
            data.clear();
            body.read(inbound, data)
        }
    }
}

impl Strict {
    /// Reads more; false at the end of the stream.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let before = self.inbound.len();
        self.inbound.resize(before + PIECE, 0);
        let mut buffer = ReadBuf::new(&mut self.inbound[before..]);
        let read = Pin::new(&mut self.stream).poll_read(context, &mut buffer);
        let length = buffer.filled().len();
        self.inbound.truncate(before + length);
        if self.inbound.is_empty() {
            self.inbound = Vec::new();
        }
        ready!(read)?;
        Poll::Ready(Ok(length > 0))
    }
}

impl AsyncRead for Strict {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.valid > 0 {
                self.pass_on(buffer);
                return Poll::Ready(Ok(()));
            }
            if self.has_ended() {
                // The connection is closed behind the answer; until then nobody is missed.
                return Poll::Pending;
            }
            if !self.inbound.is_empty() {
                self.check()?;
            }
            if self.valid == 0 && !ready!(self.poll_fill(context))? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Strict {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let has_more = self.has_more();
        self.stream.poll_end(context, has_more)
    }
}
