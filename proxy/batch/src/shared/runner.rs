//! Takes messages out of the queue, and holds each while it is worked on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, sleep};
use tracing::{error, info, warn};

use super::lost::Seen;
use super::queue::{Message, Received};
use super::turns::{Turn, Turns};
use super::working::Stumble;
use super::{SharedError, SharedStore};
use crate::gate::Gate;
use crate::sagemaker::Answerer;
use crate::work::Shared;

/// How long a question for messages waits for one.
const WAIT: Duration = Duration::from_secs(5);

/// How often it is looked, while there is no room, for what does not wait for any.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a message that has no turn here is nobody's: the next look finds those behind it.
const PUT_BACK: Duration = Duration::from_secs(2);

/// How often it is looked whether messages are missing in the queue.
const SWEEP_EVERY: Duration = Duration::from_secs(15);

/// After a failure that may pass.
const TRY_AGAIN: Duration = Duration::from_secs(5);

pub struct Runner {
    pub(super) store: Arc<SharedStore>,
    pub(super) shared: Arc<Shared>,
    /// Where answers of invocations go.
    pub(super) answerer: Option<Arc<Answerer>>,
    turns: Arc<Turns>,
    seen: Seen,
}

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is left to do for it.
    Done,
    /// It is for another time or machine.
    Released,
}

impl Runner {
    pub fn new(
        store: Arc<SharedStore>,
        shared: Arc<Shared>,
        answerer: Option<Arc<Answerer>>,
        at_once: usize,
    ) -> Arc<Runner> {
        Arc::new(Runner {
            store,
            shared,
            answerer,
            turns: Turns::new(at_once),
            seen: Seen::default(),
        })
    }

    pub fn gate(&self) -> &Gate {
        &self.shared.asker.gate
    }

    /// Works until told to stop; then what is asked is waited for.
    pub async fn run(self: Arc<Self>, stopped: watch::Receiver<bool>) {
        let mut stop = stopped.clone();
        let mut at_work = JoinSet::new();
        at_work.spawn(Arc::clone(&self).sweep(stopped.clone()));
        loop {
            let received = tokio::select! {
                received = self.receive() => received,
                _ = stop.wait_for(|stopped| *stopped) => break,
            };
            let pause = match received {
                Ok(Some(messages)) => self.take(messages, &mut at_work, &stopped).await,
                Ok(None) => TRY_AGAIN,
                Err(error) => {
                    error!(%error, "nothing can be taken from the queue");
                    TRY_AGAIN
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                _ = stop.wait_for(|stopped| *stopped) => break,
                // There may be room again.
                Some(_) = at_work.join_next() => {}
            }
            while at_work.try_join_next().is_some() {}
        }
        while at_work.join_next().await.is_some() {}
    }

    /// The next messages. `None` while there is no room for anything on the disk.
    async fn receive(&self) -> Result<Option<Vec<Received>>, SharedError> {
        if self.store.room.is_missing() {
            return Ok(None);
        }
        let wait = match self.turns.has_room() {
            true => WAIT,
            false => Duration::ZERO,
        };
        self.store.queue.receive(wait).await.map(Some)
    }

    /// Begins with those whose turn it is, and puts the others back. Gives how long to wait then.
    async fn take(
        self: &Arc<Self>,
        messages: Vec<Received>,
        at_work: &mut JoinSet<()>,
        stopped: &watch::Receiver<bool>,
    ) -> Duration {
        for received in &messages {
            self.seen.note(&received.message);
        }
        let (chosen, others) = self.turns.choose(messages);
        for (received, turn) in chosen {
            let work = Arc::clone(self).handle(received, turn, stopped.clone());
            at_work.spawn(work);
        }
        if let Err(error) = self.store.queue.put_back(&others, PUT_BACK).await {
            warn!(messages = others.len(), %error, "messages are not put back yet");
        }
        match self.turns.has_room() {
            true => Duration::ZERO,
            false => LOOK_EVERY,
        }
    }

    /// Works on a message, and holds it meanwhile.
    async fn handle(
        self: Arc<Self>,
        received: Received,
        _turn: Turn,
        stopped: watch::Receiver<bool>,
    ) {
        let queue = &self.store.queue;
        let third = queue.visibility / 3;
        let mut hold = interval_at(Instant::now() + third, third);
        let message = &received.message;
        let mut work = std::pin::pin!(self.work_on(message, stopped));
        let outcome = loop {
            tokio::select! {
                outcome = &mut work => break outcome,
                _ = hold.tick() => {
                    self.seen.note(message);
                    // Whoever gets it as well works in vain, and does no harm.
                    if let Err(error) = queue.hold(&received, queue.visibility).await {
                        warn!(work = %message, %error, "it is not held any more");
                    }
                }
            }
        };
        let told = match outcome {
            Ok(Outcome::Done) => queue.delete(&received).await,
            Ok(Outcome::Released) => queue.hold(&received, Duration::ZERO).await,
            Err(stumble) => {
                queue
                    .hold(&received, self.stumbled(message, &stumble))
                    .await
            }
        };
        if let Err(error) = told {
            warn!(work = %message, %error, "it comes again although it need not");
        }
    }

    /// Says why a message is not worked on to its end, and gives how long it is nobody's.
    fn stumbled(&self, message: &Message, stumble: &Stumble) -> Duration {
        if stumble.is_full_disk() {
            self.store.room.ran_out(stumble);
            return self.store.queue.visibility;
        }
        error!(work = %message, error = %stumble, "it is tried again");
        match stumble.is_of_the_store() {
            // Nothing but another version, or somebody's repair, ends that.
            true => self.store.queue.visibility,
            false => TRY_AGAIN,
        }
    }

    /// Puts into the queue what has no answer and is not there: it was lost, or never sent because
    /// somebody was killed. When the queue is found empty twice, nobody works on anything. While it is not
    /// empty, a message is taken for lost that no service has seen for long.
    async fn sweep(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut was_empty = false;
        let mut looked = Instant::now();
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
                error!(%error, "what is missing in the queue cannot be sent");
            }
            was_empty = is_empty;
            if looked.elapsed() < self.store.queue.visibility {
                continue;
            }
            looked = Instant::now();
            if let Err(error) = self.store.send_lost(&self.seen).await {
                error!(%error, "what is lost in the queue cannot be sent again");
            }
        }
    }

    async fn send_missing(&self) -> Result<(), SharedError> {
        for (owner, asked) in self.store.all_open("open/").await? {
            let id = &asked.row.batch.id;
            info!(batch = %id, "its missing parts are put into the queue again");
            self.store.send_missing(&owner, &asked).await?;
        }
        self.store.send_all_invocations().await
    }
}
