//! The last minutes of traffic over all proxies, and the statistics that policies name.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::observe::{Observation, Seen};
use crate::{Metric, Statistic, Tally, Time};

/// Totals by tick, no further back than the longest window that a policy names.
#[derive(Clone, Debug)]
pub struct Window {
    keep: Duration,
    stale_after: Duration,
    ticks: VecDeque<Tick>,
    present: BTreeMap<String, Present>,
    /// When each proxy was last seen, where its next counts begin.
    counted: BTreeMap<String, Time>,
    health: Health,
    listening: Option<Listening>,
    /// What sources beside the proxies said at each tick.
    values: VecDeque<(Time, BTreeMap<String, f64>)>,
    /// Sources that said too little at the last tick.
    lower_bounds: BTreeSet<String>,
}

/// Since when every configured proxy has answered without a break or a restart.
#[derive(Clone, Debug)]
struct Listening {
    since: Time,
    epochs: Vec<String>,
}

/// How much of what there is to know is known at this tick.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Every configured proxy answered.
    Complete,
    /// These did not; the rest is as others said, or as they themselves said moments ago.
    Partial { missing: Vec<String> },
    /// No proxy has said anything for too long.
    #[default]
    Blind,
}

/// A statistic over a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measure {
    /// In requests, seconds, or events a second, as the metric's unit says.
    Value(f64),
    /// There was nothing to measure: no request ended and none is under way.
    Idle,
    /// Nobody knows.
    Missing,
}

/// The gauges that one proxy last reported.
#[derive(Clone, Copy, Debug)]
struct Present {
    at: Time,
    waiting: u64,
    in_flight: u64,
    oldest_waiting_ms: u64,
    oldest_running_ms: u64,
}

/// All proxies at one tick.
#[derive(Clone, Debug)]
struct Tick {
    at: Time,
    waiting: u64,
    in_flight: u64,
    oldest_waiting_ms: u64,
    oldest_running_ms: u64,
    arrivals: u64,
    counts: Vec<Count>,
    latency: Tally,
}

/// What came to one proxy from `since` to the tick. After an outage that is a long time.
#[derive(Clone, Debug)]
struct Count {
    source: String,
    since: Time,
    arrivals: u64,
}

impl Window {
    /// `keep`: the longest window to be asked for. `stale_after`: how long a proxy's gauges
    /// count when it says nothing newer.
    pub fn new(keep: Duration, stale_after: Duration) -> Window {
        Window {
            keep,
            stale_after,
            ticks: VecDeque::new(),
            present: BTreeMap::new(),
            counted: BTreeMap::new(),
            health: Health::Blind,
            listening: None,
            values: VecDeque::new(),
            lower_bounds: BTreeSet::new(),
        }
    }

    /// Changes the limits; what was taken in stays.
    pub fn resize(&mut self, keep: Duration, stale_after: Duration) {
        self.keep = keep;
        self.stale_after = stale_after;
    }

    /// Takes a tick's observation in.
    pub fn take(&mut self, now: Time, observation: &Observation) {
        for proxy in &observation.proxies {
            if let Some(seen) = &proxy.seen {
                self.present
                    .insert(proxy.source.clone(), Present::of(now, seen));
            }
        }
        let configured = |source: &String| observation.proxies.iter().any(|p| p.source == *source);
        self.present.retain(|source, present| {
            configured(source) && now.since(present.at) <= self.stale_after
        });
        self.health = self.judge(observation);
        self.listen(now, observation);
        if self.health != Health::Blind {
            let tick = self.total(now, observation);
            self.ticks.push_back(tick);
        }
        if !observation.values.is_empty() || !self.values.is_empty() {
            self.values.push_back((now, observation.values.clone()));
        }
        self.lower_bounds.clone_from(&observation.lower_bounds);
        while (self.values.front()).is_some_and(|(at, _)| now.since(*at) > self.keep) {
            self.values.pop_front();
        }
        while (self.ticks.front()).is_some_and(|tick| now.since(tick.at) > self.keep) {
            self.ticks.pop_front();
        }
    }

    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Since when every configured proxy has been there to hear heartbeats and has answered; `None`
    /// while one does not. A worker that nobody heard of before has not been silent.
    pub fn listening_since(&self) -> Option<Time> {
        self.listening.as_ref().map(|listening| listening.since)
    }

