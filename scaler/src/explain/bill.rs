//! What a fleet cost, day by day and for a million requests, and what SageMaker would have charged
//! for the same instances. docs/cost.md has the formula.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::AddAssign;

use chrono::NaiveDate;
use serde::Serialize;
use tidegate_control::{Stage, Time};

use super::{LONGEST_TICK, utc};
use crate::ledger::{Entry, Line, Tick};

const MILLION: f64 = 1e6;

/// What the reader knows and a ledger does not; all in one currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Prices {
    /// Of a worker's instance-hour, for ticks that were decided without one.
    pub worker: Option<f64>,
    /// Of an hour of all that stands beside the workers: proxies, scalers, a load balancer.
    pub beside: f64,
    /// Of an instance-hour of a SageMaker real-time endpoint, on instances of the workers' size.
    pub sagemaker: Option<f64>,
}

pub(super) struct Bill {
    prices: Prices,
    last: Option<Time>,
    days: BTreeMap<NaiveDate, Stretch>,
}

/// A day, or all of them.
#[derive(Clone, Copy, Default, Serialize)]
struct Stretch {
    /// By the clock, as far as there are ticks.
    hours: f64,
    instance_hours: f64,
    most_workers: usize,
    /// Requests that workers answered.
    requests: u64,
    /// `None` where the price of a worker's hour is not known.
    cost_workers: Option<f64>,
    cost_beside: f64,
}

/// The same at SageMaker's price.
#[derive(Clone, Copy, Serialize)]
struct OnSageMaker {
    /// The instance-hours that there were: an endpoint that scales as well as this fleet did.
    same_hours: Compared,
    /// The most workers that there were, all the time: an endpoint that does not scale.
    at_most_workers: Compared,
}

#[derive(Clone, Copy, Serialize)]
struct Compared {
    cost: f64,
    per_million: Option<f64>,
}

impl Stretch {
    fn nothing() -> Stretch {
        Stretch {
            cost_workers: Some(0.0),
            ..Stretch::default()
        }
    }

    fn cost(&self) -> Option<f64> {
        self.cost_workers.map(|cost| cost + self.cost_beside)
    }

    /// `None` without a request: there is nothing to divide by.
    fn per_million(&self, cost: f64) -> Option<f64> {
        (self.requests > 0).then(|| cost * MILLION / self.requests as f64)
    }

    fn compared(&self, instance_hours: f64, price: f64) -> Compared {
        let cost = instance_hours * price;
        Compared {
            cost,
            per_million: self.per_million(cost),
        }
    }

    fn on_sagemaker(&self, price: f64) -> OnSageMaker {
        OnSageMaker {
            same_hours: self.compared(self.instance_hours, price),
            at_most_workers: self.compared(self.most_workers as f64 * self.hours, price),
        }
    }
}

impl AddAssign for Stretch {
    fn add_assign(&mut self, other: Stretch) {
        self.hours += other.hours;
        self.instance_hours += other.instance_hours;
        self.most_workers = self.most_workers.max(other.most_workers);
        self.requests += other.requests;
        self.cost_workers = (self.cost_workers.zip(other.cost_workers)).map(|(one, two)| one + two);
        self.cost_beside += other.cost_beside;
    }
}

impl Bill {
    pub fn new(prices: Prices) -> Bill {
        Bill {
            prices,
            last: None,
            days: BTreeMap::new(),
        }
    }

    pub fn take(&mut self, line: &Line) {
        let Entry::Tick(tick) = &line.entry else {
            return;
        };
        let since = self.last.replace(line.at);
        let hours = since.map_or(0.0, |last| {
            line.at.since(last).min(LONGEST_TICK).as_secs_f64() / 3600.0
        });
        let workers = billed(tick);
        let by_price = self.prices.worker.map(|price| price * workers as f64);
        // No worker costs nothing, whatever one would.
        let none = (workers == 0).then_some(0.0);
        let per_hour = tick.decision.cost_per_hour.or(by_price).or(none);
        let nothing = Stretch::nothing();
        *self
            .days
            .entry(utc(line.at).date_naive())
            .or_insert(nothing) += Stretch {
            hours,
            instance_hours: hours * workers as f64,
            most_workers: workers,
            requests: answered(tick),
            cost_workers: match hours {
                0.0 => Some(0.0),
                hours => per_hour.map(|per_hour| hours * per_hour),
            },
            cost_beside: hours * self.prices.beside,
        };
    }

    pub fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{:<12} {:>14} {:>12} {:>12} {:>10} {:>12}",
            "day (UTC)", "instance-hours", "most workers", "requests", "cost", "per million"
        )?;
        for (date, day) in &self.days {
            row(out, &date.to_string(), day)?;
        }
        let all = self.all();
        row(out, "total", &all)?;
        if all.cost_workers.is_none() {
            let hint = "set cost.price_per_hour in the policy, or give --price";
            writeln!(out, "\nthe price of an instance-hour is not known: {hint}")?;
        }
        let Some(price) = self.prices.sagemaker else {
            return Ok(());
        };
        let there = all.on_sagemaker(price);
        writeln!(out, "\non SageMaker, at {price} an instance-hour")?;
        for (what, compared) in [
            ("the same instance-hours", there.same_hours),
            ("the most workers all the time", there.at_most_workers),
        ] {
            let per_million = amount(compared.per_million);
            let cost = compared.cost;
            writeln!(out, "  {what:<50} {cost:>12.2} {per_million:>12}")?;
        }
        Ok(())
    }

    /// One object with the same numbers, not rounded.
    pub fn print_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let object = |stretch: &Stretch| {
            let mut object = serde_json::json!(stretch);
            object["cost"] = stretch.cost().into();
            let per_million = stretch.cost().and_then(|cost| stretch.per_million(cost));
            object["per_million"] = per_million.into();
            object
        };
        let days = self.days.iter().map(|(date, day)| {
            let mut object = object(day);
            object["day"] = date.to_string().into();
            object
        });
        let all = self.all();
        let bill = serde_json::json!({
            "prices": self.prices,
            "days": days.collect::<Vec<_>>(),
            "in_all": object(&all),
            "sagemaker": self.prices.sagemaker.map(|price| all.on_sagemaker(price)),
        });
        writeln!(out, "{bill:#}")
    }

    fn all(&self) -> Stretch {
        self.days.values().fold(Stretch::nothing(), |mut all, day| {
            all += *day;
            all
        })
    }
}

fn billed(tick: &Tick) -> usize {
    let workers = tick.fleet.workers.iter();
    workers
        .filter(|worker| worker.stage != Stage::Leaving)
        .count()
}

fn answered(tick: &Tick) -> u64 {
    let seen = tick.observation.proxies.iter();
    seen.filter_map(|proxy| proxy.seen.as_ref())
        .map(|seen| seen.served)
        .sum()
}

fn row(out: &mut dyn Write, name: &str, stretch: &Stretch) -> io::Result<()> {
    let Stretch {
        instance_hours,
        most_workers,
        requests,
        ..
    } = stretch;
    let per_million = stretch.cost().and_then(|cost| stretch.per_million(cost));
    let (cost, per_million) = (amount(stretch.cost()), amount(per_million));
    writeln!(
        out,
        "{name:<12} {instance_hours:>14.2} {most_workers:>12} {requests:>12} {cost:>10} \
         {per_million:>12}"
    )
}

fn amount(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.2}"))
}
