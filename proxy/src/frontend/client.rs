//! A client's connection: bytes in and bytes out.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BufMut;
use pingora_core::protocols::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::buffer::{self, PIECE};

/// Most bytes of later requests that are read while an earlier one is served.
const AHEAD: usize = 64 << 10;

/// What a client that is sent away may still send before the connection is closed under it: one
/// that is closed with unread bytes takes its last answer with it.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 4 << 20;

pub struct Client {
    stream: Stream,
    /// Read and not used yet.
    pub inbound: Vec<u8>,
}

impl Client {
    pub fn new(stream: Stream) -> Self {
        Client {
            stream,
            inbound: Vec::new(),
        }
    }

    /// Waits for bytes and adds them to those that came before; 0 is the end.
    pub async fn fill(&mut self) -> io::Result<usize> {
        std::future::poll_fn(|context| self.poll_fill(context, PIECE)).await
    }

    fn poll_fill(&mut self, context: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        buffer::poll_read(&mut *self.stream, context, &mut self.inbound, most)
    }

    /// Reads straight into `data`, `most` bytes at most; what was read before must be used up.
    pub async fn read(&mut self, data: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        // Room for as much as is there, so that a length that was only announced holds nothing.
        data.reserve(most.min(data.len().max(PIECE)));
        let room = data.capacity() - data.len();
        self.stream.read_buf(&mut data.limit(most.min(room))).await
    }

    /// Ends when the client closes its connection; its current request must have been read.
    pub async fn has_left(&mut self) {
        std::future::poll_fn(|context| self.poll_left(context)).await;
    }

    /// As [`Client::has_left`]. What comes meanwhile is the next request, not a sign of leaving;
    /// a client that sends much of it is not watched any longer.
    pub fn poll_left(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.inbound.len() < AHEAD {
            let room = AHEAD - self.inbound.len();
            match ready!(self.poll_fill(context, room)) {
                Ok(read) if read > 0 => {}
                _ => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    pub fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write(context, bytes)
    }

    /// Says that nothing more is sent, and lets the client finish what it sends.
    pub async fn close(mut self) {
        let linger = async {
            AsyncWriteExt::shutdown(&mut self.stream).await?;
            let mut skipped = 0;
            while skipped < LINGER_BYTES {
                self.inbound.clear();
                match self.fill().await? {
                    0 => break,
                    read => skipped += read,
                }
            }
            io::Result::Ok(())
        };
        let _ = tokio::time::timeout(LINGER, linger).await;
    }
}
