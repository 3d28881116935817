//! The group's desired capacity: what we last asked for, and whether somebody else changed it.
//!
//! A read may show the state before our own write. Only a lasting difference is somebody else's change.

use std::collections::VecDeque;
use std::time::Duration;

use tidegate_control::Time;

/// For so long after a write a look may still show what was before it.
const SETTLES_WITHIN: Duration = Duration::from_secs(30);

/// Writes that are remembered: each removal is one.
const MEMORY: usize = 256;

#[derive(Clone, Debug, Default)]
pub struct Desired {
    value: Option<u32>,
    /// The oldest first.
    writes: VecDeque<Write>,
}

#[derive(Clone, Copy, Debug)]
struct Write {
    at: Time,
    before: u32,
    after: u32,
}

/// Somebody else's change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    pub from: u32,
    pub to: u32,
}

impl Desired {
    pub fn value(&self) -> u32 {
        self.value.unwrap_or(0)
    }

    /// We changed it.
    pub fn wrote(&mut self, now: Time, value: u32) {
        self.tried(now, value);
        self.value = Some(value);
    }

    /// We tried to change it, and do not know whether that arrived.
    pub fn tried(&mut self, at: Time, after: u32) {
        let before = self.value();
        self.writes.push_back(Write { at, before, after });
        if self.writes.len() > MEMORY {
            self.writes.pop_front();
        }
    }

    /// What a look shows.
    pub fn seen(&mut self, now: Time, described: u32) -> Option<Foreign> {
        self.writes
            .retain(|write| now.since(write.at) <= SETTLES_WITHIN);
        let from = self.value.replace(described)?;
        if from == described {
            return None;
        }
        if self.writes.iter().any(|write| write.before == described) {
            self.value = Some(from);
            return None;
        }
        match self.writes.iter().any(|write| write.after == described) {
            true => None,
            false => Some(Foreign {
                from,
                to: described,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Time {
        Time::from_ms(second * 1000)
    }

    fn of(value: u32) -> Desired {
        let mut desired = Desired::default();
        assert_eq!(desired.seen(at(0), value), None);
        desired
    }

    #[test]
    fn a_look_that_lags_behind_our_write_is_not_believed() {
        let mut desired = of(3);
        desired.wrote(at(1), 5);
        assert_eq!((desired.seen(at(2), 3), desired.value()), (None, 5));
        assert_eq!((desired.seen(at(9), 5), desired.value()), (None, 5));
    }

    #[test]
    fn a_write_that_never_shows_was_taken_back_by_somebody() {
        let mut desired = of(3);
        desired.wrote(at(1), 5);
        let foreign = Some(Foreign { from: 5, to: 3 });
        assert_eq!((desired.seen(at(40), 3), desired.value()), (foreign, 3));
    }

    #[test]
    fn a_write_without_a_reply_is_ours_when_it_shows() {
        let mut desired = of(3);
        desired.tried(at(1), 5);
        assert_eq!(desired.value(), 3);
        assert_eq!((desired.seen(at(8), 5), desired.value()), (None, 5));
    }

    #[test]
    fn somebody_elses_change_is_told_once_and_believed() {
        let mut desired = of(3);
        let foreign = Some(Foreign { from: 3, to: 9 });
        assert_eq!((desired.seen(at(10), 9), desired.value()), (foreign, 9));
        assert_eq!(desired.seen(at(20), 9), None);
    }
}
