//! When the rate tends to rise: by the clock, where the past shows that it goes by one.
//!
//! Jobs begin on the minute, meetings at the half hour, counters are read out every five minutes. Each
//! clock looked at is an expert that says how likely a rise is at each of its phases, by what it has
//! seen; one more says that rises come at any time. Each is believed by how likely it had said every
//! change to be before it came (Bayesian mixing of predictions), so that none has to be chosen, and
//! one that is wrong is soon not heard.

use tidegate_queue::Moment;

use super::changes::Change;

/// Periods of the clocks, in seconds.
const PERIODS_S: [f64; 6] = [60.0, 300.0, 600.0, 900.0, 1800.0, 3600.0];

/// A clock tells at most so many phases apart, and none shorter than this.
const PHASES: f64 = 60.0;
const SHORTEST_PHASE_S: f64 = 10.0;

/// Changes at no phase in particular that a clock assumes beside those that it has seen.
const ANY_PHASE: f64 = 0.5;

/// How much a clock is believed before any change, as a logarithm, over no clock.
const FIRST_BELIEF: f64 = -1.5;

/// What a change leaves of the weight of those before.
const KEPT: f64 = 0.99;

/// A change of this logarithm counts full, a smaller one for its part.
const FULL_SIZE: f64 = 0.2;

/// A change is dated to about a phase: its neighbours get this share of it each.
const BLUR: f64 = 0.25;

#[derive(Clone, Debug)]
pub(super) struct Clocks {
    clocks: Vec<Clock>,
}

/// What a clock goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hand {
    Rises,
    /// Falls too: what begins and ends by a clock shows it twice as fast.
    Changes,
}

/// An expert.
#[derive(Clone, Debug)]
struct Clock {
    period_s: f64,
    hand: Hand,
    /// Changes seen at each phase.
    seen: Vec<f64>,
    /// Changes up to the begin of each phase, and in all.
    sums: Vec<f64>,
    first: Option<Moment>,
    /// The logarithm of how much likelier it said what came to be than no clock did.
    belief: f64,
}

impl Default for Clocks {
    fn default() -> Self {
        let by = |hand| PERIODS_S.map(|period_s| Clock::new(period_s, hand));
        let clocks = [Hand::Rises, Hand::Changes].into_iter().flat_map(by);
        Clocks {
            clocks: clocks.collect(),
        }
    }
}

impl Clocks {
    pub fn push(&mut self, change: &Change) {
        self.clocks.iter_mut().for_each(|clock| clock.push(change));
    }

    /// How many times likelier than usual a rise is between two moments.
    pub fn likelier(&self, from: Moment, to: Moment) -> f64 {
        let (mut mixed, mut all) = (1.0, 1.0);
        for clock in &self.clocks {
            let weight = (FIRST_BELIEF + clock.belief).exp();
            mixed += weight * clock.likelier(from, to);
            all += weight;
        }
        mixed / all
    }
}

impl Clock {
    fn new(period_s: f64, hand: Hand) -> Clock {
        let phases = (period_s / SHORTEST_PHASE_S).min(PHASES) as usize;
        Clock {
            period_s,
            hand,
            seen: vec![0.0; phases],
            sums: vec![0.0; phases + 1],
            first: None,
            belief: 0.0,
        }
    }

    fn push(&mut self, change: &Change) {
        let size = change.factor.ln();
        if self.hand == Hand::Rises && size <= 0.0 {
            return;
        }
        let weight = (size.abs() / FULL_SIZE).min(1.0);
        let phases = self.seen.len();
        let phase = (self.turns(change.at).fract() * phases as f64) as usize % phases;
        self.first.get_or_insert(change.at);
        if self.has_gone_round(change.at) {
            let share = (self.seen[phase] + ANY_PHASE / phases as f64) / (self.all() + ANY_PHASE);
            self.belief = KEPT * self.belief + weight * (share * phases as f64).ln();
        }
        self.seen.iter_mut().for_each(|seen| *seen *= KEPT);
        self.seen[phase] += weight * (1.0 - 2.0 * BLUR);
        self.seen[(phase + 1) % phases] += weight * BLUR;
        self.seen[(phase + phases - 1) % phases] += weight * BLUR;
        let mut sum = 0.0;
        for (seen, sum_after) in self.seen.iter().zip(&mut self.sums[1..]) {
            sum += seen;
            *sum_after = sum;
        }
    }

    fn all(&self) -> f64 {
        self.sums.last().copied().unwrap_or_default()
    }

    /// Before that, all phases are new to it.
    fn has_gone_round(&self, at: Moment) -> bool {
        let first = self.first.map_or(f64::INFINITY, |first| self.turns(first));
        self.turns(at) - first >= 1.0
    }

    /// Times that the clock has gone round.
    fn turns(&self, at: Moment) -> f64 {
        at.as_secs_f64() / self.period_s
    }

    /// Changes that would have been seen by this point if every round were like those seen.
    fn until(&self, turns: f64) -> f64 {
        let at = turns.fract() * self.seen.len() as f64;
        let phase = at as usize % self.seen.len();
        turns.trunc() * self.all() + self.sums[phase] + (at - phase as f64) * self.seen[phase]
    }

    fn likelier(&self, from: Moment, to: Moment) -> f64 {
        if !self.has_gone_round(from) {
            return 1.0;
        }
        let (from, to) = (self.turns(from), self.turns(to));
        let usual = (to - from).max(f64::MIN_POSITIVE);
        let said = self.until(to) - self.until(from) + ANY_PHASE * usual;
        said / (self.all() + ANY_PHASE) / usual
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After changes by this factor at these seconds, how much likelier than usual a rise is within
    /// a minute of each of those.
    fn learned(changes: &[u64], factor: f64, asked: &[u64]) -> Vec<f64> {
        let mut clocks = Clocks::default();
        for second in changes {
            let at = Moment::from_secs(*second);
            clocks.push(&Change { at, factor });
        }
        let likelier = |second: &u64| {
            clocks.likelier(Moment::from_secs(*second), Moment::from_secs(second + 60))
        };
        asked.iter().map(likelier).collect()
    }

    #[test]
    fn rises_by_a_clock_are_foreseen_and_the_time_between_them_is_quiet() {
        let every_five_minutes: Vec<u64> = (1..=12).map(|round| round * 300 + 40).collect();
        let likelier = learned(&every_five_minutes, 1.3, &[6300, 6370, 6200]);
        assert!((4.0..5.1).contains(&likelier[0]), "{likelier:?}");
        assert!(likelier[1] < 0.15 && likelier[2] < 0.15, "{likelier:?}");
    }

    #[test]
    fn falls_show_a_clock_too() {
        let every_ten_minutes: Vec<u64> = (1..=12).map(|round| round * 600).collect();
        let likelier = learned(&every_ten_minutes, 0.7, &[8370, 8000]);
        assert!(likelier[0] > 5.0 && likelier[1] < 0.3, "{likelier:?}");
    }

    #[test]
    fn rises_at_any_time_are_likelier_at_none() {
        let scattered: Vec<u64> = (1..=60).map(|n| n * 601 + n * n * 97 % 577).collect();
        for likelier in learned(&scattered, 1.3, &[40_000, 41_111, 42_345, 43_210]) {
            assert!((0.4..2.5).contains(&likelier), "{likelier}");
        }
    }

    #[test]
    fn before_anything_was_seen_all_times_are_alike() {
        let likelier = learned(&[], 1.0, &[1000]);
        assert!((likelier[0] - 1.0).abs() < 1e-9, "{likelier:?}");
    }
}
