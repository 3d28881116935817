//! The events of a run, in the order of time.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};

use tidegate_queue::{Ask, ClassConfig, EndpointId, Moment, Queue, QueueConfig, Ticket};

use super::autoscaler::{Autoscaler, Observed, Seen};
use super::fleet::{Fleet, Turn, WorkerId};
use super::meter::{Meter, Sample, Standing};
use super::orders::Ended;
use super::outcome::{Ending, Outcome, Score};
use super::{Outage, Request, Scenario, Workload};
use crate::trace::Demand;
use tidegate_control::chance::Chance;

/// Replays the demand under the autoscaler. The demand is taken as it is: scale it before.
///
/// Bills and ticks stop with the demand; what is then in the system is still brought to its end.
pub fn run(
    scenario: &Scenario,
    demand: &Demand,
    seed: u64,
    autoscaler: &mut dyn Autoscaler,
) -> Outcome {
    let mut requests = Workload::new(scenario, demand, seed);
    let mut simulation = Simulation::new(scenario, demand, seed, autoscaler);
    let mut arriving = requests.next();
    loop {
        let arrival = arriving.map_or(Moment::MAX, |request| request.arrived);
        let completion = simulation.next_completion_at();
        let turn = simulation.fleet.next_turn_at();
        let expiry = simulation.next_expiry_at();
        let tick = simulation.next_tick;
        let next = arrival.min(completion).min(turn).min(expiry).min(tick);
        if arrival == Moment::MAX && simulation.is_over(next) {
            return simulation.into_outcome();
        }
        simulation.advance(next);
        if completion == next {
            simulation.complete();
        } else if turn == next {
            simulation.take_turn();
        } else if arrival == next {
            simulation.arrive(arriving);
            arriving = requests.next();
        } else if expiry == next {
            simulation.expire();
        } else {
            simulation.tick();
        }
    }
}

/// A request on a worker.
#[derive(Clone, Copy, Debug)]
struct Running {
    ticket: Ticket,
    endpoint: EndpointId,
    request: Request,
}

/// Orders what runs by when it is done, and then by age. Small, because the heap moves it about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Completion {
    done: Moment,
    ticket: Ticket,
    /// Its place among those that run.
    place: u32,
}

/// A request in queue.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    ticket: Ticket,
    request: Request,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Up,
    Down,
}

pub(super) struct Simulation<'a> {
    pub scenario: &'a Scenario,
    autoscaler: &'a mut dyn Autoscaler,
    pub now: Moment,
    ends: Moment,
    next_tick: Moment,
    pub queue: Queue,
    pub fleet: Fleet,
    /// Workers that end as soon as they are empty.
    pub leaving: BTreeSet<WorkerId>,
    /// In the order of tickets, which is that of the queue.
    waiting: VecDeque<Waiting>,
    completions: BinaryHeap<Reverse<Completion>>,
    /// By place; places that are free are overwritten by the next.
    running: Vec<Running>,
    free: Vec<u32>,
    meter: Meter,
    samples: VecDeque<Sample>,
    polls: Chance,
    pub score: Score,
    starting: u32,
    direction: Option<Direction>,
    reversals: u32,
    /// The bill when the demand ended.
    billed: Option<Moment>,
}

