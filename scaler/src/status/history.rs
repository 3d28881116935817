//! The history on the page: the past hours in steps, every change of the size, every order, and the
//! cost.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_control::{Stage, Tally, Time};
use tidegate_policy::PolicyFile;

use super::queues::QueueView;
use super::view::View;
use crate::event::Event;
use crate::ledger::{ByHand, Tick, WorkerByHand};

/// A point of the plots stands for so much time: three hours are 1,080 points.
const STEP: Duration = Duration::from_secs(10);
const POINTS: usize = 1080;

/// Changes of the size that are kept.
const DECISIONS: usize = 500;

/// What percentiles and rates look back on.
const WINDOW: Duration = Duration::from_secs(60);

/// A longer time between two ticks is one in which no scaler ran: it costs nothing here.
const LONGEST_TICK: Duration = Duration::from_secs(60);

/// One step of the plots. Gauges are of its last tick, rates and percentiles of the last minute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Milliseconds since 1970.
    pub at: u64,
    pub per_s: f64,
    /// Workers that the largest ask came to, and that the forecast alone asked for.
    pub need: u32,
    pub forecast: Option<u32>,
    pub serving: usize,
    pub booting: usize,
    /// Requests that the serving workers take at once.
    pub slots: u32,
    pub waiting: u64,
    pub in_flight: u64,
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub slo_ms: Option<f64>,
}

/// Something that was done to the fleet, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Milliseconds since 1970.
    pub at: u64,
    pub by: By,
    /// Workers before and after; absent for an order, which changes the size by later ticks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<(u32, u32)>,
    pub reason: String,
}

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    Policy,
    Operator,
}

/// What a tick counted.
struct Counted {
    at: Time,
    arrivals: u64,
    latency: Tally,
}

/// One fleet's past and present.
#[derive(Default)]
pub struct History {
    points: VecDeque<Point>,
    changes: VecDeque<Change>,
    recent: VecDeque<Counted>,
    now: Option<View>,
    last: Option<Time>,
    cost: Option<f64>,
    rules: Option<Rules>,
    queues: Vec<QueueView>,
    /// The last order about the size.
    order: Option<String>,
}

/// What of the policy the page shows.
struct Rules {
    model: Option<String>,
    slo: Duration,
    bounds: (u32, u32),
}

/// What `/api/history` answers.
#[derive(Serialize)]
pub struct Past<'a> {
    points: &'a VecDeque<Point>,
    decisions: &'a VecDeque<Change>,
}

impl History {
    pub fn now(&self) -> Option<&View> {
        self.now.as_ref()
    }

