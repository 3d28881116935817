//! The rate mode: requests are counted by short windows of time and all workers are one pool, so
//! that nothing is sorted and no queue is kept. Several times as fast as requests one by one, and
//! not exact: which worker a request is at is not known, only how many each is at in the mean.

mod flow;
mod orders;
mod patience;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use tidegate_queue::{Moment, Queue, QueueConfig};

use super::autoscaler::{Autoscaler, Observed, Seen};
use super::fleet::{Fleet, Turn, WorkerId};
use super::meter::{Meter, Sample, Standing};
use super::simulation::Direction;
use super::{Outage, Outcome, Request, Scenario, Workload};
use crate::trace::Demand;
use flow::Flow;
use tidegate_control::chance::Chance;

/// Everything within a window happens at its end.
const WINDOW: Duration = Duration::from_millis(100);

/// Whether the rate mode knows all that happens in the scenario. It follows no single request, so
/// it cannot say which ones a lost worker takes with it.
pub fn can_be_rated(scenario: &Scenario) -> bool {
    scenario.spot_losses_per_hour == 0.0
}

/// As [`super::run`], by windows. Arrivals, service times and lead times are the same ones.
pub fn run_by_rate(
    scenario: &Scenario,
    demand: &Demand,
    seed: u64,
    autoscaler: &mut dyn Autoscaler,
) -> Outcome {
    let mut requests = Workload::new(scenario, demand, seed).peekable();
    let mut pool = Pool::new(scenario, demand, seed, autoscaler);
    let mut arrived = Vec::new();
    while !(pool.is_over() && requests.peek().is_none()) {
        let window_ends = pool.now + WINDOW;
        arrived.clear();
        while let Some(request) = requests.next_if(|request| request.arrived < window_ends) {
            arrived.push(request);
        }
        pool.pass(window_ends, &arrived);
    }
    pool.into_outcome()
}

struct Pool<'a> {
    scenario: &'a Scenario,
    autoscaler: &'a mut dyn Autoscaler,
    now: Moment,
    ends: Moment,
    next_tick: Moment,
    flow: Flow,
    fleet: Fleet,
    /// Holds the endpoints of workers; no request goes through it.
    endpoints: Queue,
    leaving: BTreeSet<WorkerId>,
    meter: Meter,
    samples: VecDeque<Sample>,
    polls: Chance,
    starting: u32,
    direction: Option<Direction>,
    reversals: u32,
    billed: Option<Moment>,
}

impl<'a> Pool<'a> {
    fn new(
        scenario: &'a Scenario,
        demand: &Demand,
        seed: u64,
        autoscaler: &'a mut dyn Autoscaler,
    ) -> Pool<'a> {
        let mut endpoints = Queue::new(QueueConfig::default());
        let mut fleet = Fleet::new(scenario, seed);
        let starting = scenario.first_workers(demand);
        fleet.begin(&mut endpoints, starting);
        let next_tick = autoscaler.timing().period;
        Pool {
            scenario,
            autoscaler,
            now: Moment::ZERO,
            ends: Moment::from_secs_f64(demand.span_s()),
            next_tick,
            flow: Flow::new(scenario, WINDOW),
            fleet,
            endpoints,
            leaving: BTreeSet::new(),
            meter: Meter::default(),
            samples: VecDeque::new(),
            polls: Chance::new(seed, "polls"),
            starting,
            direction: None,
            reversals: 0,
            billed: None,
        }
    }

    /// Whether the demand has ended and nothing is left of it.
    fn is_over(&self) -> bool {
        self.now > self.ends && self.flow.is_empty()
    }

    /// One window.
    fn pass(&mut self, until: Moment, arrived: &[Request]) {
        if until > self.ends && self.billed.is_none() {
            self.billed = Some(self.fleet.bill(self.ends));
        }
        self.meter.advance(until, self.standing());
        self.now = until;
        self.flow.complete(until);
        self.take_turns();
        arrived.iter().for_each(|_| self.meter.arrived());
        self.flow.take(until, arrived, self.slots());
        self.end_those_that_left();
        if until >= self.next_tick {
            self.tick();
        }
    }

    fn slots(&self) -> f64 {
        f64::from(self.fleet.serving() * self.scenario.slots)
    }

    fn standing(&self) -> Standing {
        Standing {
            in_flight: self.flow.in_flight(),
            waiting: self.flow.waiting(),
            serving: self.fleet.serving(),
            booting: self.fleet.booting(),
        }
    }

    fn take_turns(&mut self) {
        while self.fleet.next_turn_at() <= self.now {
            if let Some((id, Turn::Ready)) = self.fleet.take_turn() {
                self.fleet.ready(self.now, &mut self.endpoints, id);
            }
        }
    }

    fn tick(&mut self) {
        let timing = self.autoscaler.timing();
        self.next_tick += timing.period;
        if self.next_tick > self.ends {
            self.next_tick = Moment::MAX;
        }
        let missed = self.scenario.missed_polls;
        let blind = Outage::covers(&self.scenario.metric_outages, self.now)
            || (missed > 0.0 && self.polls.unit() <= missed);
        if !blind {
            self.samples.push_back(self.meter.read(self.standing()));
        }
        let newest = self.now.checked_sub(timing.lag);
        let old_enough = |sample: &Sample| newest.is_some_and(|newest| sample.at <= newest);
        while self.samples.get(1).is_some_and(old_enough) {
            self.samples.pop_front();
        }
        let sample = self.samples.front().copied().filter(old_enough);
        let (serving, booting) = (self.fleet.serving(), self.fleet.booting());
        let observed = Observed::new(sample.filter(|_| !blind), serving, booting);
        let seen = Seen::new(self.now, &self.flow, &self.fleet, blind);
        let orders = self.autoscaler.tick(self.now, &observed.with(seen));
        self.carry_out(orders);
    }

    fn into_outcome(self) -> Outcome {
        let hours = self.ends.as_secs_f64() / 3600.0;
        let billed = self.billed.unwrap_or_else(|| self.fleet.bill(self.ends));
        Outcome {
            instance_hours: billed.as_secs_f64() / 3600.0,
            reversals_per_hour: f64::from(self.reversals) / hours,
            launches: self.fleet.launched() - self.starting,
            timeline: self.meter.into_minutes(),
            ..self.flow.into_score().close(self.ends)
        }
    }
}
