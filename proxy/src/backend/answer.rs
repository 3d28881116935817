//! A worker's answer, from its head on.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use http::StatusCode;
use tidegate_http1::{BodyDecoder, Fields, Framing, ResponseHead};
use tokio::net::TcpStream;

use crate::buffer::{self, PIECE};

/// An answer whose head was read, and the connection on which the rest comes.
pub struct Answer {
    worker: SocketAddr,
    stream: TcpStream,
    head: ResponseHead,
    head_bytes: Vec<u8>,
    body: BodyDecoder,
    /// Read from the connection and not decoded yet.
    inbound: Vec<u8>,
    /// Whether the connection is fit for another request once this body is read.
    reusable: bool,
    /// Whether there is nothing more to read.
    ended: bool,
}

impl Answer {
    /// `bytes` is all that was read, the head first.
    pub(super) fn new(
        worker: SocketAddr,
        stream: TcpStream,
        mut bytes: Vec<u8>,
        head: ResponseHead,
        request_sent: bool,
    ) -> Self {
        let inbound = bytes.split_off(head.len());
        let body = BodyDecoder::new(head.framing);
        Answer {
            worker,
            stream,
            reusable: head.persistent && request_sent,
            ended: body.is_done(),
            body,
            head,
            head_bytes: bytes,
            inbound,
        }
    }

    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    pub fn fields(&self) -> Fields<'_> {
        self.head.fields(&self.head_bytes)
    }

    /// Bytes of the whole body, where the worker said so.
    pub fn length(&self) -> Option<u64> {
        match self.head.framing {
            Framing::Length(length) => Some(length),
            _ => None,
        }
    }

    /// Whether the body was read to its end.
    pub fn is_done(&self) -> bool {
        self.ended
    }

    /// Adds the next piece of the body to `data`, which may be nothing.
    pub async fn read(&mut self, data: &mut Vec<u8>) -> io::Result<()> {
        std::future::poll_fn(|context| self.poll_read(context, data)).await
    }

    /// As [`Answer::read`]. An error is an answer that broke off or is no HTTP.
    pub fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        data: &mut Vec<u8>,
    ) -> Poll<io::Result<()>> {
        if self.inbound.is_empty() {
            let read = buffer::poll_read(&mut self.stream, context, &mut self.inbound, PIECE);
            if ready!(read)? == 0 {
                self.ended = true;
                self.reusable = false;
                return Poll::Ready(match self.body.may_end() {
                    true => Ok(()),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                });
            }
        }
        let used = self
            .body
            .read(&self.inbound, data)
            .map_err(io::Error::other)?;
        self.ended = self.body.is_done();
        // What comes behind an answer belongs to no request.
        self.reusable &= used == self.inbound.len();
        self.inbound.clear();
        Poll::Ready(Ok(()))
    }

    /// The connection, if another request may be sent on it.
    pub(super) fn into_connection(self) -> Option<(SocketAddr, TcpStream)> {
        let fit = self.ended && self.reusable && self.inbound.is_empty();
        fit.then_some((self.worker, self.stream))
    }
}
