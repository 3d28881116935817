//! What happened from tick to tick, gathered over an interval into one datum of each metric.
//!
//! Values that are sampled each tick keep their distribution; what is counted is added up.
//! Pure: the time comes with the tick.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_control::{Action, Answer, Decision, Fleet, Guard, Observation, Time};
use tidegate_protocol::{ModelSignal, Signal};

use super::spread::Spread;
use crate::metrics::{STAGES, stage_name};

/// CloudWatch's limit of values in one datum.
pub const MOST_VALUES: usize = 150;

const OUTCOMES: [&str; 5] = ["answered", "failed", "shed", "expired", "aborted"];

/// What one tick saw and decided.
#[derive(Clone, Copy)]
pub struct Snapshot<'a> {
    pub answers: &'a [Answer],
    /// The policy's only model, if it has one.
    pub model: Option<&'a str>,
    pub seen: &'a Observation,
    pub fleet: &'a Fleet,
    pub decision: &'a Decision,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Count,
    Seconds,
    Milliseconds,
    None,
}

/// One metric over one interval: values, and how often each occurred.
#[derive(Clone, Debug, PartialEq)]
pub struct Datum {
    pub name: &'static str,
    pub unit: Unit,
    /// Beside those of the policy.
    pub dimension: Option<(&'static str, &'static str)>,
    pub values: Vec<(f64, u64)>,
}

/// All metrics of one interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// When the interval began.
    pub at: Time,
    pub data: Vec<Datum>,
}

