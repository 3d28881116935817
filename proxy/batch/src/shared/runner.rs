//! Takes parts out of the queue, one after the other, so many at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, sleep};
use tracing::{error, info, warn};

use super::batches::{Asked, ended_key, part_key};
use super::parts::Part;
use super::queue::{Message, Received};
use super::{SharedError, SharedStore};
use crate::journal::{Journal, JournalError};
use crate::pace::Gate;
use crate::store::StoreError;
use crate::work::{End, Input, Shared, Work, WorkError};

/// How often it is looked whether parts are missing in the queue.
const SWEEP_EVERY: Duration = Duration::from_secs(15);

/// After a failure that may pass.
const TRY_AGAIN: Duration = Duration::from_secs(5);

pub struct Runner {
    store: Arc<SharedStore>,
    shared: Arc<Shared>,
    at_once: usize,
}

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// Nothing is left to do for it.
    Done,
    /// It is for another time or machine.
    Released,
}

#[derive(Debug, thiserror::Error)]
enum Stumble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Shared(#[from] SharedError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Work(#[from] WorkError),
}

impl Runner {
    pub fn new(store: Arc<SharedStore>, shared: Arc<Shared>, at_once: usize) -> Arc<Runner> {
        Arc::new(Runner {
            store,
            shared,
            at_once,
        })
    }

    pub fn gate(&self) -> &Gate {
        &self.shared.asker.gate
    }

