//! Reads from sockets through one buffer for each thread, and keeps only the received bytes. An idle
//! connection has no buffer.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Most bytes of one read.
pub const PIECE: usize = 64 << 10;

thread_local! {
    static PIECES: RefCell<Box<[u8]>> = RefCell::new(vec![0; PIECE].into_boxed_slice());
}

/// Adds what can be read now to `bytes`, `most` at most; 0 is the end of the stream.
pub fn poll_read<S: AsyncRead + Unpin + ?Sized>(
    stream: &mut S,
    context: &mut Context<'_>,
    bytes: &mut Vec<u8>,
    most: usize,
) -> Poll<io::Result<usize>> {
    PIECES.with_borrow_mut(|piece| {
        let mut buffer = ReadBuf::new(&mut piece[..most.min(PIECE)]);
        ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
        bytes.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    })
}
