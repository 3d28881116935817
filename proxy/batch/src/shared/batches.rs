//! Batches in the bucket: taken in, looked at, cancelled.

use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracing::warn;

use super::files::{AT_ONCE, ids_of};
use super::lost::sign_name;
use super::parts::Part;
use super::queue::Message;
use super::{SharedError, SharedStore, whole};
use crate::clock::unix_seconds;
use crate::id;
use crate::metrics::Backlog;
use crate::store::{
    BYTES_PER_TOKEN, Batch, NewBatch, Page, Row, Status, StoreError, check_input, fresh, paged,
};

/// How long what is left to do is not looked at again: it takes a list of each batch.
const LOOK_FRESH: Duration = Duration::from_secs(5);

/// What there is to do, when it was looked at.
#[derive(Clone, Debug, Default)]
pub struct Look {
    backlog: Backlog,
    batches: Vec<(String, Batch)>,
}

/// A batch as it was asked for, and how its input is cut.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Asked {
    pub row: Row,
    pub input_bytes: u64,
    pub parts: Vec<Part>,
    /// Whoever takes a part sends the next one. Versions before this sent all at once.
    #[serde(default)]
    pub is_chained: bool,
}

impl SharedStore {
    /// Takes a batch in. What is not in the queue after that, the runners put there.
    pub async fn add_batch(&self, owner: &str, new: NewBatch) -> Result<Batch, StoreError> {
        let input = self.known(owner, &new.input_file_id).await?;
        let lines = check_input(&input.object(), new.endpoint)?;
        let open = self.open_of(owner).await?;
        let held = open
            .iter()
            .map(|row| u64::from(row.batch.request_counts.total));
        let invocations = self.invocations(owner).await?.count;
        self.quota
            .check_lines(held.sum::<u64>() + invocations, lines)?;
        let row = Row {
            batch: fresh(fresh_id("batch_")?, &new, lines),
            ending: None,
            keep_seconds: new.keep_seconds,
            is_deferred: false,
            invocation: None,
        };
        let asked = Asked {
            row,
            input_bytes: input.bytes,
            parts: input.parts,
            is_chained: true,
        };
        let id = &asked.row.batch.id;
        // In this order: what is listed is worked on.
        self.bucket.put_json(&open_key(owner, id), &asked).await?;
        self.bucket.put_json(&batch_key(owner, id), &asked).await?;
        if let Err(error) = self.send(owner, &asked, &[0]).await {
            warn!(batch = %id, %error, "it is not in the queue yet");
        }
        Ok(asked.row.batch)
    }

    /// Puts the part behind this one into the queue, once it is taken. So the queue holds about one part of
    /// each batch that nobody works on, and a batch with many parts is not ahead of one with few.
    pub async fn send_next(
        &self,
        owner: &str,
        asked: &Asked,
        part: u32,
    ) -> Result<(), SharedError> {
        let next = part + 1;
        if !asked.is_chained || next as usize >= asked.parts.len() {
            return Ok(());
        }
        let sent = sent_key(&asked.row.batch.id, next, 0);
        if self.bucket.has(&sent).await? {
            return Ok(());
        }
        // A kill in between sends it twice, which does no harm.
        self.send(owner, asked, &[next]).await?;
        self.bucket.mark(&sent).await
    }

    /// Sends again what a batch still needs, which nobody has and the queue has not.
    pub async fn send_missing(&self, owner: &str, asked: &Asked) -> Result<(), SharedError> {
        let progress = self.progress(&asked.row.batch.id).await?;
        let missing = progress.missing(asked);
        self.send(owner, asked, &missing).await
    }

    pub async fn send(&self, owner: &str, asked: &Asked, parts: &[u32]) -> Result<(), SharedError> {
        let message = |part: &u32| part_message(owner, &asked.row.batch.id, *part);
        let messages: Vec<_> = parts.iter().map(message).collect();
        self.queue.send(&messages).await
    }