    /// Works until told to stop; then what is asked is waited for.
    pub async fn run(self: Arc<Self>, stopped: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(self.at_once));
        let mut stop = stopped.clone();
        let mut at_work = JoinSet::new();
        at_work.spawn(Arc::clone(&self).sweep(stopped.clone()));
        loop {
            let next = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, self.store.queue.receive().await)
            };
            let (place, received) = tokio::select! {
                next = next => next,
                _ = stop.wait_for(|stopped| *stopped) => break,
            };
            match received {
                Ok(Some(received)) => {
                    let (runner, stopped) = (Arc::clone(&self), stopped.clone());
                    at_work.spawn(async move {
                        runner.handle(received, stopped).await;
                        drop(place);
                    });
                }
                Ok(None) => {}
                Err(error) => {
                    error!("no part can be taken from the queue: {error}");
                    tokio::select! {
                        () = sleep(TRY_AGAIN) => {}
                        _ = stop.wait_for(|stopped| *stopped) => break,
                    }
                }
            }
            while at_work.try_join_next().is_some() {}
        }
        while at_work.join_next().await.is_some() {}
    }

    /// Works on a message, and holds it meanwhile.
    async fn handle(&self, received: Received, stopped: watch::Receiver<bool>) {
        let queue = &self.store.queue;
        let third = queue.visibility / 3;
        let mut hold = interval_at(Instant::now() + third, third);
        let Message { batch, part, .. } = &received.message;
        let mut work = std::pin::pin!(self.work_on(&received.message, stopped));
        let outcome = loop {
            tokio::select! {
                outcome = &mut work => break outcome,
                _ = hold.tick() => {
                    // Whoever gets it as well works in vain, and does no harm.
                    if let Err(error) = queue.hold(&received, queue.visibility).await {
                        warn!(%batch, part, "it is not held any more: {error}");
                    }
                }
            }
        };
        let told = match outcome {
            Ok(Outcome::Done) => queue.delete(&received).await,
            Ok(Outcome::Released) => queue.hold(&received, Duration::ZERO).await,
            Err(stumble) => {
                error!(%batch, part, "it is tried again: {stumble}");
                queue.hold(&received, TRY_AGAIN).await
            }
        };
        if let Err(error) = told {
            warn!(%batch, part, "a message comes again although it need not: {error}");
        }
    }

    async fn work_on(
        &self,
        message: &Message,
        stopped: watch::Receiver<bool>,
    ) -> Result<Outcome, Stumble> {
        let (store, owner, batch) = (&self.store, &message.owner, &message.batch);
        let Some(asked) = store.open(owner, batch).await? else {
            store.scratch.forget(batch, message.part);
            return Ok(Outcome::Done);
        };
        if store.bucket.has(&ended_key(owner, batch)).await? {
            store.clean_up(owner, batch).await?;
            return Ok(Outcome::Done);
        }
        let Some(part) = asked.parts.get(message.part as usize) else {
            return Ok(Outcome::Done);
        };
        if !store.bucket.has(&part_key(batch, message.part)).await? {
            match self.answer(message, &asked, *part, stopped).await {
                Ok(Outcome::Done) => {}
                Err(stumble) if !stumble.may_pass() => {
                    error!(%batch, "failed: {stumble}");
                    store.fail(owner, &asked, stumble.to_string()).await?;
                    return Ok(Outcome::Done);
                }
                other => return other,
            }
        }
        store.scratch.forget(batch, message.part);
        store.finish_if_whole(owner, &asked).await?;
        Ok(Outcome::Done)
    }

    /// Answers the lines of a part, and puts the answers.
    async fn answer(
        &self,
        message: &Message,
        asked: &Asked,
        part: Part,
        stopped: watch::Receiver<bool>,
    ) -> Result<Outcome, Stumble> {
        let (store, batch) = (&self.store, &message.batch);
        store.begin(batch).await?;
        let input = store.scratch.input(batch, message.part);
        if !input.exists() {
            store.fetch(message, asked, part, &input).await?;
        }
        let name = format!("{}@{}", asked.row.batch.input_file_id, part.offset);
        let path = store.scratch.journal(batch, message.part);
        let (journal, damaged) = tokio::task::block_in_place(|| Journal::open(&path, &name))?;
        if damaged > 0 {
            warn!(%batch, damaged, "answers in the journal are damaged; their lines are asked again");
        }
        let expires_at = asked.row.batch.expires_at;
        let first = store.order(batch, expires_at, &stopped).await;
        let (orders, obeyed) = watch::channel(first);
        let (told, _) = watch::channel(journal.counts());
        let (looking, id) = (Arc::clone(store), batch.clone());
        let orders = tokio::spawn(async move {
            looking.give_orders(&id, expires_at, stopped, &orders).await;
        });
        let input = Input {
            path: input,
            before: part.before,
        };
        let work = Work::new(
            batch,
            input,
            journal,
            Arc::clone(&self.shared),
            obeyed,
            told,
        );
        let worked = work.run().await;
        orders.abort();
        let (journal, End::Whole(order)) = worked? else {
            return Ok(Outcome::Released);
        };
        store.commit(message, &journal, order.into()).await?;
        Ok(Outcome::Done)
    }

    /// Puts parts into the queue that are neither answered nor there: one that was lost, or never
    /// sent because somebody was killed. When the queue is found empty twice, nobody works on any.
    async fn sweep(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut was_empty = false;
        loop {
            tokio::select! {
                () = sleep(SWEEP_EVERY) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
            let length = self.store.queue.length().await;
            let is_empty = length.is_ok_and(|length| length == 0);
            if is_empty
                && was_empty
                && let Err(error) = self.send_missing().await
            {
                error!("parts that are missing in the queue cannot be sent: {error}");
            }
            was_empty = is_empty;
        }
    }

    async fn send_missing(&self) -> Result<(), SharedError> {
        for (owner, asked) in self.store.all_open("open/").await? {
            let id = &asked.row.batch.id;
            let there = self.store.progress(id).await?.parts_there;
            info!(batch = %id, "its missing parts are put into the queue again");
            self.store.send_parts(&owner, &asked, &there).await?;
        }
        Ok(())
    }
}

impl Stumble {
    fn may_pass(&self) -> bool {
        !matches!(
            self,
            // The input is gone, or not what it was when it was checked.
            Stumble::Store(StoreError::NoFile(_)) | Stumble::Work(WorkError::Changed { .. })
        )
    }
}
