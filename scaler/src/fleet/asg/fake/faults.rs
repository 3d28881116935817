//! What goes wrong around a group, and how often. A test changes it while it runs.

use std::collections::BTreeSet;
use std::time::Duration;

use tidegate_control::chance::Chance;

/// A type of instance in a zone.
pub type Offering = (String, String);

/// Shares are of 1, times are of the world's clock. The default is fair.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// A look shows the group as it was up to this long ago.
    pub lag: Duration,
    /// How long an answer takes at most.
    pub delay: Duration,
    /// After this long the caller stops waiting for an answer that does not come.
    pub timeout: Duration,
    /// Share of calls that are refused with `Throttling`.
    pub throttled: f64,
    /// Share of calls that never arrive.
    pub not_arrived: f64,
    /// Share of calls that are done, and whose reply is lost.
    pub reply_lost: f64,
    /// Calls that the caller's role does not allow.
    pub denied: BTreeSet<&'static str>,
    /// What AWS does not have.
    pub short: BTreeSet<Offering>,
    /// Share of launched instances whose worker never comes up.
    pub stillborn: f64,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    Answered,
    Throttled,
    Denied,
    NotArrived,
    ReplyLost,
}

impl Faults {
    /// What becomes of this call, and how long that takes.
    pub fn outcome(&self, call: &'static str, chance: &mut Chance) -> (CallOutcome, Duration) {
        let drawn = chance.between(0.0, 1.0);
        let took = self.delay.mul_f64(chance.between(0.0, 1.0));
        if self.denied.contains(call) {
            return (CallOutcome::Denied, took);
        }
        let mut share = self.throttled;
        if drawn < share {
            return (CallOutcome::Throttled, took);
        }
        share += self.not_arrived;
        if drawn < share {
            return (CallOutcome::NotArrived, self.timeout);
        }
        share += self.reply_lost;
        match drawn < share {
            true => (CallOutcome::ReplyLost, self.timeout),
            false => (CallOutcome::Answered, took),
        }
    }
}
