//! What the law makes of the forecast: counters out of observations, and the asks of its terms.
//!
//! Only complete ticks are learned from. While a proxy is missing, what the others say is a lower
//! bound of the demand: a copy of the estimates follows it, and may ask for more than there is,
//! while the law lets nothing shrink. The copy is dropped when all answer again.

use std::time::Duration;

use tidegate_queue::Moment;

use crate::decision::{Ask, Basis};
use crate::staffing::{Need, Reading, Staffing, StaffingRules, Traffic};
use crate::{
    ForecastRules, Health, Measure, Metric, Observation, Policy, Quantity, Slo, Statistic, Tally,
    Time, Window,
};

/// What p95 latency is taken over.
pub(crate) const LATENCY_WINDOW: Duration = Duration::from_secs(60);

/// What is at workers is averaged over this, so that chance takes no part in it.
const OCCUPIED_WINDOW: Duration = Duration::from_secs(10);

/// A fleet is busy when this share of its capacity is.
const BUSY: f64 = 0.8;

/// Latency over the SLO adds at most this share to the load: beyond, workers are not the cause.
const MOST_EXTRA: f64 = 1.0;

/// What was added is taken back within this time.
const RELAXATION_S: f64 = 300.0;

/// Follows the demand, tick by tick.
#[derive(Clone, Debug)]
pub(crate) struct Forecaster {
    rules: ForecastRules,
    slo: Slo,
    /// How long the fleet stays as large as it had to be.
    hold: Duration,
    staffing: Staffing,
    reading: Reading,
    /// How long answered requests took since the last complete tick.
    services: Tally,
    last: Option<Time>,
    /// What the proxies that answer come to, since one does not.
    partial: Option<Box<Staffing>>,
    need: Option<Need>,
    /// Workers that must be there for what is at workers now.
    occupied: u32,
    lead_time: Duration,
    extra: f64,
    p95_s: f64,
    busy: f64,
}

/// A tick, as the forecast takes it in.
pub(crate) struct Look<'a> {
    pub now: Time,
    pub seen: &'a Observation,
    pub window: &'a Window,
    pub serving: u32,
    pub booting: u32,
    /// As learned so far.
    pub lead_time: Duration,
}

impl Forecaster {
    /// `None` for a policy that does not forecast.
    pub fn of(policy: &Policy) -> Option<Forecaster> {
        let rules = policy.forecast?;
        let lead_time = policy.fleet.lead_time.into();
        let hold = policy.down().stabilization;
        Some(Forecaster {
            staffing: Staffing::new(staffing_rules(&rules, &policy.slo, lead_time, hold)),
            rules,
            slo: policy.slo,
            hold,
            reading: Reading::default(),
            services: Tally::default(),
            last: None,
            partial: None,
            need: None,
            occupied: 0,
            lead_time,
            extra: 0.0,
            p95_s: 0.0,
            busy: 0.0,
        })
    }

    /// Goes on under another policy with what was learned.
    pub fn reload(earlier: Option<Forecaster>, policy: &Policy) -> Option<Forecaster> {
        let fresh = Forecaster::of(policy)?;
        let Some(mut earlier) = earlier else {
            return Some(fresh);
        };
        (earlier.rules, earlier.slo) = (fresh.rules, fresh.slo);
        earlier.hold = fresh.hold;
        earlier.set_lead_time(earlier.lead_time.min(fresh.lead_time));
        Some(earlier)
    }

    pub fn learned(&self) -> Traffic {
        self.staffing.learned()
    }

    pub fn take_up(&mut self, traffic: Traffic) {
        self.staffing.take_up(traffic);
    }

    pub fn take(&mut self, look: &Look) {
        let services = self.count(look);
        self.services.add(&services);
        self.occupied = self.occupied(look);
        match look.window.health() {
            Health::Blind => self.need = None,
            Health::Partial { .. } => {
                let staffing = &self.staffing;
                let partial = self
                    .partial
                    .get_or_insert_with(|| Box::new(staffing.clone()));
                self.need = partial.read(self.reading, &services);
            }
            Health::Complete => self.learn(look),
        }
    }

    fn learn(&mut self, look: &Look) {
        self.partial = None;
        if look.lead_time != self.lead_time {
            self.set_lead_time(look.lead_time);
        }
        let services = std::mem::take(&mut self.services);
        self.need = self.staffing.read(self.reading, &services);
        let seconds = self
            .last
            .replace(look.now)
            .map_or(0.0, |last| look.now.since(last).as_secs_f64());
        self.feed_back(look, seconds.min(LATENCY_WINDOW.as_secs_f64()));
    }

    /// The fleet is kept at this size.
    pub fn hold(&mut self, workers: u32) {
        self.staffing.hold(workers);
    }

