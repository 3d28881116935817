//! Demand over time: read from a recorded trace or generated, scaled, cut, and turned into
//! arrivals.
//!
//! Every form of trace becomes one thing, a [`Demand`]: how many requests are expected by when.
//! A table of rates has one segment per row. A record of single requests has one segment per gap,
//! each with one request, so that scaling it up keeps its bursts where they were.

mod arrivals;
mod cloudwatch;
mod cloudwatch_cli;
mod forms;
mod generate;
mod ledger;
mod parse;
mod prometheus;
mod rows;
mod spec;
mod timestamp;

pub use arrivals::Arrivals;
pub use generate::{constant, flash_crowd, on_off, ramp, step};
pub use ledger::recorded;
pub use parse::{TraceError, parse, parse_file};
pub use spec::{SpecError, is_spec, made_up, no_shape};

use std::time::Duration;

/// Smaller times are counted from the trace's own beginning, larger ones from 1970: this is in 1973.
const FIRST_DATE_S: f64 = 1e8;

/// An index of dispersion beyond this is not drawn: what it then measures is a change of rate
/// within the window, not the clumping of arrivals.
const MOST_DISPERSION: f64 = 25.0;

/// A stretch of time with a constant expected rate, from the end of the one before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Segment {
    /// Seconds since the demand began.
    pub ends_s: f64,
    /// Requests expected in it.
    pub requests: f64,
    /// Variance of the count over its mean, for long windows: 1 for Poisson arrivals.
    pub dispersion: f64,
}

/// Expected requests over time, from second 0 on.
#[derive(Clone, Debug, PartialEq)]
pub struct Demand {
    segments: Vec<Segment>,
    /// Seconds in which nothing was collected, so that what was there is a guess.
    bridged_s: f64,
    /// When it began, since 1970; zero when that is not known.
    began: Duration,
}

/// One row of a table of rates, before its gaps are filled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub length_s: f64,
    /// `None` when nothing was collected, which says nothing about the demand.
    pub per_s: Option<f64>,
    pub dispersion: f64,
}

impl Demand {
    /// Segments must be in the order of their ends.
    pub(crate) fn new(segments: Vec<Segment>) -> Demand {
        Demand {
            segments,
            bridged_s: 0.0,
            began: Duration::ZERO,
        }
    }

    /// The same demand, which began so many seconds after 1970, if that is a date at all.
    pub(crate) fn beginning_at(self, at_s: f64) -> Demand {
        // The law's clock has whole milliseconds.
        let began = match at_s >= FIRST_DATE_S {
            true => Duration::from_millis((at_s * 1000.0) as u64),
            false => Duration::ZERO,
        };
        Demand { began, ..self }
    }

    /// The same demand, which began when another did.
    pub(crate) fn beginning_as(self, other: &Demand) -> Demand {
        Demand {
            began: other.began,
            ..self
        }
    }

    /// When it began, since 1970 in UTC. Zero for a demand without dates.
    pub fn began(&self) -> Duration {
        self.began
    }

    /// Fills windows in which nothing was collected with a straight line between the rates
    /// around them.
    pub(crate) fn from_windows(windows: &[Window]) -> Demand {
        let known: Vec<(usize, f64)> = (windows.iter().enumerate())
            .filter_map(|(index, window)| window.per_s.map(|rate| (index, rate)))
            .collect();
        let mut ends_s = 0.0;
        let segments = windows.iter().enumerate().map(|(index, window)| {
            ends_s += window.length_s;
            Segment {
                ends_s,
                requests: between_neighbours(&known, index) * window.length_s,
                dispersion: window.dispersion,
            }
        });
        let unknown = windows.iter().filter(|window| window.per_s.is_none());
        Demand {
            bridged_s: unknown.map(|window| window.length_s).sum(),
            ..Demand::new(segments.collect())
        }
    }

    /// Seconds of a recorded trace in which nothing was collected, so that the rates around them
    /// stand for what was there.
    pub fn bridged_s(&self) -> f64 {
        self.bridged_s
    }

    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Seconds from begin to end.
    pub fn span_s(&self) -> f64 {
        self.segments.last().map_or(0.0, |last| last.ends_s)
    }

    /// Requests expected in all.
    pub fn requests(&self) -> f64 {
        self.segments.iter().map(|segment| segment.requests).sum()
    }

    /// Mean requests per second.
    pub fn mean_rate(&self) -> f64 {
        self.requests() / self.span_s()
    }

    /// Mean requests per second over the first `seconds`.
    pub fn first_rate(&self, seconds: f64) -> f64 {
        let first = self.cut(0.0, seconds.min(self.span_s()));
        first.mean_rate()
    }

    /// The same demand with another mean rate.
    ///
    /// Scaling down is thinning, which makes arrivals less bursty: the index of dispersion I
    /// becomes 1 + f (I - 1) when a share f is kept (Cox and Lewis, 1966). Scaling up adds
    /// clients like those that are there, which leaves it as it is.
    pub fn scaled_to(&self, per_s: f64) -> Demand {
        let factor = per_s / self.mean_rate();
        let kept = factor.min(1.0);
        let segments = self.segments.iter().map(|segment| Segment {
            requests: segment.requests * factor,
            dispersion: (1.0 + kept * (segment.dispersion - 1.0)).min(MOST_DISPERSION),
            ..*segment
        });
        Demand::new(segments.collect()).beginning_as(self)
    }

