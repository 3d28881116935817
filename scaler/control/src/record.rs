//! The lines of a ledger: what the scaler records, and what others read.
//!
//! Lines carry a version, and no line holds a secret or a request.

use std::fmt;

use serde::{Deserialize, Serialize};
use tidegate_protocol::Order;

use crate::{Decision, Fleet, Observation, Override, Time};

/// The version of the lines that this build writes. Lines of a later version are not read.
pub const VERSION: u32 = 1;

/// One line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    pub version: u32,
    pub at: Time,
    #[serde(flatten)]
    pub entry: Entry,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    /// What a tick saw and decided: the intent.
    Tick(Box<Tick>),
    /// What was done about it. Ticks that decide to do nothing have none.
    Outcome(Outcome),
    /// An operator fixed the size, or gave it back.
    ByHand(ByHand),
    /// An operator has one worker drain, or takes it back.
    WorkerByHand(WorkerByHand),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByHand {
    /// `None`: the policy decides again.
    pub order: Option<Override>,
    #[serde(flatten)]
    pub note: Note,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerByHand {
    pub worker: String,
    pub order: Order,
    #[serde(flatten)]
    pub note: Note,
}

/// Who gave an order and what for, in their own words; empty where they did not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Note {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub who: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.who.is_empty() {
            write!(f, " by {}", self.who)?;
        }
        if !self.why.is_empty() {
            write!(f, ": {}", self.why)?;
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tick {
    pub observation: Observation,
    pub fleet: Fleet,
    pub decision: Decision,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcome {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub launched: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// What could not be done, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
}
