//! A table of counts as a demand that rises and falls, instead of one that jumps.
//!
//! A table has one count for each interval. Replayed as one rate per interval, the demand would change
//! only at the ends of intervals. So the rate is drawn
//! through straight lines, with a knot at each interval's begin and at its middle, such that every
//! interval keeps its count. Records of single requests say when each came, and stay as they are.

use crate::trace::{Demand, Segment};

/// How a table of counts or rates is replayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Replay {
    /// The rate rises and falls in straight lines; each interval keeps its count.
    #[default]
    Linear,
    /// Each interval has one rate from its begin to its end.
    Stairs,
}

/// Lines are drawn as so many stairs in each half of an interval.
const PIECES: usize = 12;

/// Counts of shorter intervals are nearly the arrivals themselves: chance is all that is between them.
const SHORTEST_S: f64 = 10.0;

/// Variance over mean of the arrivals in ten seconds, where a table does not say: the mean of
/// what the two records of requests in tests/traces have, 1.09 (azure) and 1.27 (mooncake).
const DISPERSION: f64 = 1.2;

impl Replay {
    /// The demand of a recorded trace, as it is to be replayed.
    pub fn apply(self, demand: Demand) -> Demand {
        let is_record = demand.segments().iter().all(|one| one.requests == 1.0);
        match self {
            Replay::Linear if !is_record => interpolated(&demand),
            _ => demand,
        }
    }
}

/// One interval of a table.
#[derive(Clone, Copy)]
struct Interval {
    begins_s: f64,
    length_s: f64,
    per_s: f64,
    segment: Segment,
}

fn interpolated(demand: &Demand) -> Demand {
    let mut begins_s = 0.0;
    let intervals = demand.segments().iter().filter_map(|segment| {
        let length_s = segment.ends_s - begins_s;
        let interval = Interval {
            begins_s,
            length_s,
            per_s: segment.requests / length_s,
            segment: *segment,
        };
        begins_s = segment.ends_s;
        (length_s > 0.0).then_some(interval)
    });
    let intervals: Vec<Interval> = intervals.collect();
    let mut segments = Vec::with_capacity(intervals.len() * 2 * PIECES);
    for (index, interval) in intervals.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|at| intervals.get(at));
        let first = before.map_or(interval.per_s, |before| between(before, interval));
        let after = intervals.get(index + 1);
        let last = after.map_or(interval.per_s, |after| between(interval, after));
        match interval.length_s >= SHORTEST_S {
            true => draw(interval, first, last, &mut segments),
            false => segments.push(interval.segment),
        }
    }
    Demand::new(segments).beginning_as(demand)
}

/// The rate where two intervals meet. At most twice the smaller one's, since a line from more could not
/// keep that one's count without going below zero.
fn between(before: &Interval, after: &Interval) -> f64 {
    let meeting = (before.per_s * after.length_s + after.per_s * before.length_s)
        / (before.length_s + after.length_s);
    meeting.min(2.0 * before.per_s.min(after.per_s))
}

/// From the first rate to that of the middle, and on to the last one.
fn draw(interval: &Interval, first: f64, last: f64, segments: &mut Vec<Segment>) {
    let middle = 2.0 * interval.per_s - (first + last) / 2.0;
    let piece_s = interval.length_s / (2 * PIECES) as f64;
    let dispersion = match interval.segment.dispersion {
        1.0 => DISPERSION,
        known => known,
    };
    for piece in 0..2 * PIECES {
        let share = (piece % PIECES) as f64 + 0.5;
        let (from, to) = match piece < PIECES {
            true => (first, middle),
            false => (middle, last),
        };
        segments.push(Segment {
            ends_s: interval.begins_s + (piece + 1) as f64 * piece_s,
            requests: (from + (to - from) * share / PIECES as f64) * piece_s,
            dispersion,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace;

    #[test]
    fn every_interval_keeps_its_count_and_no_rate_jumps_or_is_negative() {
        let rows = [40, 60, 400, 0, 10, 12, 11, 300, 300, 20];
        let lines = rows.iter().enumerate();
        let lines = lines.map(|(row, count)| format!("{},{count}\n", row * 300));
        let text = format!("timestamp,value\n{}", lines.collect::<String>());
        let demand = Replay::Linear.apply(trace::parse(&text).expect("it is a trace"));
        for (row, count) in rows.iter().enumerate() {
            let begin = row as f64 * 300.0;
            let found = demand.cut(begin, begin + 300.0).requests();
            assert!((found - f64::from(*count)).abs() < 1e-6, "{row}: {found}");
        }
        let requests = demand.segments().iter().map(|piece| piece.requests);
        let requests: Vec<f64> = requests.collect();
        assert!(requests.iter().all(|requests| *requests >= -1e-9));
        let largest = requests
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).abs())
            .fold(0.0, f64::max);
        // From 0 to 1,100 a interval, in twelve pieces of a half.
        assert!(largest < 5.0, "{largest}");
    }

    #[test]
    fn single_requests_and_stairs_stay_where_they_are() {
        let record = trace::parse("timestamp,cost\n0,1\n40,1\n41,1\n200,1\n").expect("a trace");
        assert_eq!(Replay::Linear.apply(record.clone()), record);
        let counts = trace::parse("timestamp,value\n0,4\n60,9\n120,1\n").expect("a trace");
        assert_eq!(Replay::Stairs.apply(counts.clone()), counts);
        assert_ne!(Replay::Linear.apply(counts.clone()), counts);
    }
}
