//! What a fleet cost, day by day.

use std::collections::BTreeMap;
use std::io::{self, Write};

use chrono::NaiveDate;
use tidegate_control::{Stage, Time};

use super::{LONGEST_TICK, utc};
use crate::ledger::{Entry, Line};

pub(super) struct Bill {
    price: Option<f64>,
    last: Option<Time>,
    days: BTreeMap<NaiveDate, Day>,
}

#[derive(Default)]
struct Day {
    hours: f64,
    cost: f64,
    most: usize,
}

impl Bill {
    pub fn new(price: Option<f64>) -> Bill {
        Bill {
            price,
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
        let workers = tick.fleet.workers.iter();
        let billed = workers
            .filter(|worker| worker.stage != Stage::Leaving)
            .count();
        let by_price = self.price.map(|price| price * billed as f64);
        let per_hour = tick.decision.cost_per_hour.or(by_price).unwrap_or(0.0);
        let day = self.days.entry(utc(line.at).date_naive()).or_default();
        day.hours += hours * billed as f64;
        day.cost += hours * per_hour;
        day.most = day.most.max(billed);
    }

    pub fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{:<12} {:>14} {:>12} {:>10}",
            "day (UTC)", "instance-hours", "most workers", "cost"
        )?;
        let row = |out: &mut dyn Write, name: &str, hours: f64, most: usize, cost: f64| {
            writeln!(out, "{name:<12} {hours:>14.2} {most:>12} {cost:>10.2}")
        };
        let (mut hours, mut cost, mut most) = (0.0, 0.0, 0);
        for (date, day) in &self.days {
            row(out, &date.to_string(), day.hours, day.most, day.cost)?;
            hours += day.hours;
            cost += day.cost;
            most = most.max(day.most);
        }
        row(out, "in all", hours, most, cost)
    }
}
