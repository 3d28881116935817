//! What the law has learned is kept for the next run, now and then and at the end.

use std::time::Duration;

use tidegate_control::Time;

use super::Scaler;
use super::notices::Condition;
use crate::event::Event;

/// How often.
const KEEPING: Duration = Duration::from_secs(60);

impl Scaler {
    /// Not at the first tick: what cannot be read stays for a while, so that somebody can look at it.
    pub(super) fn keep_now_and_then(&mut self, now: Time) {
        let next = *self.next_kept.get_or_insert(now + KEEPING);
        if now >= next {
            self.next_kept = Some(now + KEEPING);
            self.keep();
        }
    }

    pub(super) fn keep(&mut self) {
        match self.ledger.keep(&self.law.learned()) {
            Ok(()) => {
                self.notices.ends(&Condition::LearnedUnkept);
            }
            Err(error) => {
                let why = error.to_string();
                let event = Event::LearnedUnkept { why };
                self.notices.begins(Condition::LearnedUnkept, event);
            }
        }
    }
}
