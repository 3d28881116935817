//! Requests whose answers go to S3, as objects: what is known of one as a line of JSON, then its body.

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::bucket::{from_json, read_whole, to_json};
use super::queue::Message;
use super::{Payload, SharedError, SharedStore};
use crate::sagemaker::Invocation;
use crate::store::StoreError;
use crate::work::Shared;

/// Of the keys of all of them.
pub const BEGIN: &str = "invocations/";

/// Of an object; bodies are limited when they are taken in.
const LARGEST: u64 = 4 << 30;

/// In front of a name, a time: milliseconds since 1970 in so many hexadecimal digits.
const TIME_DIGITS: usize = 11;

/// Requests that wait for an answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waiting {
    pub count: u64,
    pub bytes: u64,
    /// When the oldest came, in seconds since 1970.
    pub oldest: Option<u64>,
}

/// A request as it was taken in, and the room that it takes in memory.
pub struct Kept {
    pub invocation: Invocation,
    pub body: Bytes,
    pub room: OwnedSemaphorePermit,
}

impl SharedStore {
    pub async fn add_invocation(
        &self,
        owner: &str,
        invocation: &Invocation,
        body: &[u8],
    ) -> Result<(), StoreError> {
        let open = self.open_of(owner).await?;
        let lines = open
            .iter()
            .map(|row| u64::from(row.batch.request_counts.total));
        let held = lines.sum::<u64>() + self.invocations(owner).await?.count;
        self.quota.check_lines(held, 1)?;
        let key = key(owner, &invocation.id);
        let mut text = to_json(&key, invocation)?;
        text.push(b'\n');
        text.extend_from_slice(body);
        self.bucket.put(&key, Payload::Bytes(text.into())).await?;
        let message = Message::Invocation {
            owner: owner.to_owned(),
            invocation: invocation.id.clone(),
        };
        if let Err(error) = self.queue.send(&[message]).await {
            tracing::warn!(id = invocation.id, %error, "it is not in the queue yet");
        }
        Ok(())
    }

    /// `None` when its answer is written.
    pub async fn invocation(
        &self,
        owner: &str,
        id: &str,
        shared: &Shared,
    ) -> Result<Option<Kept>, SharedError> {
        let key = key(owner, id);
        let Some((text, room)) = read_whole(&self.bucket, &key, LARGEST, shared).await? else {
            return Ok(None);
        };
        let text = Bytes::from(text);
        let end = text.iter().position(|byte| *byte == b'\n');
        let end = end.unwrap_or(text.len());
        let invocation = from_json(&key, &text[..end])?;
        Ok(Some(Kept {
            invocation,
            body: text.slice((end + 1).min(text.len())..),
            room,
        }))
    }

    /// Forgets a request whose answer is written.
    pub async fn end_invocation(&self, owner: &str, id: &str) -> Result<(), SharedError> {
        self.bucket.delete(&key(owner, id)).await
    }

    /// Those of an owner; of all, when it has no name.
    pub async fn invocations(&self, owner: &str) -> Result<Waiting, SharedError> {
        let begin = match owner {
            "" => BEGIN.to_owned(),
            owner => format!("{BEGIN}{owner}/"),
        };
        let mut waiting = Waiting::default();
        for object in self.bucket.list(&begin).await? {
            waiting.count += 1;
            waiting.bytes += object.bytes;
            let since = object.key.rsplit('/').next().and_then(seconds_of);
            waiting.oldest = [waiting.oldest, since].into_iter().flatten().min();
        }
        Ok(waiting)
    }

    /// Puts all of them into the queue again.
    pub async fn send_all_invocations(&self) -> Result<(), SharedError> {
        for object in self.bucket.list(BEGIN).await? {
            let name = object.key.strip_prefix(BEGIN);
            if let Some(message) = name.and_then(message) {
                self.queue.send(&[message]).await?;
            }
        }
        Ok(())
    }
}

/// The message for `OWNER/ID`.
pub fn message(name: &str) -> Option<Message> {
    let (owner, id) = name.rsplit_once('/')?;
    Some(Message::Invocation {
        owner: owner.to_owned(),
        invocation: id.to_owned(),
    })
}

fn key(owner: &str, id: &str) -> String {
    format!("{BEGIN}{owner}/{id}")
}

fn seconds_of(id: &str) -> Option<u64> {
    let milliseconds = u64::from_str_radix(id.get(..TIME_DIGITS)?, 16).ok()?;
    Some(milliseconds / 1000)
}
