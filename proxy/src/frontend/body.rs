//! Reading a request's body whole, within its limits, before a worker is chosen.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, EXPECT};
use pingora_core::protocols::http::ServerSession;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::reply::Reply;

/// What is set aside of the common allowance at once.
const GRAIN: usize = 64 << 10;

/// The limits of all bodies together and of each.
pub struct BodyReader {
    largest: usize,
    timeout: Duration,
    allowance: Arc<Semaphore>,
}

/// A body and the share of the common allowance that it holds.
pub struct Body {
    pub bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

/// Why there is no body.
pub enum NoBody {
    /// The client is to be told.
    Refused(Reply),
    /// The client is gone or broke the framing; there is no one to tell.
    Gone,
}

impl BodyReader {
    pub fn new(largest: usize, at_once: usize, timeout: Duration) -> Self {
        BodyReader {
            largest,
            timeout,
            allowance: Arc::new(Semaphore::new(at_once.div_ceil(GRAIN))),
        }
    }

    /// Reads the body of a request whose client waits for `patience` at most.
    pub async fn read(
        &self,
        session: &mut ServerSession,
        patience: Duration,
    ) -> Result<Body, NoBody> {
        if announced_length(session).is_some_and(|length| length > self.largest) {
            return Err(NoBody::Refused(Reply::body_too_large(self.largest)));
        }
        let limit = self.timeout.min(patience);
        match tokio::time::timeout(limit, self.read_all(session)).await {
            Ok(body) => body,
            Err(_) => Err(NoBody::Refused(Reply::body_too_slow(limit))),
        }
    }

    async fn read_all(&self, session: &mut ServerSession) -> Result<Body, NoBody> {
        if session.get_header(EXPECT).is_some() && !session.is_body_done() {
            let written = session.write_continue_response().await;
            written.map_err(|_| NoBody::Gone)?;
        }
        let mut bytes = BytesMut::new();
        let mut share: Option<OwnedSemaphorePermit> = None;
        while let Some(piece) = session
            .read_request_body()
            .await
            .map_err(|_| NoBody::Gone)?
        {
            let length = bytes.len() + piece.len();
            if length > self.largest {
                return Err(NoBody::Refused(Reply::body_too_large(self.largest)));
            }
            self.widen(&mut share, length).map_err(NoBody::Refused)?;
            bytes.extend_from_slice(&piece);
        }
        Ok(Body {
            bytes: bytes.freeze(),
            _share: share,
        })
    }

    /// Takes what a body of `length` needs of the common allowance. Nobody waits for it: bodies
    /// that wait for each other's share would all be late.
    fn widen(&self, share: &mut Option<OwnedSemaphorePermit>, length: usize) -> Result<(), Reply> {
        let held = share.as_ref().map_or(0, |share| share.num_permits());
        let missing = length.div_ceil(GRAIN).saturating_sub(held);
        if missing == 0 {
            return Ok(());
        }
        let allowance = Arc::clone(&self.allowance);
        let more = allowance.try_acquire_many_owned(missing as u32);
        let more = more.map_err(|_| Reply::too_many_bytes())?;
        match share {
            Some(share) => share.merge(more),
            None => *share = Some(more),
        }
        Ok(())
    }
}

fn announced_length(session: &ServerSession) -> Option<usize> {
    let header = session.get_header(CONTENT_LENGTH)?;
    header.to_str().ok()?.trim().parse().ok()
}

/// The model that a JSON body names, if it names one. An empty body is for the worker to judge.
pub fn model_of(body: &[u8]) -> Result<Option<String>, Reply> {
    if body.is_empty() {
        return Ok(None);
    }
    #[derive(Deserialize)]
    struct Named {
        model: Option<String>,
    }
    match serde_json::from_slice::<Named>(body) {
        Ok(named) => Ok(named.model.filter(|model| !model.is_empty())),
        Err(error) if error.is_data() => Err(Reply::bad_request(
            "invalid_body",
            format!("expected a JSON object whose `model` is a string: {error}"),
        )),
        Err(error) => Err(Reply::bad_request(
            "invalid_json",
            format!("the body is not JSON: {error}"),
        )),
    }
}
