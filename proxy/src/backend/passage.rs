//! A request that is passed on while its client still sends it, up to the head of its answer.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tidegate_http1::ResponseHead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use super::answer::Answer;
use super::exchange::final_head;
use crate::buffer::{self, PIECE};

/// One request on its way. What is dropped unfinished takes its connection with it.
pub struct Passage {
    to: SocketAddr,
    stream: TcpStream,
    outbound: Vec<u8>,
    sent: usize,
    inbound: Vec<u8>,
}

impl Passage {
    pub(super) fn new(to: SocketAddr, stream: TcpStream, head: Vec<u8>) -> Passage {
        Passage {
            to,
            stream,
            outbound: head,
            sent: 0,
            inbound: Vec::new(),
        }
    }

    /// More to send; what came before must have been sent.
    pub fn push(&mut self, bytes: Vec<u8>) {
        self.outbound = bytes;
        self.sent = 0;
    }

    /// Sends what was pushed. `Some` is an answer that came before all was sent, which ends it.
    pub async fn send(&mut self) -> io::Result<Option<ResponseHead>> {
        std::future::poll_fn(|context| self.poll_send(context)).await
    }

    /// Waits for the head of the answer. May be dropped and called again.
    pub async fn answer(&mut self) -> io::Result<ResponseHead> {
        std::future::poll_fn(|context| self.poll_answer(context)).await
    }

    /// The answer behind this head; `all_sent` says whether the request was sent to its end.
    pub fn into_answer(self, head: ResponseHead, all_sent: bool) -> Answer {
        Answer::new(self.to, self.stream, self.inbound, head, all_sent)
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<ResponseHead>>> {
        while self.sent < self.outbound.len() {
            let rest = &self.outbound[self.sent..];
            match Pin::new(&mut self.stream).poll_write(context, rest) {
                Poll::Ready(Ok(sent)) if sent > 0 => self.sent += sent,
                // Whoever reads no more may have said why.
                _ => return self.poll_answer(context).map_ok(Some),
            }
        }
        Poll::Ready(Ok(None))
    }

    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<io::Result<ResponseHead>> {
        loop {
            if let Some(head) = final_head(&mut self.inbound)? {
                return Poll::Ready(Ok(head));
            }
            let read = buffer::poll_read(&mut self.stream, context, &mut self.inbound, PIECE);
            if ready!(read)? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}