type Key = (&'static str, Option<(&'static str, &'static str)>);

/// The interval that has begun.
#[derive(Debug)]
pub struct Gather {
    interval_ms: u64,
    /// Which interval since the epoch, so that each minute has exactly one datum.
    slot: Option<u64>,
    sampled: BTreeMap<Key, (Unit, Spread)>,
    counted: BTreeMap<Key, f64>,
    /// Outcomes at each proxy at the last tick, with its epoch.
    earlier: BTreeMap<String, (String, [u64; 5])>,
}

impl Gather {
    pub fn new(interval: Duration) -> Gather {
        Gather {
            interval_ms: (interval.as_millis() as u64).max(1),
            slot: None,
            sampled: BTreeMap::new(),
            counted: BTreeMap::new(),
            earlier: BTreeMap::new(),
        }
    }

    /// Takes in one tick. Returns the interval before, when this tick begins another.
    pub fn tick(&mut self, now: Time, snapshot: &Snapshot<'_>) -> Option<Batch> {
        let finished = self.finish(now);
        self.slot = Some(self.slot_of(now));
        self.sample_traffic(snapshot.seen);
        self.sample_fleet(snapshot);
        self.count_changes(&snapshot.decision.action);
        self.count_outcomes(snapshot);
        finished
    }

    /// Takes in one tick of which another scaler tells: only where to count on from. Returns what
    /// is left of an interval before.
    pub fn watch(&mut self, now: Time, snapshot: &Snapshot<'_>) -> Option<Batch> {
        self.outcomes_since(snapshot);
        self.finish(now)
    }

    fn slot_of(&self, now: Time) -> u64 {
        now.as_ms() / self.interval_ms
    }

    fn finish(&mut self, now: Time) -> Option<Batch> {
        let slot = self.slot?;
        (slot != self.slot_of(now)).then(|| self.take()).flatten()
    }

    /// What is gathered so far, if anything.
    pub fn take(&mut self) -> Option<Batch> {
        let begun = Time::from_ms(self.slot.take()? * self.interval_ms);
        let sampled = std::mem::take(&mut self.sampled).into_iter();
        let sampled = sampled.map(|((name, dimension), (unit, spread))| Datum {
            name,
            unit,
            dimension,
            values: spread.values_and_counts(MOST_VALUES),
        });
        let counted = std::mem::take(&mut self.counted).into_iter();
        let counted = counted.map(|((name, dimension), sum)| Datum {
            name,
            unit: Unit::Count,
            dimension,
            values: vec![(sum, 1)],
        });
        let data: Vec<Datum> = sampled.chain(counted).collect();
        (!data.is_empty()).then_some(Batch { at: begun, data })
    }

    /// While no proxy answers there is nothing to sample: that is a gap, not a zero.
    fn sample_traffic(&mut self, observation: &Observation) {
        let missing = observation.missing().count();
        self.sample("ProxiesMissing", Unit::Count, missing as f64);
        let answered: Vec<_> = (observation.proxies.iter())
            .filter_map(|proxy| proxy.seen.as_ref())
            .collect();
        if answered.is_empty() {
            return;
        }
        let sum = |of: fn(&&tidegate_control::Seen) -> u64| answered.iter().map(of).sum::<u64>();
        self.sample("QueueLength", Unit::Count, sum(|seen| seen.waiting) as f64);
        self.sample("InFlight", Unit::Count, sum(|seen| seen.in_flight) as f64);
        let oldest = answered.iter().filter_map(|seen| seen.oldest_waiting_ms);
        let oldest = oldest.max().unwrap_or(0) as f64 / 1000.0;
        self.sample("OldestWait", Unit::Seconds, oldest);
        self.count("Arrivals", None, sum(|seen| seen.arrivals));
        for seen in answered {
            for (bound_ms, count) in seen.latency.buckets() {
                let latency = self.sampled.entry(("Latency", None));
                let (_, spread) = latency.or_insert((Unit::Milliseconds, Spread::default()));
                spread.add(bound_ms, count);
            }
        }
    }

    fn sample_fleet(&mut self, snapshot: &Snapshot<'_>) {
        let (fleet, decision) = (snapshot.fleet, snapshot.decision);
        for state in STAGES {
            let count = fleet
                .workers
                .iter()
                .filter(|w| stage_name(w.stage) == state);
            let key = ("Workers", Some(("State", state)));
            self.sample_at(key, Unit::Count, count.count() as f64);
        }
        let workers = |count: u32| f64::from(count);
        self.sample("DesiredWorkers", Unit::Count, workers(decision.reason.to));
        self.sample("NeededWorkers", Unit::Count, workers(decision.need));
        if let Some(cost) = decision.cost_per_hour {
            self.sample("CostPerHour", Unit::None, cost);
        }
        let guards = &decision.reason.guards;
        let flag = |of: fn(&Guard) -> bool| f64::from(u8::from(guards.iter().any(of)));
        let at_maximum = flag(|guard| matches!(guard, Guard::Max { .. }));
        self.sample("AtMaximum", Unit::Count, at_maximum);
        let over_budget = flag(|guard| matches!(guard, Guard::Budget { .. }));
        self.sample("AtBudget", Unit::Count, over_budget);
        let held = flag(|guard| matches!(guard, Guard::LaunchesHeld { .. }));
        self.sample("LaunchesHeld", Unit::Count, held);
        self.sample("Heartbeat", Unit::Count, 1.0);
    }

    fn count_changes(&mut self, action: &Action) {
        for (change, count) in [
            ("launch", action.launch as usize),
            ("undrain", action.undrain.len()),
            ("drain", action.drain.len()),
            ("remove", action.remove.len()),
            ("replace", action.replace.len()),
        ] {
            self.count("Decisions", Some(("Change", change)), count as u64);
        }
    }

    fn count_outcomes(&mut self, snapshot: &Snapshot<'_>) {
        let counts = self.outcomes_since(snapshot).into_iter().flatten();
        for (outcome, count) in OUTCOMES.into_iter().zip(counts) {
            self.count("Requests", Some(("Outcome", outcome)), count);
        }
    }

    /// Requests that ended since the tick before; `None` while no proxy answers.
    fn outcomes_since(&mut self, snapshot: &Snapshot<'_>) -> Option<[u64; 5]> {
        let mut counts = None;
        let answers = snapshot.answers;
        self.earlier
            .retain(|source, _| answers.iter().any(|answer| answer.source == *source));
        for answer in answers {
            let Some(signal) = &answer.signal else {
                continue;
            };
            let totals = outcomes(signal, snapshot.model);
            let now = (signal.epoch.clone(), totals);
            let since = match self.earlier.insert(answer.source.clone(), now) {
                // The first snapshot of a proxy is no beginning; a new epoch began at zero.
                None => totals,
                Some((epoch, earlier)) if epoch == signal.epoch => earlier,
                Some(_) => [0; 5],
            };
            let sums = counts.get_or_insert([0; 5]);
            for (sum, (total, before)) in sums.iter_mut().zip(totals.into_iter().zip(since)) {
                *sum += total.saturating_sub(before);
            }
        }
        counts
    }

    fn sample(&mut self, name: &'static str, unit: Unit, value: f64) {
        self.sample_at((name, None), unit, value);
    }

    fn sample_at(&mut self, key: Key, unit: Unit, value: f64) {
        let (_, spread) = (self.sampled.entry(key)).or_insert((unit, Spread::default()));
        spread.add(value, 1);
    }

    fn count(
        &mut self,
        name: &'static str,
        dimension: Option<(&'static str, &'static str)>,
        count: u64,
    ) {
        *self.counted.entry((name, dimension)).or_default() += count as f64;
    }
}

/// Requests that ended, in the order of [`OUTCOMES`], since the proxy's epoch began.
fn outcomes(signal: &Signal, model: Option<&str>) -> [u64; 5] {
    let ours = |line: &&ModelSignal| model.is_none_or(|ours| ours == line.model);
    let lines = signal.models.iter().filter(ours);
    lines.fold([0; 5], |sum, line| {
        let line = [
            line.answered_total,
            line.failed_total,
            line.shed_total,
            line.expired_total,
            line.aborted_total,
        ];
        std::array::from_fn(|index| sum[index] + line[index])
    })
}