    pub fn past(&self) -> Past<'_> {
        Past {
            points: &self.points,
            decisions: &self.changes,
        }
    }

    pub fn follow(&mut self, file: &PolicyFile) {
        self.rules = Some(Rules {
            model: file.fleet.model.clone(),
            slo: file.slo.latency.into(),
            bounds: (file.fleet.min, file.fleet.max),
        });
    }

    /// The model that the fleet serves; `None` where every one counts.
    pub fn model(&self) -> Option<&str> {
        self.rules.as_ref().and_then(|rules| rules.model.as_deref())
    }

    /// Takes up what the proxies said last.
    pub fn set_queues(&mut self, queues: Vec<QueueView>) {
        self.queues = queues;
    }

    pub fn by_hand(&mut self, at: Time, by_hand: &ByHand) {
        let reason = Event::ByHand(by_hand.clone()).to_string();
        self.order = by_hand.order.map(|_| reason.clone());
        self.keep_order(at, reason);
    }

    pub fn worker_by_hand(&mut self, at: Time, by_hand: &WorkerByHand) {
        self.keep_order(at, Event::WorkerByHand(by_hand.clone()).to_string());
    }

    fn keep_order(&mut self, at: Time, reason: String) {
        self.keep(Change {
            at: at.as_ms(),
            by: By::Operator,
            size: None,
            reason,
        });
    }

    /// Takes up what a tick saw and decided.
    pub fn tick(&mut self, fleet: &str, at: Time, tick: &Tick) {
        self.count(at, tick);
        self.charge(at, tick);
        let mut view = View::of(fleet, at, tick);
        if let Some(rules) = &self.rules {
            view.slo_ms = Some(rules.slo.as_secs_f64() * 1000.0);
            (view.min, view.max) = rules.bounds;
        }
        if view.held_until.is_some() {
            view.order.clone_from(&self.order);
        }
        view.queues.clone_from(&self.queues);
        view.per_s = self.per_second(at);
        let latency: Tally = self.recent.iter().map(|counted| &counted.latency).collect();
        view.p50_ms = latency.quantile_ms(0.50);
        view.p95_ms = latency.quantile_ms(0.95);
        view.p99_ms = latency.quantile_ms(0.99);
        view.cost_total = self.cost;
        self.draw(&view);
        self.keep_change(&view, tick);
        self.now = Some(view);
    }

    fn count(&mut self, at: Time, tick: &Tick) {
        let seen = || (tick.observation.proxies.iter()).filter_map(|proxy| proxy.seen.as_ref());
        self.recent.push_back(Counted {
            at,
            arrivals: seen().map(|seen| seen.arrivals).sum(),
            latency: seen().map(|seen| &seen.latency).collect(),
        });
        let is_old = |counted: &Counted| at.since(counted.at) > WINDOW;
        while self.recent.front().is_some_and(is_old) {
            self.recent.pop_front();
        }
    }

    /// Arrivals per second over the window, or since there are ticks.
    fn per_second(&self, at: Time) -> f64 {
        let Some(first) = self.recent.front() else {
            return 0.0;
        };
        // The first tick's arrivals came before it.
        let arrivals: u64 = (self.recent.iter().skip(1))
            .map(|counted| counted.arrivals)
            .sum();
        let seconds = at.since(first.at).as_secs_f64();
        if seconds > 0.0 {
            arrivals as f64 / seconds
        } else {
            0.0
        }
    }

    fn charge(&mut self, at: Time, tick: &Tick) {
        let since = (self.last.replace(at)).map_or(Duration::ZERO, |last| at.since(last));
        if let Some(per_hour) = tick.decision.cost_per_hour {
            let hours = since.min(LONGEST_TICK).as_secs_f64() / 3600.0;
            *self.cost.get_or_insert_default() += per_hour * hours;
        }
    }

    fn draw(&mut self, view: &View) {
        let step = STEP.as_millis() as u64;
        let point = Point {
            at: view.at / step * step,
            per_s: view.per_s,
            need: view.need,
            forecast: view.forecast,
            serving: view.serving,
            booting: view.booting,
            slots: view.slots,
            waiting: view.waiting,
            in_flight: view.in_flight,
            p50_ms: view.p50_ms,
            p95_ms: view.p95_ms,
            p99_ms: view.p99_ms,
            slo_ms: view.slo_ms,
        };
        match self.points.back_mut() {
            Some(last) if last.at == point.at => *last = point,
            _ => self.points.push_back(point),
        }
        if self.points.len() > POINTS {
            self.points.pop_front();
        }
    }

    fn keep_change(&mut self, view: &View, tick: &Tick) {
        let action = &tick.decision.action;
        let moves = action.undrain.len() + action.drain.len() + action.replace.len();
        if action.launch == 0 && moves == 0 {
            return;
        }
        self.keep(Change {
            at: view.at,
            by: By::Policy,
            size: Some((tick.decision.reason.from, tick.decision.reason.to)),
            reason: view.reason.clone(),
        });
    }

    fn keep(&mut self, change: Change) {
        self.changes.push_back(change);
        if self.changes.len() > DECISIONS {
            self.changes.pop_front();
        }
    }
}

/// Workers in a stage.
pub(super) fn in_stage(tick: &Tick, is_it: impl Fn(&Stage) -> bool) -> usize {
    let workers = tick.fleet.workers.iter();
    workers.filter(|worker| is_it(&worker.stage)).count()
}
