//! Answers in JSON, which may be large: they are written a piece at a time, as the client takes
//! them, and not on the runtime's threads. What they hold is held until the last piece is out.

use std::iter::Peekable;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_util::stream;
use serde::Serialize;

use super::error::ApiError;

/// What is written at once. An answer of no more is sent whole, with its length.
const PIECE_BYTES: usize = 64 << 10;

/// More numbers than these are written on a thread of their own: it takes longer than handing them
/// over.
const INLINE_NUMBERS: usize = 4096;

/// Parts of an answer, to be written one after the other.
type Fragments = Peekable<Box<dyn Iterator<Item = Vec<u8>> + Send>>;

/// An answer that is not written yet.
pub struct Reply {
    fragments: Fragments,
    /// Numbers in it, more or less.
    numbers: usize,
}

impl Reply {
    /// A small answer.
    pub fn whole(value: &impl Serialize) -> Reply {
        Reply::fragments(0, std::iter::once(json(value)))
    }

    /// A list with something around it; its items have `numbers` numbers in all.
    pub fn list<T: Serialize>(
        before: impl Into<Vec<u8>>,
        items: impl Iterator<Item = T> + Send + 'static,
        after: impl Into<Vec<u8>>,
        numbers: usize,
    ) -> Reply {
        Reply::joined(before, items.map(|item| json(&item)), after, numbers)
    }

    /// As [`Reply::list`], of items that are JSON already.
    pub fn joined(
        before: impl Into<Vec<u8>>,
        items: impl Iterator<Item = Vec<u8>> + Send + 'static,
        after: impl Into<Vec<u8>>,
        numbers: usize,
    ) -> Reply {
        let items = items.enumerate().map(|(index, mut item)| {
            if index > 0 {
                item.insert(0, b',');
            }
            item
        });
        let begin = std::iter::once(before.into());
        Reply::fragments(
            numbers,
            begin.chain(items).chain(std::iter::once(after.into())),
        )
    }

    /// Anything else that joins to JSON.
    pub fn fragments(
        numbers: usize,
        fragments: impl Iterator<Item = Vec<u8>> + Send + 'static,
    ) -> Reply {
        let fragments: Box<dyn Iterator<Item = Vec<u8>> + Send> = Box::new(fragments);
        Reply {
            fragments: fragments.peekable(),
            numbers,
        }
    }

    /// The answer, which holds `held` until it is written.
    pub async fn send(mut self, held: impl Send + 'static) -> Result<Response, ApiError> {
        let first = match self.numbers <= INLINE_NUMBERS {
            true => piece(&mut self.fragments),
            false => {
                let (first, fragments) = piece_elsewhere(self.fragments).await?;
                self.fragments = fragments;
                first
            }
        };
        let body = match self.fragments.peek().is_none() {
            true => {
                drop(held);
                Body::from(first)
            }
            false => Body::from_stream(rest(first, self.fragments, held)),
        };
        let mut response = Response::new(body);
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        Ok(response)
    }
}

/// A value as JSON; numbers, texts and lists of them do not fail.
pub fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// The next fragments, until they make a piece.
fn piece(fragments: &mut Fragments) -> Vec<u8> {
    let mut out = Vec::new();
    for mut fragment in fragments.by_ref() {
        match out.is_empty() {
            true => out = fragment,
            false => out.append(&mut fragment),
        }
        if out.len() >= PIECE_BYTES {
            break;
        }
    }
    out
}

async fn piece_elsewhere(mut fragments: Fragments) -> Result<(Vec<u8>, Fragments), ApiError> {
    let written = tokio::task::spawn_blocking(move || {
        let piece = piece(&mut fragments);
        // Looking for the next one may take as long as writing it.
        fragments.peek();
        (piece, fragments)
    });
    let written = written.await;
    written.map_err(|_| ApiError::internal("writing the answer failed"))
}

/// A piece that is written, and those that are not. The last one is given away with nothing held.
fn rest(
    first: Vec<u8>,
    fragments: Fragments,
    held: impl Send + 'static,
) -> impl stream::Stream<Item = Result<Bytes, std::io::Error>> + Send {
    let written = Some((first, fragments, Some(held)));
    stream::try_unfold(written, async |written| {
        let Some((piece, mut fragments, held)) = written else {
            return Ok(None);
        };
        let piece = Bytes::from(piece);
        if fragments.peek().is_none() {
            drop(held);
            return Ok(Some((piece, None)));
        }
        let next = piece_elsewhere(fragments).await;
        let (next, fragments) = next.map_err(|error| std::io::Error::other(error.message))?;
        Ok(Some((piece, Some((next, fragments, held)))))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt as _;

    use super::*;

    /// A list of rows that hold something, and whoever holds it as well.
    async fn list(rows: usize) -> (Response, Arc<()>) {
        let held = Arc::new(());
        let items = (0..rows).map(|_| vec![0.5; 1000]);
        let reply = Reply::list("[", items, "]", rows * 1000);
        let response = reply.send(held.clone()).await.expect("it is written");
        (response, held)
    }

    #[tokio::test]
    async fn a_small_answer_has_a_length_and_holds_nothing() {
        let (response, held) = list(3).await;
        assert_eq!(Arc::strong_count(&held), 1);
        let body = response.into_body().collect().await.expect("it is read");
        let rows: Vec<Vec<f32>> = serde_json::from_slice(&body.to_bytes()).expect("JSON");
        assert_eq!(rows, vec![vec![0.5; 1000]; 3]);
    }

    #[tokio::test]
    async fn a_large_answer_is_held_until_its_last_piece_is_taken() {
        let (response, held) = list(100).await;
        let mut body = response.into_body();
        let mut read = Vec::new();
        while let Some(frame) = body.frame().await {
            let data = frame.expect("it is written").into_data().expect("data");
            assert!(data.len() < 2 * PIECE_BYTES);
            read.extend_from_slice(&data);
            let is_last = read.ends_with(b"]]");
            assert_eq!(Arc::strong_count(&held), if is_last { 1 } else { 2 });
        }
        let rows: Vec<Vec<f32>> = serde_json::from_slice(&read).expect("JSON");
        assert_eq!(rows.len(), 100);
    }

    #[tokio::test]
    async fn an_answer_that_nobody_takes_lets_go_when_it_is_dropped() {
        let (response, held) = list(100).await;
        drop(response);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
