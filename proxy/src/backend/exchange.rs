//! Sending a request and reading the head of its answer, at the same time: a worker that refuses
//! a large body may answer before it has read it all.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::StatusCode;
use tidegate_http1::{Limits, ResponseHead};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use super::answer::Answer;
use crate::buffer::{self, PIECE};

/// What a worker may say before its body.
const LIMITS: Limits = Limits {
    bytes: 64 << 10,
    fields: 100,
};

/// A shorter body is sent together with its head.
const TOGETHER: usize = 64 << 10;

/// No answer began on this connection.
pub(super) struct NoAnswer {
    /// Whether the worker may have the request.
    pub(super) sent: bool,
}

pub(super) struct Exchange<'r> {
    stream: TcpStream,
    /// What is to be sent: all together, or head and body.
    parts: [&'r [u8]; 2],
    /// Bytes of the parts that were sent.
    sent: usize,
    send_failed: bool,
    inbound: Vec<u8>,
}

impl Exchange<'_> {
    pub(super) async fn ask(
        worker: SocketAddr,
        stream: TcpStream,
        head: &[u8],
        body: &[u8],
    ) -> Result<Answer, NoAnswer> {
        let together = match body.len() {
            1..=TOGETHER => [head, body].concat(),
            _ => Vec::new(),
        };
        let mut exchange = Exchange {
            stream,
            parts: match together.is_empty() {
                true => [head, body],
                false => [&together, &[]],
            },
            sent: 0,
            send_failed: false,
            inbound: Vec::new(),
        };
        let read = std::future::poll_fn(|context| exchange.poll(context)).await;
        let all_sent = exchange.is_sent();
        match read {
            Ok(head) => Ok(Answer::new(
                worker,
                exchange.stream,
                exchange.inbound,
                head,
                all_sent,
            )),
            Err(_) => Err(NoAnswer { sent: all_sent }),
        }
    }

    fn is_sent(&self) -> bool {
        self.sent == self.parts[0].len() + self.parts[1].len()
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<ResponseHead>> {
        self.poll_send(context);
        loop {
            if let Some(head) = final_head(&mut self.inbound)? {
                return Poll::Ready(Ok(head));
            }
            let read = buffer::poll_read(&mut self.stream, context, &mut self.inbound, PIECE);
            match std::task::ready!(read)? {
                0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                _ => continue,
            }
        }
    }

    /// Sends what can be sent now. A failure shows in reading as well, which may find an answer.
    fn poll_send(&mut self, context: &mut Context<'_>) {
        while !self.is_sent() && !self.send_failed {
            let first = self.parts[0].len();
            let rest = match self.sent.checked_sub(first) {
                None => &self.parts[0][self.sent..],
                Some(sent) => &self.parts[1][sent..],
            };
            match Pin::new(&mut self.stream).poll_write(context, rest) {
                Poll::Ready(Ok(sent)) if sent > 0 => self.sent += sent,
                Poll::Ready(_) => self.send_failed = true,
                Poll::Pending => return,
            }
        }
    }
}

/// The head of an answer, after those that only say that it is on its way, if it is whole. Nobody
/// asked for another protocol, so 101 is no answer.
pub(super) fn final_head(inbound: &mut Vec<u8>) -> io::Result<Option<ResponseHead>> {
    loop {
        let read = ResponseHead::read(inbound, &LIMITS);
        let Some(head) = read.map_err(io::Error::other)? else {
            return Ok(None);
        };
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(io::Error::other("a protocol that nobody asked for"));
        }
        if !head.status.is_informational() {
            return Ok(Some(head));
        }
        inbound.drain(..head.len());
    }
}