impl<'a> Simulation<'a> {
    fn new(
        scenario: &'a Scenario,
        demand: &Demand,
        seed: u64,
        autoscaler: &'a mut dyn Autoscaler,
    ) -> Simulation<'a> {
        let class = ClassConfig {
            waiting: scenario.waiting,
            ..ClassConfig::default()
        };
        let mut queue = Queue::new(QueueConfig {
            classes: vec![class],
            ..QueueConfig::default()
        });
        let mut fleet = Fleet::new(scenario, seed);
        let starting = scenario.first_workers(demand);
        fleet.begin(&mut queue, starting);
        let ends = Moment::from_secs_f64(demand.span_s());
        let next_tick = autoscaler.timing().period;
        Simulation {
            scenario,
            autoscaler,
            now: Moment::ZERO,
            ends,
            next_tick,
            queue,
            fleet,
            leaving: BTreeSet::new(),
            waiting: VecDeque::new(),
            completions: BinaryHeap::new(),
            running: Vec::new(),
            free: Vec::new(),
            meter: Meter::default(),
            samples: VecDeque::new(),
            polls: Chance::new(seed, "polls"),
            score: Score::new(scenario),
            starting,
            direction: None,
            reversals: 0,
            billed: None,
        }
    }

    fn next_completion_at(&self) -> Moment {
        let next = self.completions.peek();
        next.map_or(Moment::MAX, |Reverse(next)| next.done)
    }

    /// All requests have the same patience, so the head of the queue is the first to lose it.
    fn next_expiry_at(&self) -> Moment {
        let head = self.waiting.front();
        head.map_or(Moment::MAX, |head| self.deadline(&head.request))
    }

    fn deadline(&self, request: &Request) -> Moment {
        request.arrived + *self.scenario.deadline
    }

    /// Whether the demand has ended and nothing is left of it.
    fn is_over(&self, next: Moment) -> bool {
        next > self.ends && self.completions.is_empty() && self.waiting.is_empty()
    }

    fn standing(&self) -> Standing {
        Standing {
            in_flight: self.queue.in_flight() as u32,
            waiting: self.waiting.len() as u32,
            serving: self.fleet.serving(),
            booting: self.fleet.booting(),
        }
    }

    fn advance(&mut self, to: Moment) {
        if to > self.ends && self.billed.is_none() {
            self.billed = Some(self.fleet.bill(self.ends));
        }
        self.meter.advance(to, self.standing());
        self.now = to;
    }

    fn arrive(&mut self, request: Option<Request>) {
        let Some(request) = request else { return };
        self.meter.arrived();
        let ask = Ask::new(request.arrived, self.deadline(&request));
        match self.queue.arrive(self.now, ask) {
            Ok(ticket) => {
                self.waiting.push_back(Waiting { ticket, request });
                self.hand_out();
            }
            Err(_) => self.score.ended(self.now, request, Ending::Shed),
        }
    }

    pub fn hand_out(&mut self) {
        while let Some(grant) = self.queue.hand_out(self.now) {
            // The head, unless the queue has found an endpoint to be slow.
            let place = self.waiting.partition_point(|w| w.ticket < grant.ticket);
            let Some(head) = self.waiting.remove(place) else {
                return;
            };
            debug_assert_eq!(head.ticket, grant.ticket, "both know the same requests");
            self.score.granted(self.now - head.request.arrived);
            let place = self.place(Running {
                ticket: grant.ticket,
                endpoint: grant.endpoint,
                request: head.request,
            });
            self.completions.push(Reverse(Completion {
                done: self.now + head.request.service,
                ticket: grant.ticket,
                place,
            }));
        }
    }

    fn place(&mut self, running: Running) -> u32 {
        match self.free.pop() {
            Some(place) => {
                self.running[place as usize] = running;
                place
            }
            None => {
                self.running.push(running);
                self.running.len() as u32 - 1
            }
        }
    }

    fn complete(&mut self) {
        let Some(Reverse(next)) = self.completions.pop() else {
            return;
        };
        self.free.push(next.place);
        let done = self.running[next.place as usize];
        (self.queue).end(self.now, done.ticket, tidegate_queue::Outcome::Answered);
        self.score.ended(self.now, done.request, Ending::Answered);
        self.hand_out();
        if !self.leaving.is_empty() {
            self.end_if_left(done.endpoint);
        }
    }

    fn expire(&mut self) {
        if let Some(head) = self.waiting.pop_front() {
            (self.queue).end(self.now, head.ticket, tidegate_queue::Outcome::Expired);
            self.score.ended(self.now, head.request, Ending::Expired);
        }
    }

    fn take_turn(&mut self) {
        match self.fleet.take_turn() {
            Some((id, Turn::Ready)) => self.fleet.ready(self.now, &mut self.queue, id),
            Some((id, Turn::Lost)) => self.lose(id),
            None => {}
        }
        self.hand_out();
    }

    fn tick(&mut self) {
        let timing = self.autoscaler.timing();
        self.next_tick = self.now + timing.period;
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
        let seen = Seen::new(self.now, &self.queue, &self.fleet, blind);
        let orders = self.autoscaler.tick(self.now, &observed.with(seen));
        self.carry_out(orders);
    }

    /// Cuts what runs on an endpoint: each goes back to the head of the queue while the retry budget
    /// lasts, and is lost otherwise.
    pub fn cut(&mut self, endpoint: EndpointId) -> Ended {
        let running = std::mem::take(&mut self.completions).into_vec();
        let (cut, going_on): (Vec<_>, Vec<_>) =
            (running.into_iter()).partition(|Reverse(running)| {
                self.running[running.place as usize].endpoint == endpoint
            });
        self.completions = going_on.into();
        let mut lost = 0;
        for Reverse(running) in &cut {
            self.free.push(running.place);
            let Running {
                ticket, request, ..
            } = self.running[running.place as usize];
            if self.queue.retry(ticket) {
                let place = self.waiting.partition_point(|w| w.ticket < ticket);
                self.waiting.insert(place, Waiting { ticket, request });
            } else {
                (self.queue).end(self.now, ticket, tidegate_queue::Outcome::Failed);
                self.score.ended(self.now, request, Ending::Killed);
                lost += 1;
            }
        }
        Ended {
            cut: cut.len() as u64,
            lost,
        }
    }

    /// Counts a change of direction.
    pub fn turn(&mut self, direction: Direction) {
        let before = self.direction.replace(direction);
        self.reversals += u32::from(before.is_some_and(|before| before != direction));
    }

    fn into_outcome(self) -> Outcome {
        let hours = self.ends.as_secs_f64() / 3600.0;
        let billed = self.billed.unwrap_or_else(|| self.fleet.bill(self.ends));
        Outcome {
            instance_hours: billed.as_secs_f64() / 3600.0,
            reversals_per_hour: f64::from(self.reversals) / hours,
            launches: self.fleet.launched() - self.starting,
            timeline: self.meter.into_minutes(),
            ..self.score.close(self.ends)
        }
    }
}
