//! What a scaler that takes over must know and cannot see: which workers were ordered to drain, which
//! were just removed, recent changes, and an operator's orders.
//!
//! It has seen everything else itself, because it watched the same proxies and the same fleet. Times are
//! by the clock of the scaler that wrote them; small differences do not matter for the right to act.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_control::{Action, Override, Time};

use super::LeaseError;

/// The version that this build writes. It reads those before, and the next.
pub const VERSION: u32 = 1;

/// An item of the table has at most 400 KB, names of attributes and the rest included.
const LARGEST_BYTES: usize = 350_000;

/// Changes that steps count. No policy counts further back than an hour.
const ACTS_COUNT_FOR: Duration = Duration::from_secs(3600);
const MOST_ACTS: usize = 500;

/// A look at the fleet may show it as it was this long ago.
pub const SETTLED_AFTER: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    pub version: u32,
    /// Who drains on our order, and since when.
    pub draining: BTreeMap<String, Time>,
    /// Those of them that drain on an operator's order.
    pub kept_draining: BTreeSet<String>,
    /// Whose drain was taken back, and who is not seen ready at every proxy yet.
    pub undrained: BTreeSet<String>,
    /// Who drains because the fleet says so, such as what is kept warm: when that is over, their
    /// drain is to be taken back.
    pub drained_by_fleet: BTreeSet<String>,
    /// Members that were removed within the last minute: a read may still show them.
    pub removed: BTreeMap<String, Time>,
    /// The size that somebody set by hand.
    pub by_hand: Option<Override>,
    /// In order of time.
    pub acts: Vec<Act>,
}

/// A change that counts against step limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Act {
    pub at: Time,
    pub added: u32,
    pub removed: u32,
}

impl Memory {
    pub fn new() -> Memory {
        Memory {
            version: VERSION,
            ..Memory::default()
        }
    }

    /// Takes in what is about to be done, before it is done; who drains, or does no more, is
    /// not in here.
    pub fn intend(&mut self, now: Time, action: &Action) {
        let removed = action.remove.iter();
        for id in removed.chain(action.replace.iter().map(|failed| &failed.id)) {
            self.removed.insert(id.clone(), now);
        }
        let added = action.launch + action.undrain.len() as u32;
        let removed = action.drain.len() as u32;
        if added + removed > 0 {
            let at = now;
            self.acts.push(Act { at, added, removed });
        }
        self.forget(now);
    }

    fn forget(&mut self, now: Time) {
        self.removed.retain(|_, at| now.since(*at) <= SETTLED_AFTER);
        self.acts.retain(|act| now.since(act.at) <= ACTS_COUNT_FOR);
        let surplus = self.acts.len().saturating_sub(MOST_ACTS);
        self.acts.drain(..surplus);
    }

    /// As it is kept.
    ///
    /// # Errors
    /// When it is larger than an item of the table may be.
    pub fn to_json(&self) -> Result<String, LeaseError> {
        let json = serde_json::to_string(self).map_err(|error| LeaseError::NotOurs {
            why: error.to_string(),
        })?;
        match json.len() {
            bytes if bytes > LARGEST_BYTES => {
                let most = LARGEST_BYTES;
                Err(LeaseError::TooLarge { bytes, most })
            }
            _ => Ok(json),
        }
    }

    /// # Errors
    /// When it is no memory, or of a version that this build cannot know.
    pub fn of_json(json: &str) -> Result<Memory, LeaseError> {
        let memory: Memory = serde_json::from_str(json).map_err(|error| LeaseError::NotOurs {
            why: error.to_string(),
        })?;
        match memory.version {
            found if found > VERSION + 1 => Err(LeaseError::Version { found }),
            _ => Ok(memory),
        }
    }
}
