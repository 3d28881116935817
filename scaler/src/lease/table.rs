//! A store in memory, which can be slow, deaf and out of reach. For tests and rehearsals: nothing
//! of it is used by the daemons.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{Item, LeaseError, Store, Written};

/// What becomes of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CallOutcome {
    #[default]
    Answered,
    NotArrived,
    /// It is done, and nobody hears of it.
    ReplyLost,
}

/// Handles of one table. Clones call the same.
#[derive(Clone, Default)]
pub struct Table {
    item: Arc<Mutex<Option<Item>>>,
    /// What becomes of this handle's calls.
    outcome: Arc<Mutex<CallOutcome>>,
    /// How long a call takes that is not answered.
    timeout: Duration,
}

impl Table {
    pub fn new(timeout: Duration) -> Table {
        Table {
            timeout,
            ..Table::default()
        }
    }

    /// Another caller of the same table, with a outcome of its own.
    #[must_use]
    pub fn caller(&self) -> Table {
        Table {
            outcome: Arc::default(),
            ..self.clone()
        }
    }

    pub fn set_outcome(&self, outcome: CallOutcome) {
        *lock(&self.outcome) = outcome;
    }

    pub fn item(&self) -> MutexGuard<'_, Option<Item>> {
        lock(&self.item)
    }

    async fn call<T>(
        &self,
        call: &'static str,
        act: impl FnOnce(&mut Option<Item>) -> T,
    ) -> Result<T, LeaseError> {
        let outcome = *lock(&self.outcome);
        let done = match outcome {
            CallOutcome::NotArrived => None,
            CallOutcome::Answered | CallOutcome::ReplyLost => Some(act(&mut self.item())),
        };
        match done {
            Some(answer) if outcome == CallOutcome::Answered => Ok(answer),
            _ => {
                tokio::time::sleep(self.timeout).await;
                let why = io::Error::from(io::ErrorKind::TimedOut).to_string();
                Err(LeaseError::Call { call, why })
            }
        }
    }
}

#[async_trait]
impl Store for Table {
    async fn read(&self) -> Result<Option<Item>, LeaseError> {
        self.call("read", |item| item.clone()).await
    }

    async fn write(&self, expected: Option<u64>, item: &Item) -> Result<Written, LeaseError> {
        let next = item.clone();
        let put = |item: &mut Option<Item>| match item.as_ref().map(|item| item.counter) {
            found if found == expected => {
                *item = Some(next);
                Written::Yes
            }
            _ => Written::Conflict,
        };
        self.call("write", put).await
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