    /// Requests that are waiting or in flight now, or arrived since the tick before.
    pub fn demand(&self) -> u64 {
        let last = self.ticks.back().filter(|_| self.health != Health::Blind);
        last.map_or(0, |tick| tick.waiting + tick.in_flight + tick.arrivals)
    }

    /// The statistic of a metric over the `window` that ends now.
    pub fn measure(
        &self,
        now: Time,
        metric: Metric,
        statistic: Statistic,
        window: Duration,
    ) -> Measure {
        if self.health == Health::Blind {
            return Measure::Missing;
        }
        let ticks = || self.ticks.iter().filter(|tick| now.since(tick.at) < window);
        let gauge = |read: fn(&Tick) -> f64| of_values(ticks().map(read).collect(), statistic);
        match metric {
            Metric::QueueLength => gauge(|tick| tick.waiting as f64),
            Metric::InFlight => gauge(|tick| tick.in_flight as f64),
            Metric::Concurrency => gauge(|tick| (tick.waiting + tick.in_flight) as f64),
            Metric::OldestWait => gauge(|tick| tick.oldest_waiting_ms as f64 / 1000.0),
            Metric::RequestRate => rate(ticks(), now - window),
            Metric::Latency => self.latency(statistic, ticks()),
            // Of a source, which has none of these ticks.
            Metric::Value => Measure::Missing,
        }
    }

    /// The statistic of a source's values over the `window` that ends now; not known while the
    /// newest is not fresh.
    pub fn measure_source(
        &self,
        now: Time,
        source: &str,
        statistic: Statistic,
        window: Duration,
    ) -> Measure {
        let newest = self.values.back().filter(|(at, _)| *at == now);
        if newest.is_none_or(|(_, values)| !values.contains_key(source)) {
            return Measure::Missing;
        }
        let recent = self.values.iter().filter(|(at, _)| now.since(*at) < window);
        let values = recent.filter_map(|(_, values)| values.get(source).copied());
        of_values(values.collect(), statistic)
    }

    /// Whether what this source says now is known to be too little.
    pub fn is_lower_bound(&self, source: &str) -> bool {
        self.lower_bounds.contains(source)
    }

    fn listen(&mut self, now: Time, observation: &Observation) {
        let seen = observation.proxies.iter().filter_map(|p| p.seen.as_ref());
        let epochs: Vec<String> = seen.map(|seen| seen.epoch.clone()).collect();
        self.listening = match (&self.health, self.listening.take()) {
            (Health::Complete, Some(listening)) if listening.epochs == epochs => Some(listening),
            (Health::Complete, _) => Some(Listening { since: now, epochs }),
            _ => None,
        };
    }

    fn judge(&self, observation: &Observation) -> Health {
        let missing: Vec<String> = observation.missing().map(str::to_owned).collect();
        match (self.present.is_empty(), missing.is_empty()) {
            (true, _) => Health::Blind,
            (false, true) => Health::Complete,
            (false, false) => Health::Partial { missing },
        }
    }

    fn total(&mut self, now: Time, observation: &Observation) -> Tick {
        let counts = self.counts(now, observation);
        let present = || self.present.values();
        let mut tick = Tick {
            at: now,
            waiting: present().map(|proxy| proxy.waiting).sum(),
            in_flight: present().map(|proxy| proxy.in_flight).sum(),
            oldest_waiting_ms: present().map(|p| p.oldest_waiting_ms).max().unwrap_or(0),
            oldest_running_ms: present().map(|p| p.oldest_running_ms).max().unwrap_or(0),
            arrivals: counts.iter().map(|count| count.arrivals).sum(),
            counts,
            latency: Tally::default(),
        };
        for seen in observation.proxies.iter().filter_map(|p| p.seen.as_ref()) {
            tick.latency.add(&seen.latency);
        }
        tick
    }

