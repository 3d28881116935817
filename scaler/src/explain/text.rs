//! The story for people: a paragraph for each change of the fleet's size, and one summary line between
//! two changes.

use std::io::{self, Write};

use chrono::{DateTime, NaiveDate, Utc};
use tidegate_control::{Ask, Decision, Time};

use super::story::{Calm, Told};
use super::{span, utc};

pub(super) struct Text<'o> {
    out: &'o mut dyn Write,
    day: Option<NaiveDate>,
}

impl<'o> Text<'o> {
    pub fn new(out: &'o mut dyn Write) -> Text<'o> {
        Text { out, day: None }
    }

    pub fn tell(&mut self, told: Told<'_>) -> io::Result<()> {
        match told {
            Told::Change { at, decision } => {
                self.stamp(at)?;
                writeln!(self.out, "{decision}")?;
                writeln!(self.out, "{:10}asked: {}", "", asked(decision))
            }
            Told::Failed { at, failed } => {
                self.stamp(at)?;
                writeln!(self.out, "failed: {}", failed.join("; "))
            }
            Told::ByHand { at, order, until } => {
                self.stamp(at)?;
                match until {
                    Some(until) => {
                        writeln!(self.out, "{order} until {}", utc(until).format("%F %T"))
                    }
                    None => writeln!(self.out, "{order}"),
                }
            }
            Told::Calm(calm) => self.calm(calm),
            Told::Total(whole) => self.total(whole),
        }
    }

    /// The time of day, and the date before the first of each day.
    fn stamp(&mut self, at: Time) -> io::Result<()> {
        let at: DateTime<Utc> = utc(at);
        if self.day.replace(at.date_naive()) != Some(at.date_naive()) {
            writeln!(self.out, "{} UTC", at.format("%A, %F"))?;
        }
        write!(self.out, "{}  ", at.format("%T"))
    }

    fn calm(&mut self, calm: &Calm) -> io::Result<()> {
        let winners: Vec<String> = calm
            .by_time()
            .into_iter()
            .filter(|(_, term)| term.won_seconds * 100.0 >= calm.seconds)
            .map(|(name, term)| {
                let share = 100.0 * term.won_seconds / calm.seconds;
                format!("{name} {share:.0} %")
            })
            .collect();
        let mean = calm.worker_seconds / calm.seconds;
        write!(
            self.out,
            "{:10}{} at {mean:.1} workers",
            "",
            span(calm.seconds)
        )?;
        if !winners.is_empty() {
            write!(self.out, "; due to {}", winners.join(", "))?;
        }
        if calm.most_waiting > 0 {
            write!(self.out, "; up to {} in the queue", calm.most_waiting)?;
        }
        if calm.blind_seconds > 0.0 {
            write!(
                self.out,
                "; a proxy missing for {}",
                span(calm.blind_seconds)
            )?;
        }
        match calm.cost {
            Some(cost) => writeln!(self.out, "; cost {cost:.3}"),
            None => writeln!(self.out),
        }
    }

    fn total(&mut self, whole: &Calm) -> io::Result<()> {
        let hours = whole.worker_seconds / 3600.0;
        write!(
            self.out,
            "\ntotal {}: {hours:.2} instance-hours",
            span(whole.seconds)
        )?;
        match whole.cost {
            Some(cost) => writeln!(self.out, ", cost {cost:.2}")?,
            None => writeln!(self.out)?,
        }
        writeln!(
            self.out,
            "{:<20} {:>6} {:>14}",
            "due to", "time", "asked at most"
        )?;
        for (name, term) in whole.by_time() {
            let share = 100.0 * term.won_seconds / whole.seconds;
            writeln!(self.out, "{name:<20} {share:>4.0} % {:>14}", term.most)?;
        }
        Ok(())
    }
}

fn asked(decision: &Decision) -> String {
    let text = |ask: &Ask| match ask.workers {
        Some(workers) => format!("{} {workers}", ask.term),
        None => format!("{} holds", ask.term),
    };
    let asks: Vec<_> = decision.reason.asks.iter().map(text).collect();
    asks.join(", ")
}
