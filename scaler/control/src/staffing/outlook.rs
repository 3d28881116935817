//! Forecasts: by how much the rate will have grown a lead time from now.
//!
//! Three kinds of expert. *Persistence* says that it stays. *Trend* goes on with the last quarter
//! of an hour. *Seasons* do what came an hour, a day and a week ago at this time. None says that it
//! falls: what is not needed any more is let go of when it is seen, not before.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_queue::Moment;

use super::imagined::MOST;

const MINUTE_S: u64 = 60;

/// Minutes that a trend is taken over.
const TREND: usize = 15;

/// No trend is taken over fewer.
const SHORTEST_TREND: usize = 5;

/// A trend counts as far as it is beyond so many standard errors.
const TREND_ERRORS: f64 = 1.5;

/// Seasons, in minutes: an hour, a day, a week.
const SEASONS: [usize; 3] = [60, 24 * 60, 7 * 24 * 60];

/// Minutes around a moment that its rate in a season is taken over.
const AROUND: usize = 3;

/// Minutes that are remembered.
const MEMORY: usize = SEASONS[2] + AROUND;

/// Who says by how much the rate will have grown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expert {
    #[default]
    Persistence,
    Trend,
    /// As it did an hour ago at this time.
    Hour,
    Day,
    Week,
}

impl Expert {
    pub(super) const ALL: [Expert; EXPERTS] = {
        use Expert::{Day, Hour, Persistence, Trend, Week};
        [Persistence, Trend, Hour, Day, Week]
    };
}

pub(super) const EXPERTS: usize = 2 + SEASONS.len();

/// Factors on the present rate, of each expert; 1 or more, and `None` of one that knows too little.
pub(super) type Outlooks = [Option<f64>; EXPERTS];

/// Remembers the rates, and has the experts' word on them.
#[derive(Clone, Debug)]
pub(super) struct Outlook {
    /// Mean rate of each minute, the newest last.
    minutes: VecDeque<f32>,
    /// The minute that is being counted, and arrivals before it.
    begin: Option<(u64, u64)>,
    said: Outlooks,
}

impl Default for Outlook {
    fn default() -> Self {
        Outlook {
            minutes: VecDeque::new(),
            begin: None,
            said: [None; EXPERTS],
        }
    }
}

impl Outlook {
    /// Takes in the arrivals up to now; what is said of it.
    pub fn push(&mut self, now: Moment, total: u64, lead_time: Duration) -> &Outlooks {
        let minute = now.as_secs() / MINUTE_S;
        let (begun, before) = *self.begin.get_or_insert((minute, total));
        if minute > begun {
            let minutes = ((minute - begun) as usize).min(MEMORY);
            let counted = (total.saturating_sub(before) as f64 / MINUTE_S as f64) as f32;
            // What came in a pause was not counted: it is taken to have been as before.
            let rate = match (minutes, self.minutes.back()) {
                (2.., Some(last)) => *last,
                _ => counted / minutes as f32,
            };
            self.minutes.extend(std::iter::repeat_n(rate, minutes));
            let surplus = self.minutes.len().saturating_sub(MEMORY);
            self.minutes.drain(..surplus);
            self.begin = Some((minute, total));
            self.said = self.ask(lead_time);
        }
        &self.said
    }

    fn ask(&self, lead_time: Duration) -> Outlooks {
        let ahead = lead_time.as_secs_f64() / MINUTE_S as f64;
        let seasons = SEASONS.map(|period| self.season(period, ahead));
        let mut said = [Some(1.0); EXPERTS];
        said[1] = self.trend(ahead);
        said[2..].copy_from_slice(&seasons);
        said.map(|factor| factor.map(|factor| factor.clamp(1.0, MOST)))
    }

    /// Least squares through the logarithms of the last minutes' rates.
    fn trend(&self, ahead: f64) -> Option<f64> {
        let newest = self.minutes.iter().rev().take(TREND);
        let points: Vec<f64> = newest.map(|rate| f64::from(*rate).max(1e-9).ln()).collect();
        let count = points.len() as f64;
        if points.len() < SHORTEST_TREND {
            return None;
        }
        let (middle, mean) = ((count - 1.0) / 2.0, points.iter().sum::<f64>() / count);
        let ages = points
            .iter()
            .enumerate()
            .map(|(age, point)| (middle - age as f64, point - mean));
        let (mut squares, mut products, mut spread) = (0.0, 0.0, 0.0);
        for (time, point) in ages {
            squares += time * time;
            products += time * point;
            spread += point * point;
        }
        let slope = products / squares;
        let error = ((spread - slope * products).max(0.0) / (count - 2.0) / squares).sqrt();
        Some(((slope - TREND_ERRORS * error).max(0.0) * ahead).exp())
    }

    /// How the rate went on a period ago.
    fn season(&self, period: usize, ahead: f64) -> Option<f64> {
        let then = self.minutes.len().checked_sub(period)?;
        let later = (then + ahead.round() as usize).min(self.minutes.len());
        let (before, after) = (self.around(then)?, self.around(later)?);
        Some(if before > 0.0 { after / before } else { 1.0 })
    }

    /// Mean rate of the minutes before and after the begin of minute `index`.
    fn around(&self, index: usize) -> Option<f64> {
        let from = index.checked_sub(AROUND)?;
        let to = (index + AROUND).min(self.minutes.len());
        let rates = self.minutes.range(from..to);
        Some(rates.map(|rate| f64::from(*rate)).sum::<f64>() / (to - from) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the experts say of this rate at the end of so many minutes, ten minutes ahead.
    fn said(minutes: u64, per_s: impl Fn(u64) -> u64) -> Outlooks {
        let mut outlook = Outlook::default();
        let (mut total, ahead) = (0, Duration::from_secs(600));
        for second in 0..minutes * 60 {
            outlook.push(Moment::from_secs(second), total, ahead);
            total += per_s(second);
        }
        *outlook.push(Moment::from_secs(minutes * 60), total, ahead)
    }

    #[test]
    fn of_a_steady_rate_nobody_says_that_it_grows() {
        assert_eq!(
            said(70, |_| 40),
            [Some(1.0), Some(1.0), Some(1.0), None, None]
        );
    }

    #[test]
    fn a_trend_goes_on_and_a_fall_is_not_foretold() {
        // From 500 to 800 a second over the last quarter of an hour: 3 % a minute.
        let rising = said(20, |second| 400 + second / 3)[1];
        assert!(
            rising.is_some_and(|factor| (1.3..1.4).contains(&factor)),
            "{rising:?}"
        );
        assert_eq!(said(20, |second| 800 - second / 3)[1], Some(1.0));
    }

    #[test]
    fn what_came_an_hour_ago_is_expected_again() {
        // Ten minutes at twice the rate, from the half of each hour on.
        let rate = |second: u64| match second / 60 % 60 {
            30..40 => 80,
            _ => 40,
        };
        let before = said(60 + 24, rate)[2];
        assert!(
            before.is_some_and(|factor| (1.5..=2.0).contains(&factor)),
            "{before:?}"
        );
        assert_eq!(said(60 + 45, rate)[2], Some(1.0));
    }
}
