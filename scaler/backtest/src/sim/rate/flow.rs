//! Requests of the rate mode: those that wait, and how many are done in which window.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tidegate_protocol::ModelSignal;
use tidegate_queue::Moment;

use super::patience::Patience;
use crate::sim::autoscaler::{MODEL, Work};
use crate::sim::fleet::{Fleet, WorkerId};
use crate::sim::outcome::{Ending, Score};
use crate::sim::workload::LONGEST_S;
use crate::sim::{Request, Scenario};

/// A draining worker with less than this many requests in the mean is taken for empty.
const EMPTY: f64 = 0.5;

/// A request on some worker.
#[derive(Clone, Copy)]
struct Running {
    request: Request,
    started: Moment,
}

pub(super) struct Flow {
    window: Duration,
    deadline: Duration,
    most_waiting: usize,
    waiting: VecDeque<Request>,
    /// What is done in each of the windows to come, from `next` on, around.
    done: Vec<Vec<Running>>,
    next: usize,
    in_flight: u32,
    /// Requests that each draining worker is at, in the mean.
    draining: BTreeMap<WorkerId, f64>,
    patience: Patience,
    counts: ModelSignal,
    score: Score,
}

impl Flow {
    pub fn new(scenario: &Scenario, window: Duration) -> Flow {
        let windows = (LONGEST_S / window.as_secs_f64()) as usize + 2;
        Flow {
            window,
            deadline: *scenario.deadline,
            most_waiting: scenario.waiting,
            waiting: VecDeque::new(),
            done: vec![Vec::new(); windows],
            next: 0,
            in_flight: 0,
            draining: BTreeMap::new(),
            patience: Patience::new(&scenario.service),
            counts: ModelSignal {
                model: MODEL.to_owned(),
                ..ModelSignal::default()
            },
            score: Score::new(scenario),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.in_flight == 0 && self.waiting.is_empty()
    }

    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    pub fn waiting(&self) -> u32 {
        self.waiting.len() as u32
    }

    pub fn into_score(self) -> Score {
        self.score
    }

    /// What is done by the end of this window.
    pub fn complete(&mut self, until: Moment) {
        let done = std::mem::take(&mut self.done[self.next]);
        self.next = (self.next + 1) % self.done.len();
        let left = 1.0 - done.len() as f64 / f64::from(self.in_flight.max(1));
        self.draining.values_mut().for_each(|busy| *busy *= left);
        self.in_flight -= done.len() as u32;
        for Running { request, started } in done {
            let finished = (started + request.service).min(until);
            let age = finished.saturating_sub(request.arrived);
            self.score.ended(finished, request, Ending::Answered);
            self.patience.answered(&request);
            self.counts.answered_total += 1;
            self.counts.latency.record(age);
            self.counts.service.record(request.service);
        }
    }

    /// Lets in what came in this window, hands out what there are slots for, and gives up what
    /// has waited too long.
    pub fn take(&mut self, until: Moment, arrived: &[Request], slots: f64) {
        let begins = until.saturating_sub(self.window);
        let room = |flow: &Flow| slots - (f64::from(flow.in_flight) - flow.on_draining());
        // With a slot free all the time, nobody waits for one.
        let is_free = self.waiting.is_empty() && room(self) > arrived.len() as f64;
        let middle = begins + self.window / 2;
        for request in arrived {
            self.counts.arrivals_total += 1;
            if is_free {
                self.start(*request, request.arrived, begins);
            } else if self.lets_in(until, request, slots) {
                self.waiting.push_back(*request);
            } else {
                self.counts.shed_total += 1;
                self.counts.latency.record(Duration::ZERO);
                self.score.ended(until, *request, Ending::Shed);
            }
        }
        while room(self) >= 1.0
            && let Some(request) = self.waiting.pop_front()
        {
            self.start(request, request.arrived.max(middle), begins);
        }
        self.expire(until);
    }

    fn lets_in(&self, until: Moment, request: &Request, slots: f64) -> bool {
        let place = self.waiting.len();
        let left = (request.arrived + self.deadline).saturating_sub(until);
        place < self.most_waiting && self.patience.suffices(place, slots, left)
    }

    fn start(&mut self, request: Request, at: Moment, begins: Moment) {
        let waited = at.saturating_sub(request.arrived);
        self.score.granted(waited);
        self.counts.wait.record(waited);
        self.in_flight += 1;
        let finished = (at + request.service).saturating_sub(begins);
        let windows = finished.div_duration_f64(self.window) as usize;
        // `next` is the window after this one.
        let ahead = windows.saturating_sub(1).min(self.done.len() - 1);
        let index = (self.next + ahead) % self.done.len();
        self.done[index].push(Running {
            request,
            started: at,
        });
    }

    fn expire(&mut self, until: Moment) {
        let late = |request: &Request| request.arrived + self.deadline <= until;
        while let Some(request) = self.waiting.front().copied().filter(late) {
            self.waiting.pop_front();
            self.counts.expired_total += 1;
            self.counts.latency.record(self.deadline);
            self.counts.wait.record(self.deadline);
            self.score.ended(until, request, Ending::Expired);
        }
    }

    fn on_draining(&self) -> f64 {
        self.draining.values().sum()
    }

    /// What a serving worker is at, in the mean.
    fn busy_each(&self, fleet: &Fleet) -> f64 {
        let on_serving = (f64::from(self.in_flight) - self.on_draining()).max(0.0);
        on_serving / f64::from(fleet.serving().max(1))
    }

    /// The worker takes nothing more; to be called while it still counts as serving.
    pub fn drain(&mut self, fleet: &Fleet, id: WorkerId) {
        let busy = self.busy_each(fleet);
        self.draining.insert(id, busy);
    }

    /// The worker takes requests again, or is gone.
    pub fn forget(&mut self, id: WorkerId) {
        self.draining.remove(&id);
    }

    /// Whether a worker that drains is at nothing any more.
    pub fn is_drained(&self, id: WorkerId) -> bool {
        self.draining.get(&id).is_none_or(|busy| *busy < EMPTY)
    }
}

impl Work for Flow {
    fn signal(&self, now: Moment) -> ModelSignal {
        let oldest = self.waiting.front();
        let age = |request: &Request| now.saturating_sub(request.arrived).as_millis() as u64;
        ModelSignal {
            waiting: self.waiting.len() as u64,
            in_flight: u64::from(self.in_flight),
            oldest_waiting_ms: oldest.map(age),
            oldest_running_ms: None,
            ..self.counts.clone()
        }
    }

    fn permits(&self, fleet: &Fleet, id: WorkerId) -> u32 {
        match self.draining.get(&id) {
            Some(busy) if *busy < EMPTY => 0,
            Some(busy) => busy.ceil() as u32,
            None => self.busy_each(fleet).round() as u32,
        }
    }
}