    pub async fn batch(&self, owner: &str, id: &str) -> Result<Batch, StoreError> {
        let absent = || StoreError::NoBatch(id.to_owned());
        if !id::is_one(id) {
            return Err(absent());
        }
        if let Some(batch) = self.ended(owner, id).await? {
            return Ok(batch);
        }
        let asked: Option<Asked> = self.bucket.get_json(&batch_key(owner, id)).await?;
        let mut batch = asked.ok_or_else(absent)?.row.batch;
        let progress = self.progress(id).await?;
        if progress.begun_at.is_none()
            && let Some(batch) = self.ended(owner, id).await?
        {
            // It has ended since the first look, and its objects are gone.
            return Ok(batch);
        }
        progress.apply(&mut batch);
        Ok(batch)
    }

    /// A page of the owner's batches, newest first, and whether there are more.
    pub async fn batches(
        &self,
        owner: &str,
        page: Page<'_>,
    ) -> Result<(Vec<Batch>, bool), StoreError> {
        let begin = format!("batches/{owner}/");
        let ids = ids_of(&self.bucket.list(&begin).await?, &begin);
        if let Some(after) = page.after.filter(|after| !ids.iter().any(|id| id == after)) {
            return Err(StoreError::NoBatch(after.to_owned()));
        }
        let (ids, has_more) = paged(ids, |id| id.as_str(), page);
        let batches = stream::iter(ids)
            .map(|id| async move {
                match self.batch(owner, &id).await {
                    Err(StoreError::Shared(error)) => whole(Err(error)).map_err(StoreError::from),
                    batch => batch.map(Some),
                }
            })
            .buffered(AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
        Ok((batches.into_iter().flatten().collect(), has_more))
    }

    /// Asks for the end of a batch that has not ended.
    pub async fn cancel(&self, owner: &str, id: &str) -> Result<Batch, StoreError> {
        let mut batch = self.batch(owner, id).await?;
        match batch.status {
            Status::Cancelling | Status::Cancelled => Ok(batch),
            Status::Validating | Status::InProgress => {
                let key = format!("work/{id}/cancel/{}", unix_seconds());
                self.bucket.mark(&key).await?;
                batch.set_status(Status::Cancelling);
                Ok(batch)
            }
            status => Err(StoreError::Ended {
                batch: id.to_owned(),
                status,
            }),
        }
    }

    pub async fn ended(&self, owner: &str, id: &str) -> Result<Option<Batch>, SharedError> {
        let row: Option<Row> = self.bucket.get_json(&ended_key(owner, id)).await?;
        Ok(row.map(|row| row.batch))
    }

    pub async fn open(&self, owner: &str, id: &str) -> Result<Option<Asked>, SharedError> {
        self.bucket.get_json(&open_key(owner, id)).await
    }

    /// The owner's batches with something left to do.
    pub async fn open_of(&self, owner: &str) -> Result<Vec<Row>, SharedError> {
        let open = self.all_open(&format!("open/{owner}/")).await?;
        Ok(open.into_iter().map(|(_, asked)| asked.row).collect())
    }

    /// Batches with something left to do, with their owners.
    pub async fn all_open(&self, begin: &str) -> Result<Vec<(String, Asked)>, SharedError> {
        let listed = self.bucket.list(begin).await?;
        let found: Vec<Option<(String, Asked)>> = stream::iter(listed)
            .map(|object| async move {
                let owner = object.key.split('/').nth(1).unwrap_or_default().to_owned();
                let asked = whole(self.bucket.get_json(&object.key).await)?;
                Ok::<_, SharedError>(asked.map(|asked: Asked| (owner, asked)))
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// What is left to do, of all machines.
    pub async fn backlog(&self) -> Result<Backlog, StoreError> {
        Ok(self.looked_at().await?.backlog)
    }

    /// The unfinished batches of all owners, oldest first, with their owners.
    pub async fn all_batches(&self) -> Result<Vec<(String, Batch)>, StoreError> {
        Ok(self.looked_at().await?.batches)
    }

    /// All unfinished batches, as they were a few seconds ago at most.
    async fn looked_at(&self) -> Result<Look, StoreError> {
        if let Some((at, look)) = &*self.last_look()
            && at.elapsed() < LOOK_FRESH
        {
            return Ok(look.clone());
        }
        let now = unix_seconds();
        let mut look = Look::default();
        for (owner, asked) in self.all_open("open/").await? {
            let backlog = &mut look.backlog;
            let mut batch = asked.row.batch;
            self.progress(&batch.id).await?.apply(&mut batch);
            let counts = batch.request_counts;
            let total = u64::from(counts.total);
            let left = total.saturating_sub(u64::from(counts.completed + counts.failed));
            backlog.batches += 1;
            backlog.lines += left;
            backlog.tokens += asked.input_bytes / BYTES_PER_TOKEN * left / total.max(1);
            let age = now.saturating_sub(batch.created_at);
            backlog.oldest_seconds = backlog.oldest_seconds.max(age);
            look.batches.push((owner, batch));
        }
        look.batches.sort_by_key(|(_, batch)| batch.created_at);
        let invocations = self.invocations("").await?;
        let backlog = &mut look.backlog;
        backlog.batches += invocations.count;
        backlog.lines += invocations.count;
        backlog.tokens += invocations.bytes / BYTES_PER_TOKEN;
        let age = now.saturating_sub(invocations.oldest.unwrap_or(now));
        backlog.oldest_seconds = backlog.oldest_seconds.max(age);
        *self.last_look() = Some((Instant::now(), look.clone()));
        Ok(look)
    }

    fn last_look(&self) -> MutexGuard<'_, Option<(Instant, Look)>> {
        self.look.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name whose order is that of time.
pub fn fresh_id(prefix: &str) -> Result<String, StoreError> {
    let name = id::in_order().map_err(StoreError::Random)?;
    Ok(format!("{prefix}{name}"))
}

/// The name of a batch's output or error file: the same whoever writes it.
pub fn answers_id(batch: &str, what: &str) -> String {
    let time = batch.strip_prefix("batch_").unwrap_or(batch);
    let digest = Sha256::digest(format!("{batch} {what}"));
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let (time, digest) = (time.get(..11).unwrap_or_default(), &digest[..13]);
    format!("file-{time:0>11}{digest}")
}

pub fn part_key(batch: &str, part: u32) -> String {
    format!("work/{batch}/parts/{part:05}")
}

/// Of the keys that say how many lines of a part are answered.
pub fn counts_begin(batch: &str, part: u32) -> String {
    format!("work/{batch}/counts/{part:05}.")
}

/// What says that a part is in the queue, for so many times.
pub fn sent_key(batch: &str, part: u32, times: u32) -> String {
    let name = sign_name(&format!("{part:05}"), times);
    format!("work/{batch}/sent/{name}")
}

pub fn part_message(owner: &str, batch: &str, part: u32) -> Message {
    Message::Part {
        owner: owner.to_owned(),
        batch: batch.to_owned(),
        part,
    }
}

fn batch_key(owner: &str, id: &str) -> String {
    format!("batches/{owner}/{id}")
}

pub fn open_key(owner: &str, id: &str) -> String {
    format!("open/{owner}/{id}")
}

pub fn ended_key(owner: &str, id: &str) -> String {
    format!("ended/{owner}/{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_time_and_names_like_any_other() {
        let first = fresh_id("batch_").expect("random");
        std::thread::sleep(Duration::from_millis(2));
        let second = fresh_id("batch_").expect("random");
        assert!(first < second);
        let answers = answers_id(&first, "output");
        for name in [&first, &second, &answers] {
            assert!(id::is_one(name), "{name}");
        }
        assert_eq!(answers, answers_id(&first, "output"));
        assert_ne!(answers, answers_id(&first, "error"));
    }
}