    /// What lies between two points in time, beginning at second 0 again.
    pub fn cut(&self, from_s: f64, to_s: f64) -> Demand {
        let mut begins_s = 0.0;
        let mut inside = Vec::new();
        for segment in &self.segments {
            let (low, high) = (from_s.max(begins_s), to_s.min(segment.ends_s));
            if low < high || (segment.ends_s == begins_s && low == high) {
                let length = segment.ends_s - begins_s;
                let share = if length > 0.0 {
                    (high - low) / length
                } else {
                    1.0
                };
                inside.push(Segment {
                    ends_s: high - from_s,
                    requests: segment.requests * share,
                    dispersion: segment.dispersion,
                });
            }
            begins_s = segment.ends_s;
        }
        let cut = Demand::new(inside);
        match self.began.is_zero() {
            true => cut,
            false => cut.beginning_at(self.began.as_secs_f64() + from_s),
        }
    }

    /// Before and after the middle of its time: for tuning, and for judging what was tuned.
    pub fn halves(&self) -> (Demand, Demand) {
        let (middle, end) = (self.span_s() / 2.0, self.span_s());
        (self.cut(0.0, middle), self.cut(middle, end))
    }

    /// Draws arrivals; the same seed draws the same ones.
    pub fn arrivals(&self, seed: u64) -> Arrivals<'_> {
        Arrivals::new(self, seed)
    }
}

/// The rate of window `index`: its own where it is known, else on the line between the nearest
/// known ones.
fn between_neighbours(known: &[(usize, f64)], index: usize) -> f64 {
    let after = known.partition_point(|(at, _)| *at < index);
    let right = known.get(after);
    let left = after.checked_sub(1).and_then(|before| known.get(before));
    match (left, right) {
        (_, Some((at, rate))) if *at == index => *rate,
        (Some((from, low)), Some((to, high))) => {
            let share = (index - from) as f64 / (to - from) as f64;
            low + share * (high - low)
        }
        (Some((_, rate)), None) | (None, Some((_, rate))) => *rate,
        (None, None) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(rates: &[Option<f64>]) -> Demand {
        let window = |per_s: &Option<f64>| Window {
            length_s: 10.0,
            per_s: *per_s,
            dispersion: 5.0,
        };
        Demand::from_windows(&rates.iter().map(window).collect::<Vec<_>>())
    }

    #[test]
    fn a_gap_is_bridged_and_not_taken_for_silence() {
        let demand = windows(&[None, Some(2.0), None, None, Some(8.0), None]);
        let rates: Vec<f64> = demand
            .segments()
            .iter()
            .map(|s| s.requests / 10.0)
            .collect();
        assert_eq!(rates, [2.0, 2.0, 4.0, 6.0, 8.0, 8.0]);
    }

    #[test]
    fn scaling_down_thins_the_bursts_and_scaling_up_keeps_them() {
        let demand = windows(&[Some(2.0), Some(6.0)]);
        let thinner = demand.scaled_to(1.0);
        assert_eq!(thinner.mean_rate(), 1.0);
        assert_eq!(thinner.segments()[0].dispersion, 2.0);
        assert_eq!(demand.scaled_to(40.0).segments()[0].dispersion, 5.0);
    }

    #[test]
    fn a_demand_with_dates_keeps_them_and_one_without_begins_in_1970() {
        let noon = Duration::from_secs(1_700_136_000);
        let text = "timestamp,value\n2023-11-16 12:00:00,60\n2023-11-16 12:01:00,120\n";
        let dated = parse(text).expect("it is a trace");
        assert_eq!(dated.began(), noon);
        assert_eq!(dated.scaled_to(9.0).began(), noon);
        let (first, second) = dated.halves();
        assert_eq!(first.began(), noon);
        assert_eq!(second.began(), noon + Duration::from_secs(60));
        let requests = "timestamp,cost\n1700136000.5,1\n1700136001,1\n";
        let requests = parse(requests).expect("it is a trace");
        assert_eq!(requests.began(), noon + Duration::from_millis(500));
        let relative = parse("timestamp,value\n60,60\n120,120\n").expect("it is a trace");
        assert_eq!(relative.began(), Duration::ZERO);
        assert_eq!(relative.cut(30.0, 60.0).began(), Duration::ZERO);
    }

    #[test]
    fn cuts_share_a_segment_by_time() {
        let demand = windows(&[Some(2.0), Some(6.0)]);
        let (first, second) = demand.cut(5.0, 15.0).halves();
        assert_eq!((first.span_s(), first.requests()), (5.0, 10.0));
        assert_eq!((second.span_s(), second.requests()), (5.0, 30.0));
        assert_eq!(demand.first_rate(15.0), 50.0 / 15.0);
    }
}
