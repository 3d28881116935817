//! Reading a request's body whole, within its limits, before a worker is chosen.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use tidegate_http1::Fault;

use super::client::Client;
use super::reply::Reply;
use super::request::Request;
use crate::allowance::{Allowance, Share};
use crate::config::ClientRules;

pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// How long the rest of a refused body may take to be read.
const SKIP_TIMEOUT: Duration = Duration::from_secs(5);

/// The limits of all bodies together and of each.
pub struct BodyReader {
    largest: usize,
    timeout: Duration,
    allowance: Allowance,
}

/// A body and the share of the common allowance that it holds.
pub struct Body {
    pub bytes: Bytes,
    _share: Share,
}

/// Why there is no body.
pub enum NoBody {
    /// The client gets an answer that says so.
    Refused(Reply),
    /// The client gets an answer that its queue is full, which the queue has counted.
    Shed(Reply),
    /// It is not framed as it should be: where it ends is not known.
    Faulty(Fault),
    /// The client is gone; there is no one to tell.
    Gone,
}

impl From<io::Error> for NoBody {
    fn from(_: io::Error) -> Self {
        NoBody::Gone
    }
}

impl BodyReader {
    pub fn new(rules: &ClientRules) -> Self {
        BodyReader {
            largest: rules.body_bytes,
            timeout: *rules.body_timeout,
            allowance: Allowance::new(rules.all_bodies_bytes),
        }
    }

    /// Reads the body of a request whose client waits for `patience` at most.
    pub async fn read(
        &self,
        client: &mut Client,
        request: &mut Request,
        patience: Duration,
    ) -> Result<Body, NoBody> {
        let announced = request.body.left().unwrap_or(0);
        if announced > self.largest as u64 {
            return Err(NoBody::Refused(Reply::body_too_large(self.largest)));
        }
        let limit = self.timeout.min(patience);
        match tokio::time::timeout(limit, self.read_all(client, request)).await {
            Ok(body) => body,
            Err(_) => Err(NoBody::Refused(Reply::body_too_slow(limit))),
        }
    }

    async fn read_all(&self, client: &mut Client, request: &mut Request) -> Result<Body, NoBody> {
        if std::mem::take(&mut request.owes_continue) && client.inbound.is_empty() {
            client.write(CONTINUE).await?;
        }
        let mut share = self.allowance.share();
        let mut data = Vec::new();
        loop {
            take(client, request, &mut data)?;
            if data.len() > self.largest {
                return Err(NoBody::Refused(Reply::body_too_large(self.largest)));
            }
            if !share.widen(data.len()) {
                return Err(NoBody::Refused(Reply::too_many_bytes()));
            }
            if request.body.is_done() {
                break;
            }
            read_more(client, request, &mut data).await?;
        }
        Ok(Body {
            bytes: Bytes::from(data),
            _share: share,
        })
    }

    /// Reads what is left of a refused body: a connection that is closed before that takes its
    /// answer with it. Whether the end was reached.
    pub async fn skip(&self, client: &mut Client, request: &mut Request) -> bool {
        if request.body.is_done() {
            return true;
        }
        // A client that was refused before it sent its body may send it or not.
        if request.owes_continue {
            return false;
        }
        let skip = async {
            let (mut data, mut skipped) = (Vec::new(), 0);
            loop {
                take(client, request, &mut data)?;
                skipped += data.len();
                if request.body.is_done() || skipped > self.largest {
                    return Ok::<(), NoBody>(());
                }
                data.clear();
                read_more(client, request, &mut data).await?;
            }
        };
        let _ = tokio::time::timeout(SKIP_TIMEOUT, skip).await;
        request.body.is_done()
    }
}

/// Takes what has been read of the body; what is behind it stays.
pub fn take(client: &mut Client, request: &mut Request, data: &mut Vec<u8>) -> Result<(), NoBody> {
    let whole = request.body.left() == Some(client.inbound.len() as u64);
    if whole && data.is_empty() {
        request.body.advance(client.inbound.len());
        std::mem::swap(data, &mut client.inbound);
        return Ok(());
    }
    let used = request.body.read(&client.inbound, data);
    client.inbound.drain(..used.map_err(NoBody::Faulty)?);
    Ok(())
}

/// Waits for more of the body: straight to its place where its length is known.
async fn read_more(
    client: &mut Client,
    request: &mut Request,
    data: &mut Vec<u8>,
) -> Result<(), NoBody> {
    let read = match request.body.left() {
        Some(left) => {
            let most = usize::try_from(left).unwrap_or(usize::MAX);
            let read = client.read(data, most).await?;
            request.body.advance(read);
            read
        }
        None => client.fill().await?,
    };
    match read {
        0 => Err(NoBody::Gone),
        _ => Ok(()),
    }
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
