//! The lease of scalers on several machines: an item whose every write is on the condition that
//! nobody wrote since, and counts one up.
//!
//! No clock is compared with another machine's. The holder counts the lease's duration by its own
//! clock from before it sent the write; a watcher counts the same duration by its own clock from
//! after it first read the item as it is. What the holder wrote it wrote before that was read, so
//! the holder has stopped acting when the watcher takes over, whatever their clocks say.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{LeaseChange, LeaseError, Memory};

/// Clocks of two machines may run this much apart, in parts of a thousand. Those of real machines
/// differ by less than a tenth of that.
const DRIFT_PER_MILLE: u32 = 5;

/// Ticks come a little early or late: one that is early by less than this part of the interval is
/// taken, as the next would be a whole tick late.
const EARLY: u32 = 10;

/// What the store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// Whose lease it is; empty where it was given up.
    pub owner: String,
    /// Counts the owners: the fencing number.
    pub epoch: u64,
    /// Counts the writes.
    pub counter: u64,
    /// How long it holds after each write.
    pub duration_ms: u64,
    /// A [`Memory`] as JSON.
    pub memory: Option<String>,
}

/// Whether a write was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    Yes,
    /// Another write came first.
    Conflict,
}

/// Where the item is. A call ends within a limit of its own.
#[async_trait]
pub trait Store: Send + Sync {
    /// The item as it is now, not as it was lately.
    async fn read(&self) -> Result<Option<Item>, LeaseError>;

    /// Writes the item if the counter of the one that is there is `expected`; `None`: if there is
    /// none.
    async fn write(&self, expected: Option<u64>, item: &Item) -> Result<Written, LeaseError>;
}

/// How long the lease holds, and how often it is looked after.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub duration: Duration,
    /// Between two renewals, or two looks at another's lease.
    pub every: Duration,
}

pub struct Shared {
    store: Box<dyn Store>,
    owner: String,
    terms: Terms,
    standing: Standing,
    /// When the next look is due.
    next: Option<Instant>,
    /// The last look could not be had.
    failed: bool,
}

/// Where this scaler stands.
enum Standing {
    Holds {
        item: Item,
        until: Instant,
    },
    /// The item as it was read, since when it has been like that.
    Watches {
        item: Option<Item>,
        since: Instant,
    },
    New,
}

impl Shared {
    /// `owner` is a name that no other scaler has, nor this one after a restart.
    pub fn new(store: Box<dyn Store>, owner: String, terms: Terms) -> Shared {
        Shared {
            store,
            owner,
            terms,
            standing: Standing::New,
            next: None,
            failed: false,
        }
    }

    pub(super) fn holder(&self) -> Option<&str> {
        match &self.standing {
            Standing::Watches {
                item: Some(item), ..
            } => Some(item.owner.as_str()).filter(|owner| !owner.is_empty()),
            _ => None,
        }
    }

    pub(super) fn outlasts(&self, span: Duration) -> bool {
        match &self.standing {
            Standing::Holds { until, .. } => Instant::now() + span < *until,
            _ => false,
        }
    }

    pub(super) fn hurry(&mut self) {
        self.next = None;
    }

    pub(super) async fn renew(&mut self, memory: &Memory) -> LeaseChange {
        let now = Instant::now();
        if self.next.is_some_and(|next| now < next) {
            let change = match self.failed {
                true => LeaseChange::StillUnreached,
                false => LeaseChange::Same,
            };
            return self.run_out(now).unwrap_or(change);
        }
        self.next = Some(now + self.terms.every - self.terms.every / EARLY);
        let looked = match &self.standing {
            Standing::Holds { .. } => match self.keep(memory).await {
                Ok(()) => Ok(LeaseChange::Same),
                Err(LeaseError::Lost) => Ok(LeaseChange::Lost),
                Err(error) => Err(error),
            },
            Standing::Watches { .. } | Standing::New => self.watch().await,
        };
        self.failed = looked.is_err();
        looked.unwrap_or_else(|error| {
            let unreached = LeaseChange::Unreached(error);
            self.run_out(Instant::now()).unwrap_or(unreached)
        })
    }

