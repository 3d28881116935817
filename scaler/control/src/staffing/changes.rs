//! When the rate of arrivals changed, by the likelihood ratio of the counts before and after.
//!
//! Of all moments since the last change the one is looked for that parts the counts best into two
//! rates. It is a change when the two are so much likelier than one that chance hardly makes it
//! (generalized likelihood ratio: Lorden, Annals of Mathematical Statistics 1971). A large change is
//! found in seconds, a small one after minutes, and both are dated to the span that they began in.

use std::collections::VecDeque;
use std::time::Duration;

use tidegate_queue::Moment;

/// Counts are taken over such spans, from whole multiples of it on.
const SPAN: Duration = Duration::from_secs(5);

/// Counts that are looked at: a quarter of an hour.
const LONGEST: usize = 180;

/// Two rates are believed when they are so much likelier than one, as a logarithm.
const BELIEVED: f64 = 10.0;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Change {
    pub at: Moment,
    /// Rate after over rate before.
    pub factor: f64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    /// Arrivals in each span since the last change, the newest last.
    counts: VecDeque<f64>,
    /// Begin of the span that is being counted, and arrivals up to then.
    begin: Option<(Moment, u64)>,
}

impl Changes {
    /// Takes in the arrivals up to now, and their variance over their mean.
    pub fn push(&mut self, now: Moment, total: u64, dispersion: f64) -> Option<Change> {
        let span = SPAN.as_millis();
        let index = now.as_millis() / span;
        let begins = Duration::from_millis((index * span) as u64);
        let (begun, before) = *self.begin.get_or_insert((begins, total));
        if begins == begun {
            return None;
        }
        self.begin = Some((begins, total));
        // A pause hides when in it they came, and so does a clock that was set back.
        if begins < begun || begins > begun + 2 * SPAN || total < before {
            self.counts.clear();
            return None;
        }
        let spans = ((begins - begun).as_millis() / span) as u64;
        for _ in 0..spans {
            self.counts
                .push_back((total - before) as f64 / spans as f64);
        }
        while self.counts.len() > LONGEST {
            self.counts.pop_front();
        }
        let (kept, factor) = self.parted(dispersion)?;
        self.counts.drain(..self.counts.len() - kept);
        Some(Change {
            at: begins.saturating_sub(SPAN * kept as u32),
            factor,
        })
    }

    /// How many of the newest counts are of another rate than those before, and its factor.
    fn parted(&self, dispersion: f64) -> Option<(usize, f64)> {
        let all: f64 = self.counts.iter().sum();
        let spans = self.counts.len();
        let likely = |arrivals: f64, spans: usize| match arrivals > 0.0 {
            true => arrivals * (arrivals / spans as f64).ln(),
            false => 0.0,
        };
        let one = likely(all, spans);
        let mut newer = 0.0;
        let newest_first = self.counts.iter().rev().enumerate();
        let parts = newest_first
            .take(spans.saturating_sub(1))
            .map(|(index, count)| {
                newer += count;
                let (kept, older) = (index + 1, all - newer);
                let two = likely(newer, kept) + likely(older, spans - kept);
                let (after, before) = (newer / kept as f64, older / (spans - kept) as f64);
                (two, kept, after / before)
            });
        let (two, kept, factor) = parts.max_by(|a, b| a.0.total_cmp(&b.0))?;
        (two - one > BELIEVED * dispersion).then_some((kept, factor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_backtest::trace;

    /// Changes found in a demand that is drawn by seed 1.
    fn found(demand: &trace::Demand) -> Vec<Change> {
        let mut changes = Changes::default();
        let mut arrivals = demand.arrivals(1).peekable();
        let mut total = 0;
        let seconds = 0..demand.span_s() as u64;
        let found = seconds.filter_map(|second| {
            let now = Moment::from_secs(second);
            while arrivals.next_if(|at| *at <= now).is_some() {
                total += 1;
            }
            changes.push(now, total, 1.0)
        });
        found.collect()
    }

    #[test]
    fn a_step_is_dated_to_its_begin_and_a_steady_rate_has_none() {
        assert_eq!(found(&trace::constant(40.0, 36_000.0)), []);
        let steps = found(&trace::step(40.0, 50.0, 1800.0, 3600.0));
        let [step] = steps.as_slice() else {
            panic!("one change, and not {steps:?}");
        };
        assert!((step.factor / 1.25 - 1.0).abs() < 0.1, "{step:?}");
        assert!((1780..=1820).contains(&step.at.as_secs()), "{step:?}");
    }
}
