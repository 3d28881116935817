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

    pub async fn read(&self, session: &mut ServerSession) -> Result<Body, NoBody> {
        if announced_length(session).is_some_and(|length| length > self.largest) {
            return Err(NoBody::Refused(Reply::body_too_large(self.largest)));
        }
        match tokio::time::timeout(self.timeout, self.read_all(session)).await {
            Ok(body) => body,
            Err(_) => Err(NoBody::Refused(Reply::body_too_slow(self.timeout))),
        }
    }

    async fn read_all(&self, session: &mut ServerSession) -> Result<Body, NoBody> {
        if session.get_header(EXPECT).is_some() && !session.is_body_done() {
            session
                .write_continue_response()
                .await
                .map_err(|_| NoBody::Gone)?;
        }
        let announced = announced_length(session).unwrap_or(0);
        let mut share: Option<OwnedSemaphorePermit> = None;
        self.widen(&mut share, announced).await;
        let mut bytes = BytesMut::with_capacity(announced);
        while let Some(piece) = session
            .read_request_body()
            .await
            .map_err(|_| NoBody::Gone)?
        {
            let length = bytes.len() + piece.len();
            if length > self.largest {
                return Err(NoBody::Refused(Reply::body_too_large(self.largest)));
            }
            self.widen(&mut share, length).await;
            bytes.extend_from_slice(&piece);
        }
        Ok(Body {
            bytes: bytes.freeze(),
            _share: share,
        })
    }

    /// Waits until the common allowance has room for a body of `length`.
    async fn widen(&self, share: &mut Option<OwnedSemaphorePermit>, length: usize) {
        let held = share.as_ref().map_or(0, |share| share.num_permits());
        let missing = length.div_ceil(GRAIN).saturating_sub(held);
        if missing == 0 {
            return;
        }
        let allowance = Arc::clone(&self.allowance);
        if let Ok(more) = allowance.acquire_many_owned(missing as u32).await {
            match share {
                Some(share) => share.merge(more),
                None => *share = Some(more),
            }
        }
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