    /// A lease that could not be renewed in time is not held any more.
    fn run_out(&mut self, now: Instant) -> Option<LeaseChange> {
        let Standing::Holds { until, .. } = &self.standing else {
            return None;
        };
        if now < *until {
            return None;
        }
        self.standing = Standing::New;
        Some(LeaseChange::Lost)
    }

    pub(super) async fn keep(&mut self, memory: &Memory) -> Result<(), LeaseError> {
        let owner = self.owner.clone();
        self.write(owner, memory).await
    }

    /// Writes on, as the holder.
    async fn write(&mut self, owner: String, memory: &Memory) -> Result<(), LeaseError> {
        let memory = memory.to_json()?;
        let sent = Instant::now();
        // A lease that has run out may be another's by now.
        self.run_out(sent);
        let Standing::Holds { item, .. } = &self.standing else {
            return Err(LeaseError::Lost);
        };
        let next = Item {
            owner,
            counter: item.counter + 1,
            memory: Some(memory),
            ..item.clone()
        };
        if self.store.write(Some(item.counter), &next).await? == Written::Yes {
            let until = sent + self.terms.duration;
            self.standing = Standing::Holds { item: next, until };
            return Ok(());
        }
        self.after_conflict().await
    }

    /// The write did not fit what is there. It may be this scaler's own, whose reply was lost:
    /// then the next one will fit.
    async fn after_conflict(&mut self) -> Result<(), LeaseError> {
        let read = self.store.read().await?;
        let Standing::Holds { item, .. } = &mut self.standing else {
            return Err(LeaseError::Lost);
        };
        match read {
            Some(found) if found.owner == self.owner && found.epoch == item.epoch => {
                item.counter = found.counter;
                let why = "an earlier write of our own arrived late".to_owned();
                Err(LeaseError::Call { call: "write", why })
            }
            found => {
                let since = Instant::now();
                self.standing = Standing::Watches { item: found, since };
                Err(LeaseError::Lost)
            }
        }
    }

    /// Looks whether the holder still writes, and takes the lease when it does not, or when it is
    /// this scaler itself, who was late or did not hear that it has it.
    async fn watch(&mut self) -> Result<LeaseChange, LeaseError> {
        let read = self.store.read().await?;
        let now = Instant::now();
        let mark = |item: &Option<Item>| item.as_ref().map(|item| item.counter);
        let since = match &self.standing {
            Standing::Watches { item, since } if mark(item) == mark(&read) => *since,
            _ => now,
        };
        let ends = read.as_ref().map(|item| {
            let lasts = Duration::from_millis(item.duration_ms).max(self.terms.duration);
            let is_free_or_ours = item.owner.is_empty() || item.owner == self.owner;
            match is_free_or_ours {
                true => now,
                false => since + lasts + lasts * DRIFT_PER_MILLE / 1000,
            }
        });
        let is_free = ends.is_none_or(|ends| ends <= now);
        if !is_free && self.next > ends {
            self.next = ends;
        }
        self.standing = Standing::Watches {
            item: read.clone(),
            since,
        };
        match is_free {
            true => self.take(read).await,
            false => Ok(LeaseChange::Same),
        }
    }

    async fn take(&mut self, found: Option<Item>) -> Result<LeaseChange, LeaseError> {
        let sent = Instant::now();
        let expected = found.as_ref().map(|item| item.counter);
        let found = found.unwrap_or_default();
        let item = Item {
            owner: self.owner.clone(),
            epoch: found.epoch + 1,
            counter: found.counter + 1,
            duration_ms: self.terms.duration.as_millis() as u64,
            memory: found.memory.clone(),
        };
        if self.store.write(expected, &item).await? == Written::Conflict {
            return Ok(LeaseChange::Same);
        }
        let until = sent + self.terms.duration;
        self.standing = Standing::Holds { item, until };
        let left = found.memory.as_deref().map(Memory::of_json);
        Ok(LeaseChange::Taken(left.transpose()))
    }

    pub(super) async fn give_up(&mut self, memory: &Memory) -> Result<(), LeaseError> {
        let Standing::Holds { .. } = &self.standing else {
            return Ok(());
        };
        let given_up = self.write(String::new(), memory).await;
        self.standing = Standing::New;
        given_up
    }
}
