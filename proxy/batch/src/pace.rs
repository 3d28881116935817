//! How many lines are in flight at once: as many as the fleet accepts, found by trying.
//!
//! The number grows by one for each answer until the first refusal, from then on by one for each
//! round of answers, and is cut by a third when a round is refused (additive increase,
//! multiplicative decrease: Chiu and Jain 1989). A refusal that says when to come back is obeyed;
//! one that does not is waited out for twice as long as the one before.

use std::time::{Duration, Instant};

/// What is left of the number after a refused round.
const CUT: f64 = 2.0 / 3.0;

/// The number to begin with.
const FIRST: f64 = 4.0;

/// After a refusal that does not say when to come back; doubled with each that follows.
const SHORTEST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// However much later a refusal says.
const LONGEST_OBEYED: Duration = Duration::from_secs(600);

/// The rule, without a clock.
#[derive(Debug)]
pub struct Pace {
    limit: f64,
    most: f64,
    /// Nothing was refused yet.
    is_first_rise: bool,
    /// Refusals since the last answer.
    refusals: u32,
    held_until: Option<Instant>,
}

impl Pace {
    pub fn new(most: usize) -> Pace {
        let most = most.max(1) as f64;
        Pace {
            limit: FIRST.min(most),
            most,
            is_first_rise: true,
            refusals: 0,
            held_until: None,
        }
    }

    pub fn limit(&self) -> usize {
        self.limit as usize
    }

    /// An answer came while `in_flight` were asked, itself included.
    pub fn answered(&mut self, in_flight: usize) {
        self.refusals = 0;
        // What is not used says nothing about what could be.
        if in_flight >= self.limit() {
            let step = if self.is_first_rise {
                1.0
            } else {
                1.0 / self.limit
            };
            self.limit = (self.limit + step).min(self.most);
        }
    }

    /// Nobody took it, and it may be asked again after `retry_after`. Gives the number of refused
    /// rounds since the last answer, when this is the first word of one.
    pub fn refused(&mut self, now: Instant, retry_after: Option<Duration>) -> Option<u32> {
        // Those that were under way when the first was refused are of the same round.
        let is_same_round = self.held_until.is_some_and(|until| now < until);
        if !is_same_round {
            self.limit = (self.limit * CUT).max(1.0);
            self.is_first_rise = false;
            self.refusals = self.refusals.saturating_add(1);
        }
        let doubled = SHORTEST_WAIT.saturating_mul(1 << (self.refusals.clamp(1, 16) - 1));
        let wait = retry_after.unwrap_or(doubled.min(LONGEST_WAIT));
        let until = now + wait.min(LONGEST_OBEYED);
        self.held_until = Some(self.held_until.map_or(until, |held| held.max(until)));
        (!is_same_round).then_some(self.refusals)
    }

    /// How long nothing may be asked.
    pub fn held_for(&self, now: Instant) -> Option<Duration> {
        let left = self.held_until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_what_a_fleet_takes_and_stays_near() {
        let (slots, now) = (50, Instant::now());
        let mut pace = Pace::new(1000);
        let (mut asked, mut taken) = (0, 0);
        for round in 0..400 {
            let now = now + Duration::from_secs(round);
            let limit = pace.limit();
            if limit > slots {
                pace.refused(now, Some(Duration::from_millis(10)));
            }
            let in_flight = limit.min(slots);
            for _ in 0..in_flight {
                pace.answered(limit);
            }
            if round >= 20 {
                (asked, taken) = (asked + slots, taken + in_flight);
            }
        }
        let share = taken as f64 / asked as f64;
        assert!(share > 0.75, "{share}");
    }

    #[test]
    fn a_refusal_is_obeyed_and_counts_once_a_round() {
        let now = Instant::now();
        let mut pace = Pace::new(100);
        (0..40).for_each(|_| pace.answered(100));
        assert_eq!(pace.limit(), 44);
        for _ in 0..44 {
            pace.refused(now, Some(Duration::from_secs(7)));
        }
        assert_eq!(pace.limit(), 29);
        assert_eq!(pace.held_for(now), Some(Duration::from_secs(7)));
        assert_eq!(pace.held_for(now + Duration::from_secs(7)), None);
    }

    #[test]
    fn without_a_word_it_waits_longer_each_time() {
        let mut now = Instant::now();
        let mut pace = Pace::new(100);
        let mut waits = Vec::new();
        for _ in 0..9 {
            pace.refused(now, None);
            let held = pace.held_for(now).expect("held");
            waits.push(held.as_millis());
            now += held;
        }
        assert_eq!(
            waits,
            [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]
        );
        assert_eq!(pace.limit(), 1);
        pace.answered(1);
        assert_eq!(pace.limit(), 2);
    }
}