    pub fn asks(&self) -> Vec<Ask> {
        let ask = |term: &str, workers, basis| Ask {
            term: term.to_owned(),
            workers,
            basis,
        };
        let Some(need) = &self.need else {
            return vec![ask("forecast", None, Basis::Missing)];
        };
        let workers = need.forecast.max(self.occupied);
        let mut asks = vec![ask("forecast", Some(workers), self.forecast(need))];
        if self.reading.waiting > 0 {
            let basis = Basis::Drain {
                waiting: self.reading.waiting,
                within_ms: self.drain().as_millis() as u64,
            };
            asks.push(ask("drain", Some(need.drain), basis));
        }
        if need.panic > 0 {
            let basis = Basis::Burst;
            asks.push(ask("burst", Some(need.panic), basis));
        }
        if self.extra > 0.0 {
            let load = need.load() * (1.0 + self.extra);
            let workers = (load / need.concurrency).ceil() as u32;
            let basis = Basis::Slow {
                p95: Quantity::seconds(self.p95_s),
                slo: Quantity::seconds(self.slo.latency.as_secs_f64()),
                busy: self.busy,
            };
            asks.push(ask("slow", Some(workers), basis));
        }
        asks
    }

    fn forecast(&self, need: &Need) -> Basis {
        Basis::Forecast {
            per_s: need.per_s,
            service_s: need.service_s,
            concurrency: need.concurrency,
            growth: need.growth,
            aim: need.aim,
            missed: need.missed,
            missed_with_fewer: need.missed_with_fewer,
            lead_ms: self.lead_time.as_millis() as u64,
        }
    }

    fn drain(&self) -> Duration {
        self.lead_time.max(self.rules.waiting_budget.into())
    }

    fn set_lead_time(&mut self, lead_time: Duration) {
        self.lead_time = lead_time;
        let rules = staffing_rules(&self.rules, &self.slo, lead_time, self.hold);
        self.staffing.set_rules(rules);
    }

    /// How many workers must be there for the requests that are at workers: so many slots were
    /// taken in the mean of the last seconds.
    fn occupied(&self, look: &Look) -> u32 {
        let taken =
            look.window
                .measure(look.now, Metric::InFlight, Statistic::Mean, OCCUPIED_WINDOW);
        match (taken, self.reading.slots) {
            (Measure::Value(taken), slots @ 1..) => (taken / f64::from(slots)).ceil() as u32,
            _ => 0,
        }
    }

    /// Adds up what the proxies counted since the tick before. Returns how long
    /// answered requests took.
    fn count(&mut self, look: &Look) -> Tally {
        let (reading, mut services) = (&mut self.reading, Tally::default());
        reading.at = Moment::from_millis(look.now.as_ms());
        reading.serving = look.serving;
        (reading.waiting, reading.in_flight) = (0, 0);
        let (mut slots, mut workers) = (0_u64, 0_u64);
        for seen in look.seen.proxies.iter().filter_map(|p| p.seen.as_ref()) {
            reading.arrivals_total += seen.arrivals;
            reading.served_total += seen.served;
            reading.service_s += seen.service_ms / 1000.0;
            services.add(&seen.service);
            reading.waiting += seen.waiting;
            reading.in_flight += seen.in_flight;
            for worker in seen.workers.iter().filter(|w| w.ready && w.slots > 0) {
                slots += u64::from(worker.slots);
                workers += 1;
            }
        }
        if let Some(mean) = slots.checked_div(workers) {
            reading.slots = mean as u32;
        }
        services
    }

    /// While a busy fleet is too slow, more is asked for, little by little. It is not while one
    /// boots, since the last step has not shown its effect, and never for an idle fleet, which
    /// more workers would not make faster: so nothing winds up.
    fn feed_back(&mut self, look: &Look, seconds: f64) {
        let Some(need) = &self.need else { return };
        let capacity = f64::from(look.serving) * need.concurrency;
        self.busy = self.reading.in_flight as f64 / capacity.max(1.0);
        let p95 = match self.busy >= BUSY {
            true => look
                .window
                .measure(look.now, Metric::Latency, Statistic::P95, LATENCY_WINDOW),
            false => Measure::Idle,
        };
        let slo_s = self.slo.latency.as_secs_f64();
        let moved = match p95 {
            Measure::Value(p95_s) if p95_s > slo_s => {
                self.p95_s = p95_s;
                match look.booting {
                    0 => (p95_s / slo_s - 1.0).min(1.0) * seconds / self.lead_time.as_secs_f64(),
                    _ => 0.0,
                }
            }
            _ => -seconds / RELAXATION_S,
        };
        self.extra = (self.extra + moved).clamp(0.0, MOST_EXTRA);
    }
}

fn staffing_rules(
    rules: &ForecastRules,
    slo: &Slo,
    lead_time: Duration,
    hold: Duration,
) -> StaffingRules {
    StaffingRules {
        lead_time,
        hold,
        promised_s: slo.latency.as_secs_f64(),
        misses: 1.0 - rules.attainment,
        drain: rules.waiting_budget.into(),
        service_limit_s: rules.service_limit_s(slo),
    }
}
