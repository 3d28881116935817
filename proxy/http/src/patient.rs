//! A connection with a limit for slow readers: the peer must read at least a buffer's worth of data
//! within a time. At the end of the connection, a client that still sends may finish for a moment: the
//! kernel discards the last answer of a connection that is closed with unread bytes.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// How long a client may go on sending after the last answer, and how much.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 4 << 20;

/// Most bytes of it that are read at once.
const PIECE: usize = 4 << 10;

/// A TCP stream, with a limit of time on what it waits to write.
pub struct Patient {
    stream: TcpStream,
    patience: Duration,
    /// Bytes that have to be taken within it.
    portion: usize,
    /// Bytes of the portion that were taken.
    taken: usize,
    /// Set while a write waits: when it is given up.
    end: Option<Pin<Box<Sleep>>>,
    /// Set once nothing more is written.
    linger: Option<Linger>,
}

/// What may still come after the last answer.
struct Linger {
    end: Pin<Box<Sleep>>,
    bytes: usize,
}

impl Patient {
    pub fn new(stream: TcpStream, patience: Duration, portion: usize) -> Patient {
        Patient {
            stream,
            patience,
            portion,
            taken: 0,
            end: None,
            linger: None,
        }
    }

    /// Writes nothing more; where `has_more` may come, it is read until its sender ends too, or has
    /// had time enough.
    pub fn poll_end(&mut self, context: &mut Context<'_>, has_more: bool) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        }
        match has_more || self.linger.is_some() {
            true => self.poll_linger(context).map(Ok),
            false => Poll::Ready(Ok(())),
        }
    }

    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let linger = self.linger.get_or_insert_with(|| Linger {
            end: Box::pin(tokio::time::sleep_until(Instant::now() + LINGER)),
            bytes: 0,
        });
        while linger.bytes < LINGER_BYTES && linger.end.as_mut().poll(context).is_pending() {
            let mut piece = [0; PIECE];
            let mut buffer = ReadBuf::new(&mut piece);
            let read = Pin::new(&mut self.stream).poll_read(context, &mut buffer);
            match (ready!(read), buffer.filled().len()) {
                (Ok(()), length) if length > 0 => linger.bytes += length,
                _ => break,
            }
        }
        Poll::Ready(())
    }

    /// Notes what became of a write of `length` bytes, and gives it up when its time is over.
    fn noted(
        &mut self,
        context: &mut Context<'_>,
        length: usize,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.taken += bytes;
                // A write that waits again has its whole time only if its reader has kept up, or
                // enough was taken meanwhile.
                if bytes == length || self.taken >= self.portion {
                    self.taken = 0;
                    self.end = None;
                }
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(error) => Poll::Ready(error),
            Poll::Pending => {
                let patience = self.patience;
                let end = self.end.get_or_insert_with(|| {
                    self.taken = 0;
                    Box::pin(tokio::time::sleep_until(Instant::now() + patience))
                });
                ready!(end.as_mut().poll(context));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.noted(context, bytes.len(), written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        let length = parts.iter().map(|part| part.len()).sum();
        self.noted(context, length, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_end(context, false)
    }
}
