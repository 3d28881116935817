//! What a worker can do: how long requests take at it, and how that grows with how many it is at.
//!
//! The mean service time is taken over the last thousands of answered requests. How it depends on
//! concurrency is learned from half minutes in which workers got more to do than in others. Service
//! time and concurrency hang together even where neither drives the other (Little's law), so the
//! slope is an instrumental variable's: arrivals per worker drive the concurrency, and have no
//! other way to the service time. A slope that chance could have made counts as none.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Reading;

/// Requests after which half of the mean is theirs.
const MEMORY: f64 = 5000.0;

/// No mean is taken of fewer.
const FEWEST: f64 = 5.0;

/// What one point of the curve is taken over.
const SPAN: Duration = Duration::from_secs(30);

/// Points after which half of the curve is theirs: an hour.
const POINTS: f64 = 120.0;

/// Standard errors by which a slope differs from none.
const SIGNIFICANT: f64 = 3.0;

/// What a worker is to be at, and how long each request then takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Worker {
    pub concurrency: f64,
    pub service_s: f64,
}

impl Default for Worker {
    fn default() -> Self {
        Worker {
            concurrency: 1.0,
            service_s: 0.0,
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Capacity {
    #[serde(skip)]
    last: Option<Reading>,
    served: f64,
    service_s: f64,
    /// Requests that workers were at, summed over the answered ones.
    beside: f64,
    #[serde(skip)]
    span: Span,
    curve: Curve,
}

/// Half a minute in the making.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    seconds: f64,
    arrivals: f64,
    worker_seconds: f64,
    request_seconds: f64,
    served: f64,
    service_s: f64,
}

/// Weighted moments of arrivals per worker, concurrency and service time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Curve {
    points: f64,
    arrivals: f64,
    concurrency: f64,
    service: f64,
    arrivals_arrivals: f64,
    arrivals_concurrency: f64,
    arrivals_service: f64,
    service_service: f64,
}

impl Capacity {
    pub fn push(&mut self, reading: &Reading) {
        let Some(last) = self.last.replace(*reading) else {
            return;
        };
        let served = reading.served_total.saturating_sub(last.served_total) as f64;
        let service_s = (reading.service_s - last.service_s).max(0.0);
        let kept = MEMORY / (MEMORY + served);
        self.served = (self.served + served) * kept;
        self.service_s = (self.service_s + service_s) * kept;
        let beside = reading.in_flight as f64 / f64::from(reading.serving.max(1));
        self.beside = (self.beside + served * beside) * kept;

        let seconds = reading.at.saturating_sub(last.at).as_secs_f64();
        let arrivals = reading.arrivals_total.saturating_sub(last.arrivals_total);
        self.span.seconds += seconds;
        self.span.arrivals += arrivals as f64;
        self.span.worker_seconds += seconds * f64::from(reading.serving);
        self.span.request_seconds += seconds * reading.in_flight as f64;
        self.span.served += served;
        self.span.service_s += service_s;
        if self.span.seconds >= SPAN.as_secs_f64() {
            let span = std::mem::take(&mut self.span);
            if span.served >= FEWEST && span.worker_seconds > 0.0 {
                self.curve.push(&span);
            }
        }
    }

    /// At as many requests as keep the service time within the limit; `None` while nothing is
    /// known. Where not even a single request keeps it, more workers would not help, and all
    /// slots are made use of.
    pub fn worker(&self, slots: u32, limit_s: f64) -> Option<Worker> {
        if self.served < FEWEST || slots == 0 {
            return None;
        }
        let mean_s = self.service_s / self.served;
        let mean = self.beside / self.served;
        let slope = self.curve.slope(mean_s / mean);
        let most = f64::from(slots);
        let at = |concurrency: f64| mean_s + slope * (concurrency - mean);
        let concurrency = match slope > 0.0 && at(most) > limit_s && at(1.0) <= limit_s {
            true => mean + (limit_s - mean_s) / slope,
            false => most,
        };
        let concurrency = concurrency.clamp(1.0, most);
        let service_s = at(concurrency).max(0.0);
        Some(Worker {
            concurrency,
            service_s,
        })
    }
}

impl Curve {
    fn push(&mut self, span: &Span) {
        let kept = POINTS / (POINTS + 1.0);
        self.points = self.points * kept + 1.0;
        let share = 1.0 / self.points;
        let arrivals = span.arrivals / span.worker_seconds - self.arrivals;
        let concurrency = span.request_seconds / span.worker_seconds - self.concurrency;
        let service = span.service_s / span.served - self.service;
        self.arrivals += share * arrivals;
        self.concurrency += share * concurrency;
        self.service += share * service;
        let moved = |moment: f64, product: f64| (1.0 - share) * (moment + share * product);
        self.arrivals_arrivals = moved(self.arrivals_arrivals, arrivals * arrivals);
        self.arrivals_concurrency = moved(self.arrivals_concurrency, arrivals * concurrency);
        self.arrivals_service = moved(self.arrivals_service, arrivals * service);
        self.service_service = moved(self.service_service, service * service);
    }

    /// Seconds of service time for each further request that a worker is at; `most` when workers
    /// only share out their time.
    fn slope(&self, most: f64) -> f64 {
        let (with_service, with_concurrency) = (self.arrivals_service, self.arrivals_concurrency);
        if with_service <= 0.0 || with_concurrency <= 0.0 {
            return 0.0;
        }
        let correlation = with_service.powi(2) / (self.arrivals_arrivals * self.service_service);
        match self.points * correlation > SIGNIFICANT.powi(2) {
            true => (with_service / with_concurrency).min(most),
            false => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    /// An hour of one worker whose service time is `service(concurrency)`, give or take a fifth.
    fn learned(service: impl Fn(f64) -> f64, slots: u32, limit_s: f64) -> Worker {
        let (mut capacity, mut chance) = (Capacity::default(), Chance::new(1, "capacity"));
        let mut reading = Reading {
            serving: 1,
            slots,
            ..Reading::default()
        };
        for second in 0..3600 {
            let concurrency = 2.0 + 4.0 * f64::from(second / 60 % 3);
            let service_s = service(concurrency) * (1.0 + 0.2 * chance.normal());
            let rate = (concurrency / service(concurrency) * 10.0) as u64;
            reading.at += Duration::from_secs(1);
            reading.in_flight = concurrency as u64;
            reading.arrivals_total += rate;
            reading.served_total += rate;
            reading.service_s += service_s * rate as f64;
            capacity.push(&reading);
        }
        capacity.worker(slots, limit_s).expect("it is known")
    }

    #[test]
    fn slots_that_cost_each_other_nothing_are_all_made_use_of() {
        let worker = learned(|_| 0.2, 16, 1.0);
        assert_eq!(worker.concurrency, 16.0);
        assert!((worker.service_s - 0.2).abs() < 0.01, "{worker:?}");
    }

    #[test]
    fn a_worker_is_not_filled_beyond_the_service_time_that_the_slo_leaves() {
        let worker = learned(|concurrency| 0.1 + 0.05 * concurrency, 32, 0.7);
        assert!((worker.concurrency - 12.0).abs() < 1.0, "{worker:?}");
        assert!((worker.service_s - 0.7).abs() < 0.01, "{worker:?}");
        let roomy = learned(|concurrency| 0.1 + 0.05 * concurrency, 12, 2.0);
        assert_eq!(roomy.concurrency, 12.0);
        assert!((roomy.service_s - 0.7).abs() < 0.05, "{roomy:?}");
    }

    #[test]
    fn nothing_is_known_before_a_few_requests() {
        assert_eq!(Capacity::default().worker(4, 1.0), None);
    }
}
