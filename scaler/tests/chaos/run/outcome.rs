//! What is reported of a run.

use std::fmt;

use crate::service::Fates;

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    pub broken: Vec<String>,
    pub fates: Fates,
    pub open: u64,
    pub removals: u32,
    pub takeovers: u64,
    pub kills: u32,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fates {
            arrived,
            answered,
            expired,
            cut,
        } = self.fates;
        write!(
            f,
            "{arrived} requests, {answered} answered, {expired} expired, {cut} streams cut with \
             their worker, {} open; {} removals, {} takeovers, {} kills; {} rules broken",
            self.open,
            self.removals,
            self.takeovers,
            self.kills,
            self.broken.len()
        )
    }
}
