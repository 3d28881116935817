//! Works on one message: a part of a batch, or an invocation.

use std::sync::Arc;

use tokio::sync::watch;
use tracing::{error, info, warn};

use super::batches::{Asked, ended_key, part_key};
use super::invocations::Kept;
use super::parts::Part;
use super::queue::Message;
use super::runner::{Outcome, Runner};
use super::{SharedError, SharedStore};
use crate::journal::{Journal, JournalError};
use crate::sagemaker::Ended;
use crate::store::StoreError;
use crate::work::{End, Input, Job, Work, WorkError};

/// Why a message is not worked on to its end.
#[derive(Debug, thiserror::Error)]
pub enum Stumble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Shared(#[from] SharedError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Work(#[from] WorkError),
    #[error("its answer goes to S3, and `sagemaker.s3.output` is not set here")]
    NoPlaces,
}

/// A part of a batch by name.
#[derive(Clone, Copy)]
pub struct Named<'a> {
    pub owner: &'a str,
    pub batch: &'a str,
    pub part: u32,
}

impl Runner {
    pub(super) async fn work_on(
        &self,
        message: &Message,
        stopped: watch::Receiver<bool>,
    ) -> Result<Outcome, Stumble> {
        match message {
            Message::Part { owner, batch, part } => {
                let (owner, batch, part) = (owner.as_str(), batch.as_str(), *part);
                let named = Named { owner, batch, part };
                self.work_on_part(named, stopped).await
            }
            Message::Invocation { owner, invocation } => {
                self.invoke(owner, invocation, stopped).await
            }
        }
    }

    async fn work_on_part(
        &self,
        named: Named<'_>,
        stopped: watch::Receiver<bool>,
    ) -> Result<Outcome, Stumble> {
        let Named { owner, batch, part } = named;
        let store = &self.store;
        let Some(asked) = store.open(owner, batch).await? else {
            store.scratch.forget(batch, part);
            return Ok(Outcome::Done);
        };
        if store.bucket.has(&ended_key(owner, batch)).await? {
            store.clean_up(owner, batch).await?;
            return Ok(Outcome::Done);
        }
        let Some(range) = asked.parts.get(part as usize) else {
            return Ok(Outcome::Done);
        };
        store.send_next(owner, &asked, part).await?;
        if !store.bucket.has(&part_key(batch, part)).await? {
            match self.answer(named, &asked, *range, stopped).await {
                Ok(Outcome::Done) => {}
                Err(stumble) if !stumble.may_pass() => {
                    error!(%batch, error = %stumble, "failed");
                    store.fail(owner, &asked, stumble.to_string()).await?;
                    return Ok(Outcome::Done);
                }
                other => return other,
            }
        }
        store.scratch.forget(batch, part);
        store.finish_if_whole(owner, &asked).await?;
        Ok(Outcome::Done)
    }

    /// Answers the lines of a part, and puts the answers.
    async fn answer(
        &self,
        named: Named<'_>,
        asked: &Asked,
        part: Part,
        stopped: watch::Receiver<bool>,
    ) -> Result<Outcome, Stumble> {
        let (store, batch) = (&self.store, named.batch);
        store.begin(batch).await?;
        let input = store.scratch.input(batch, named.part);
        if !input.exists() {
            store.fetch(named, asked, part, &input).await?;
        }
        let name = format!("{}@{}", asked.row.batch.input_file_id, part.offset);
        let path = store.scratch.journal(batch, named.part);
        let (journal, damaged) = tokio::task::block_in_place(|| Journal::open(&path, &name))?;
        if damaged > 0 {
            warn!(%batch, damaged, "answers in the journal are damaged; their lines are asked again");
        }
        let expires_at = asked.row.batch.expires_at;
        let first = store.order(batch, expires_at, &stopped).await;
        let (orders, obeyed) = watch::channel(first);
        let (told, _) = watch::channel(journal.counts());
        let (looking, id): (Arc<SharedStore>, _) = (Arc::clone(store), batch.to_owned());
        let orders = tokio::spawn(async move {
            looking.give_orders(&id, expires_at, stopped, &orders).await;
        });
        let job = Job {
            batch: batch.to_owned(),
            owner: named.owner.to_owned(),
            input: Input {
                path: input,
                before: part.before,
            },
            // Its bytes were counted.
            lines: None,
        };
        let work = Work::new(job, journal, Arc::clone(&self.shared), obeyed, told);
        let worked = work.run().await;
        orders.abort();
        let (journal, End::Whole(order)) = worked? else {
            return Ok(Outcome::Released);
        };
        store.commit(named, &journal, order.into()).await?;
        Ok(Outcome::Done)
    }

    /// Answers an invocation, and forgets it once its answer is in S3.
    async fn invoke(
        &self,
        owner: &str,
        id: &str,
        stopped: watch::Receiver<bool>,
    ) -> Result<Outcome, Stumble> {
        let answerer = self.answerer.as_ref().ok_or(Stumble::NoPlaces)?;
        let Some(kept) = self.store.invocation(owner, id, &self.shared).await? else {
            return Ok(Outcome::Done);
        };
        let Kept {
            invocation,
            body,
            room: _room,
        } = kept;
        let stop = || {
            let mut stopped = stopped.clone();
            async move {
                // Whoever says so lives as long as the process.
                let _ = stopped.wait_for(|stopped| *stopped).await;
            }
        };
        match answerer.run(owner, &invocation, Some(body), stop).await? {
            Ended::Stopped => Ok(Outcome::Released),
            Ended::Delivered => {
                self.store.end_invocation(owner, id).await?;
                info!(id, "ended");
                Ok(Outcome::Done)
            }
        }
    }
}

impl Stumble {
    fn may_pass(&self) -> bool {
        !matches!(
            self,
            // The input is gone, or not what it was when it was checked.
            Stumble::Store(StoreError::NoFile(_) | StoreError::Shared(SharedError::Input { .. }))
                | Stumble::Work(WorkError::Changed { .. })
        )
    }

    /// Whether this machine's disk is full.
    pub fn is_full_disk(&self) -> bool {
        match self {
            Stumble::Store(error) => error.is_full_disk(),
            Stumble::Shared(error) => error.is_full_disk(),
            Stumble::Journal(error) | Stumble::Work(WorkError::Journal(error)) => {
                error.is_full_disk()
            }
            _ => false,
        }
    }

    /// Whether an object is damaged, or of a newer version.
    pub fn is_of_the_store(&self) -> bool {
        use SharedError::{Newer, Object};
        matches!(
            self,
            Stumble::Store(StoreError::Shared(Newer { .. } | Object { .. }))
                | Stumble::Shared(Newer { .. } | Object { .. })
        )
    }
}
