//! When the group is read, and what the reads say besides the members: refreshes, shortages.
//!
//! All callers of an account share one rate limit at AWS, so reads are few: one for each interval, one
//! soon after an action, the others once a minute or after a problem.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tidegate_control::{Breaker, Time};

use super::group::{Failure, Offerings, Refresh};
use super::shortage::{Offering, Shortages};
use super::view::SHOWS_WITHIN;

/// Share of the interval by which a look comes earlier or later, so that many scalers spread out.
const JITTER: f64 = 0.1;

/// A look after an action waits for the action to show.
const AFTER_ACTION: Duration = Duration::from_secs(2);

/// Looks may fail for this many intervals before the group counts as unseen.
const BLIND_AFTER: u32 = 6;

const HOOKS_EVERY: Duration = Duration::from_secs(600);
const REFRESH_EVERY: Duration = Duration::from_secs(60);
const REFRESH_EVERY_WHILE_ONE_RUNS: Duration = Duration::from_secs(15);
const FAILURES_EVERY: Duration = Duration::from_secs(30);

/// An instance of a launch shows within this time, if it comes at all.
const SHOWS_BY: Duration = Duration::from_secs(60);

/// A call that only reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    Look,
    Hooks,
    Refresh,
    Failures,
}

#[derive(Clone, Debug)]
pub struct Watch {
    name: String,
    every: Duration,
    /// For how long a launch may be under way before it is asked why it does not come.
    patience: Duration,
    looks: u64,
    next_look: Option<Time>,
    looked: Option<Time>,
    hooks: Option<Time>,
    refreshes: Option<Time>,
    failures: Option<Time>,
    refresh: Running,
    shortages: Shortages,
    /// Shortages that were reported and have not been reported as over.
    is_short: bool,
    throttle: Breaker,
}

/// Whether an instance refresh is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Running {
    NotKnown,
    No,
    Yes(String),
}

impl Watch {
    /// `name` makes the jitter differ between groups; `every` is the time between two looks.
    pub fn new(name: &str, every: Duration, lead_time: Duration) -> Watch {
        Watch {
            name: name.to_owned(),
            every,
            patience: SHOWS_BY.min(lead_time),
            looks: 0,
            next_look: None,
            looked: None,
            hooks: None,
            refreshes: None,
            failures: None,
            refresh: Running::NotKnown,
            shortages: Shortages::default(),
            is_short: false,
            throttle: Breaker::default(),
        }
    }

    /// The read that is due; `soon` when a look is to show something, `wait` since when a launch
    /// has been under way.
    pub fn due(&self, now: Time, soon: bool, wait: Option<Time>) -> Option<Read> {
        let over = |last: Option<Time>, span| last.is_none_or(|last| now.since(last) >= span);
        if self.next_look.is_none_or(|next| now >= next)
            || (soon && over(self.looked, SHOWS_WITHIN))
        {
            return Some(Read::Look);
        }
        let refresh_every = match self.refresh {
            Running::Yes(_) => REFRESH_EVERY_WHILE_ONE_RUNS,
            _ => REFRESH_EVERY,
        };
        if over(self.refreshes, refresh_every) {
            return Some(Read::Refresh);
        }
        if over(self.hooks, HOOKS_EVERY) {
            return Some(Read::Hooks);
        }
        let is_late = wait.is_some_and(|since| now.since(since) >= self.patience);
        (is_late && over(self.failures, FAILURES_EVERY)).then_some(Read::Failures)
    }

    /// The read is being made; if it fails it is made again when it is due next.
    pub fn begun(&mut self, now: Time, read: Read) {
        match read {
            Read::Look => {
                self.looks += 1;
                self.next_look = Some(now + self.every.mul_f64(1.0 + self.jitter()));
            }
            Read::Hooks => self.hooks = Some(now),
            Read::Refresh => self.refreshes = Some(now),
            Read::Failures => self.failures = Some(now),
        }
    }

    pub fn looked(&mut self, now: Time) {
        self.looked = Some(now);
        self.throttle.succeeded();
    }

    /// The group was changed: a look is to show it.
    pub fn acted(&mut self, now: Time) {
        let soon = now + AFTER_ACTION;
        self.next_look = self.next_look.map(|next| next.min(soon));
    }

    pub fn answered(&mut self) {
        self.throttle.succeeded();
    }

    /// Calls that were under way together and are refused together count as one.
    pub fn throttled(&mut self, now: Time) {
        if self.held_until(now).is_none() {
            self.throttle.failed(now);
        }
    }

    /// Until when no call is to be made.
    pub fn held_until(&self, now: Time) -> Option<Time> {
        self.throttle.held_until(now)
    }

    /// Whether the last look is too long ago to go by.
    pub fn is_blind(&self, now: Time) -> bool {
        let limit = self.every * BLIND_AFTER;
        self.looked.is_none_or(|looked| now.since(looked) > limit)
    }

    pub fn refresh(&mut self, refresh: Option<Refresh>) {
        self.refresh = refresh.map_or(Running::No, |refresh| Running::Yes(refresh.id));
    }

    /// Whether it was ever known that a refresh is under way, or that none is.
    pub fn knows_of_refreshes(&self) -> bool {
        self.refresh != Running::NotKnown
    }

    /// Why no member is to be removed now.
    pub fn why_not_shrink(&self) -> Option<String> {
        match &self.refresh {
            Running::No => None,
            Running::NotKnown => {
                Some("it is not known whether an instance refresh is under way".to_owned())
            }
            Running::Yes(id) => Some(format!("instance refresh {id} is under way")),
        }
    }

    /// Takes failed launches in. Returns what is short, if that is news.
    pub fn failures(&mut self, now: Time, failures: &[Failure]) -> Option<Vec<Offering>> {
        let new = self.shortages.take(now, failures);
        if new.is_empty() {
            return None;
        }
        self.is_short = true;
        Some(new)
    }

    /// Until when launches are not worth asking for, as all that the group may launch is short,
    /// and what is.
    pub fn short_until(&self, now: Time, offered: &Offerings) -> Option<(Time, String)> {
        let until = self.shortages.until(now, offered)?;
        let short = self.shortages.now(now);
        let short: Vec<String> = short.iter().map(Offering::to_string).collect();
        Some((until, short.join(", ")))
    }

    pub fn is_short(&self) -> bool {
        self.is_short
    }

    /// Every launch has come. Whether something was short before.
    pub fn capacity_came(&mut self) -> bool {
        if self.is_short {
            self.shortages.over();
        }
        std::mem::take(&mut self.is_short)
    }

    /// Within [`JITTER`] of nothing, another one for each group and look.
    fn jitter(&self) -> f64 {
        let mut hasher = DefaultHasher::new();
        (&self.name, self.looks).hash(&mut hasher);
        let share = (hasher.finish() % 1_000) as f64 / 1_000.0;
        (share * 2.0 - 1.0) * JITTER
    }
}