    /// What each proxy counted since it was last seen. One that is seen for the first time, by
    /// this run or at all, has counted nothing that has a beginning.
    fn counts(&mut self, now: Time, observation: &Observation) -> Vec<Count> {
        let configured = |source: &String| observation.proxies.iter().any(|p| p.source == *source);
        self.counted.retain(|source, _| configured(source));
        let mut counts = Vec::new();
        for proxy in &observation.proxies {
            let Some(seen) = &proxy.seen else { continue };
            let (source, arrivals) = (proxy.source.clone(), seen.arrivals);
            let since = self.counted.insert(source.clone(), now);
            if let Some(since) = since.filter(|since| seen.counted && *since < now) {
                counts.push(Count {
                    source,
                    since,
                    arrivals,
                });
            }
        }
        counts
    }

    /// Of requests that ended in the window. When none did, the age of the oldest that is under
    /// way: a lower bound of what its latency will be.
    fn latency<'a>(&self, statistic: Statistic, ticks: impl Iterator<Item = &'a Tick>) -> Measure {
        let ended: Tally = ticks.map(|tick| &tick.latency).collect();
        let oldest = |tick: &Tick| tick.oldest_waiting_ms.max(tick.oldest_running_ms);
        let oldest_ms = self.ticks.back().map_or(0, oldest);
        let ended_ms = match statistic {
            Statistic::Mean | Statistic::Rate => ended.mean_ms(),
            Statistic::P95 => ended.quantile_ms(0.95),
            Statistic::P99 => ended.quantile_ms(0.99),
            Statistic::Max => ended.quantile_ms(1.0),
        };
        match (ended_ms, oldest_ms) {
            (Some(ms), _) => Measure::Value(ms / 1000.0),
            (None, 0) => Measure::Idle,
            (None, ms) => Measure::Value(ms as f64 / 1000.0),
        }
    }
}

impl Present {
    fn of(now: Time, seen: &Seen) -> Present {
        Present {
            at: now,
            waiting: seen.waiting,
            in_flight: seen.in_flight,
            oldest_waiting_ms: seen.oldest_waiting_ms.unwrap_or(0),
            oldest_running_ms: seen.oldest_running_ms.unwrap_or(0),
        }
    }
}

/// Arrivals a second since `begin`, added up over the proxies: each one's by the time that its
/// counts span. Of a count that began before, the share that falls after it.
fn rate<'a>(ticks: impl Iterator<Item = &'a Tick>, begin: Time) -> Measure {
    let mut proxies: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for tick in ticks {
        for count in &tick.counts {
            let whole = tick.at.since(count.since).as_secs_f64();
            let within = tick.at.since(count.since.max(begin)).as_secs_f64();
            let (arrivals, seconds) = proxies.entry(&count.source).or_default();
            *arrivals += count.arrivals as f64 * within / whole;
            *seconds += within;
        }
    }
    match proxies.is_empty() {
        true => Measure::Missing,
        false => Measure::Value(proxies.values().map(|(count, span)| count / span).sum()),
    }
}

fn of_values(mut values: Vec<f64>, statistic: Statistic) -> Measure {
    values.sort_by(f64::total_cmp);
    let at_rank = |q: f64| {
        let rank = (q * values.len() as f64).ceil() as usize;
        values.get(rank.saturating_sub(1)).copied()
    };
    let value = match statistic {
        Statistic::Max => at_rank(1.0),
        Statistic::P95 => at_rank(0.95),
        Statistic::P99 => at_rank(0.99),
        Statistic::Mean | Statistic::Rate => match values.len() {
            0 => None,
            count => Some(values.iter().sum::<f64>() / count as f64),
        },
    };
    value.map_or(Measure::Missing, Measure::Value)
}
