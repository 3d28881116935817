//! How a run went.

use std::time::Duration;

use tidegate_queue::Moment;

use super::{Request, Sample, Scenario};

/// Latencies are counted to the millisecond up to this.
const LONGEST_MS: usize = 120_000;

const MINUTE_S: u64 = 60;

/// What one run of one policy came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    pub arrivals: u64,
    /// Answered within the SLO.
    pub on_time: u64,
    pub late: u64,
    pub shed: u64,
    pub expired: u64,
    /// In flight when their worker was taken away by the autoscaler, and those that a lost worker
    /// took with it.
    pub killed_in_flight: u64,
    /// Requests that take a worker longer than the SLO, so that no policy answers them in time.
    pub hopeless: u64,
    pub p50_ms: f64,
    pub p95_ms: f64,
    /// Of all arrivals; one that got no answer counts with its deadline at least.
    pub p99_ms: f64,
    /// Mean time in queue of those that were handed to a worker.
    pub mean_wait_s: f64,
    /// Launch to end, booting counted.
    pub instance_hours: f64,
    /// Times that growing turned into shrinking or the other way round.
    pub reversals_per_hour: f64,
    /// Minutes in which fewer requests were answered in time than promised, of those that a free
    /// worker would have answered in time.
    pub violation_minutes: u64,
    /// Workers launched after the start.
    pub launches: u32,
    pub span: Duration,
    /// A reading about every minute.
    pub timeline: Vec<Sample>,
    /// 95th percentile of the age of what ended in each minute, in ms; 0 where nothing did.
    pub p95_ms_by_minute: Vec<u32>,
}

impl Outcome {
    /// Share of arrivals that were answered within the SLO.
    pub fn attainment(&self) -> f64 {
        self.on_time as f64 / self.arrivals.max(1) as f64
    }

    /// The attainment with a free worker for everyone at all times.
    pub fn best_attainment(&self) -> f64 {
        1.0 - self.hopeless as f64 / self.arrivals.max(1) as f64
    }
}

/// How one request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Answered,
    Shed,
    Expired,
    Killed,
}

/// Adds up how requests end.
#[derive(Clone, Debug)]
pub(super) struct Score {
    slo: Duration,
    deadline: Duration,
    attainment: f64,
    outcome: Outcome,
    by_ms: Vec<u64>,
    minutes: Vec<Minute>,
    waited: Duration,
    granted: u64,
    /// Ages of what ended in the current minute.
    ages_ms: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Minute {
    hopeful: u64,
    missed: u64,
}

impl Score {
    pub fn new(scenario: &Scenario) -> Score {
        Score {
            slo: *scenario.slo,
            deadline: *scenario.deadline,
            attainment: scenario.attainment,
            outcome: Outcome::default(),
            by_ms: vec![0; LONGEST_MS + 1],
            minutes: Vec::new(),
            waited: Duration::ZERO,
            granted: 0,
            ages_ms: Vec::new(),
        }
    }

    pub fn granted(&mut self, waited: Duration) {
        self.granted += 1;
        self.waited += waited;
    }

    /// Running requests lost their worker to the autoscaler, or were lost with it.
    pub fn killed(&mut self, count: u64) {
        self.outcome.killed_in_flight += count;
    }

    pub fn ended(&mut self, now: Moment, request: Request, ending: Ending) {
        let age = now.saturating_sub(request.arrived);
        let on_time = ending == Ending::Answered && age <= self.slo;
        let outcome = &mut self.outcome;
        outcome.arrivals += 1;
        match ending {
            Ending::Answered if on_time => outcome.on_time += 1,
            Ending::Answered => outcome.late += 1,
            Ending::Shed => outcome.shed += 1,
            Ending::Expired => outcome.expired += 1,
            Ending::Killed => {}
        }
        let counted = match ending {
            Ending::Answered => age,
            _ => age.max(self.deadline),
        };
        let counted_ms = (counted.as_millis() as usize).min(LONGEST_MS);
        self.by_ms[counted_ms] += 1;
        self.note_age(now, counted_ms as u32);
        if request.service > self.slo {
            self.outcome.hopeless += 1;
            return;
        }
        let index = (request.arrived.as_secs() / MINUTE_S) as usize;
        if self.minutes.len() <= index {
            self.minutes.resize(index + 1, Minute::default());
        }
        self.minutes[index].hopeful += 1;
        self.minutes[index].missed += u64::from(!on_time);
    }

    fn note_age(&mut self, now: Moment, age_ms: u32) {
        let minute = (now.as_secs() / MINUTE_S) as usize;
        while self.outcome.p95_ms_by_minute.len() < minute {
            self.close_minute();
        }
        self.ages_ms.push(age_ms);
    }

    fn close_minute(&mut self) {
        let rank = (self.ages_ms.len() * 95).div_ceil(100);
        let p95_ms = match rank.checked_sub(1) {
            Some(index) => *self.ages_ms.select_nth_unstable(index).1,
            None => 0,
        };
        self.outcome.p95_ms_by_minute.push(p95_ms);
        self.ages_ms.clear();
    }

    /// What is known from the requests alone; the rest is the fleet's.
    pub fn close(mut self, span: Duration) -> Outcome {
        self.close_minute();
        let allowed = 1.0 - self.attainment;
        let violated = |minute: &&Minute| minute.missed as f64 > allowed * minute.hopeful as f64;
        Outcome {
            p50_ms: self.quantile_ms(0.5),
            p95_ms: self.quantile_ms(0.95),
            p99_ms: self.quantile_ms(0.99),
            mean_wait_s: self.waited.as_secs_f64() / self.granted.max(1) as f64,
            violation_minutes: self.minutes.iter().filter(violated).count() as u64,
            span,
            ..self.outcome
        }
    }

    fn quantile_ms(&self, q: f64) -> f64 {
        let rank = (q * self.outcome.arrivals as f64).ceil() as u64;
        let mut seen = 0;
        let at = self.by_ms.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        at.unwrap_or(LONGEST_MS) as f64
    }
}
