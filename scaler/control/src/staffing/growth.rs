//! What growth within a lead time costs each size of the fleet, by the forecast that does best.
//!
//! Several forecasts ([`outlook`](super::outlook)) are followed, each with imagined fleets of its own
//! ([`imagined`](super::imagined)). The one is believed whose fleets have been cheapest so far, slots
//! and misses together, each at the margin that it had then (follow the leader). So a forecast is
//! used only where it has proven to be worth it, and its margin is calibrated by its own errors.

use std::collections::VecDeque;
use std::time::Duration;

use tidegate_queue::Moment;

use super::imagined::{Imagined, Stretch, left};
use super::outlook::{EXPERTS, Expert, Outlooks};
use super::rate::Estimate;
use super::strain::Strain;
use super::volatility::Volatility;

/// Growth as a random walk counts beside what the imagined fleets came to, as if it had been
/// watched for so many seconds.
const PRIOR_WEIGHT_S: f64 = 300.0;

/// Others are believed over persistence when they save this share of what it costs.
const WORTH_IT: f64 = 0.001;

/// What was saved counts half after three days, so that a forecast is known by its mornings too.
const HALF_LIFE_S: f64 = 72.0 * 3600.0;

const MINUTE: Duration = Duration::from_secs(60);

/// A longer pause between two readings says nothing about lines.
const LONGEST_PAUSE_S: f64 = 10.0;

#[derive(Clone, Copy, Debug)]
struct Then {
    at: Moment,
    estimate: Estimate,
    outlooks: Outlooks,
}

#[derive(Clone, Debug)]
pub(super) struct Growth {
    lead_time: Duration,
    hold: Duration,
    /// What was thought, the newest last.
    thens: VecDeque<Then>,
    /// Of each expert.
    imagined: [Imagined; EXPERTS],
    volatility: Volatility,
    /// What persistence cost, in requests, and what each expert saved of it while it had a say.
    cost: f64,
    saved: [f64; EXPERTS],
    leader: usize,
}

/// What a tick saw.
pub(super) struct Sight<'a> {
    pub now: Moment,
    /// Requests since the reading before.
    pub arrived: f64,
    pub estimate: Estimate,
    pub outlooks: Outlooks,
    /// Requests that a miss is worth.
    pub price: f64,
    pub strain: &'a Strain,
}

impl Growth {
    pub fn new(lead_time: Duration, hold: Duration) -> Growth {
        Growth {
            lead_time,
            hold,
            thens: VecDeque::new(),
            imagined: std::array::from_fn(|_| Imagined::default()),
            volatility: Volatility::default(),
            cost: 0.0,
            saved: [0.0; EXPERTS],
            leader: 0,
        }
    }

    /// Looks so far ahead from now on, and lets go of workers after so long.
    pub fn set_times(&mut self, lead_time: Duration, hold: Duration) {
        (self.lead_time, self.hold) = (lead_time, hold);
    }

    pub fn push(&mut self, sight: &Sight) {
        let now = sight.now;
        let last = self.thens.back().map(|then| then.at);
        let seconds = last.map_or(0.0, |last| now.saturating_sub(last).as_secs_f64());
        self.thens.push_back(Then {
            at: now,
            estimate: sight.estimate,
            outlooks: sight.outlooks,
        });
        self.forget(now);
        match self.staffed(now) {
            Some(staffed) if seconds > 0.0 && seconds <= LONGEST_PAUSE_S => {
                self.work(&staffed, seconds, sight);
            }
            _ => self.imagined.iter_mut().for_each(Imagined::pause),
        }
        if let Some(before) = self.minute_ago(now) {
            let seconds = seconds.min(LONGEST_PAUSE_S);
            self.volatility.push(seconds, &before, &sight.estimate);
        }
        let prior = self.volatility.missed(self.lead_time, sight.strain);
        let weight = sight.estimate.per_s * PRIOR_WEIGHT_S;
        for imagined in &mut self.imagined {
            imagined.judge(&prior, weight, sight.price);
        }
        self.leader = self.cheapest();
    }

    /// Lets the fleets of all experts work that had a say.
    fn work(&mut self, staffed: &Outlooks, seconds: f64, sight: &Sight) {
        let paid: Outlooks = std::array::from_fn(|expert| {
            let stretch = Stretch {
                seconds,
                arrived: sight.arrived,
                staffed_per_s: staffed[expert]?,
            };
            Some(self.imagined[expert].work(&stretch, sight.price, sight.strain))
        });
        let left = left(seconds, HALF_LIFE_S);
        let persistence = paid[0].unwrap_or_default();
        self.cost = self.cost * left + persistence;
        for (saved, paid) in self.saved.iter_mut().zip(paid) {
            *saved = *saved * left + paid.map_or(0.0, |paid| persistence - paid);
        }
    }

    /// The rates that each expert had staffed for now, when what launches now serve was decided.
    fn staffed(&self, now: Moment) -> Option<Outlooks> {
        let decided = now.checked_sub(self.lead_time)?;
        let held = decided.saturating_sub(self.hold);
        // What was last thought by then, and since then.
        let from = self.thens.partition_point(|then| then.at <= held);
        let known = (self.thens.range(from.saturating_sub(1)..))
            .take_while(|then| then.at <= decided)
            .map(|then| {
                then.outlooks
                    .map(|factor| Some(factor? * then.estimate.per_s))
            });
        let larger = |a: Option<f64>, b: Option<f64>| Some(a?.max(b?));
        known.reduce(|a, b| std::array::from_fn(|expert| larger(a[expert], b[expert])))
    }

    fn minute_ago(&self, now: Moment) -> Option<Estimate> {
        let minute_ago = now.checked_sub(MINUTE)?;
        let index = self.thens.partition_point(|then| then.at <= minute_ago);
        let then = self.thens.get(index.checked_sub(1)?)?;
        let age = minute_ago.saturating_sub(then.at).as_secs_f64();
        (age <= LONGEST_PAUSE_S).then_some(then.estimate)
    }

    fn forget(&mut self, now: Moment) {
        let looks_back = self.lead_time.max(MINUTE) + self.hold;
        let Some(oldest) = now.checked_sub(looks_back) else {
            return;
        };
        while self.thens.get(1).is_some_and(|then| then.at <= oldest) {
            self.thens.pop_front();
        }
    }

    fn cheapest(&self) -> usize {
        let worth_it = (self.saved.iter().enumerate())
            .filter(|(_, saved)| **saved > WORTH_IT * self.cost)
            .max_by(|a, b| a.1.total_cmp(b.1));
        worth_it.map_or(0, |(expert, _)| expert)
    }

    /// Who is believed.
    pub fn expert(&self) -> Expert {
        Expert::ALL[self.leader]
    }

    /// By how much the rate will have grown, by the one who is believed.
    pub fn foretold(&self) -> f64 {
        let newest = self.thens.back();
        newest
            .and_then(|then| then.outlooks[self.leader])
            .unwrap_or(1.0)
    }

    /// Share of requests that would miss the promise, for waiting, on a fleet `margin` times as
    /// large as the foretold rate asks for.
    pub fn missed(&self, margin: f64) -> f64 {
        self.imagined[self.leader].missed(margin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::staffing::outlook::Outlook;

    /// After so many hours of this rate.
    fn learned(lead_s: u64, hours: u64, per_s: impl Fn(u64) -> f64) -> Growth {
        let lead_time = Duration::from_secs(lead_s);
        let mut growth = Growth::new(lead_time, Duration::from_secs(45));
        let (mut outlook, strain) = (Outlook::default(), Strain::new(2.0));
        let mut total = 0.0;
        for second in 0..hours * 3600 {
            let (now, arrived) = (Moment::from_secs(second), per_s(second));
            let estimate = Estimate {
                per_s: arrived,
                dispersion: 1.0,
                error: 0.01,
            };
            let outlooks = *outlook.push(now, total as u64, lead_time);
            total += arrived;
            growth.push(&Sight {
                now,
                arrived,
                estimate,
                outlooks,
                price: 50.0,
                strain: &strain,
            });
        }
        growth
    }

    /// The least margin that costs no more than one request in a thousand.
    fn enough(growth: &Growth) -> f64 {
        let margins = (0..100).map(|step| 1.0 + f64::from(step) / 100.0);
        let mut enough = margins.filter(|margin| growth.missed(*margin) <= 0.001);
        enough.next().expect("some margin is enough")
    }

    #[test]
    fn a_steady_past_leaves_little_headroom_and_steps_ask_for_theirs() {
        let steady = enough(&learned(60, 3, |_| 40.0));
        assert!((1.0..1.1).contains(&steady), "{steady}");
        let stepping = learned(
            60,
            3,
            |second| if second % 1400 < 700 { 60.0 } else { 40.0 },
        );
        let stepping = enough(&stepping);
        assert!((1.4..1.6).contains(&stepping), "{stepping}");
    }

    #[test]
    fn what_the_line_absorbs_asks_for_nothing() {
        // Twice the rate for one second: a wait of half a second in the line.
        let short = learned(60, 3, |second| if second % 600 == 0 { 60.0 } else { 40.0 });
        let short = enough(&short);
        assert!(short < 1.15, "{short}");
    }

    #[test]
    fn a_forecast_is_believed_where_it_has_proven_cheaper() {
        let steady = learned(300, 3, |_| 40.0);
        let said = (steady.expert(), steady.foretold());
        assert_eq!(said, (Expert::Persistence, 1.0));
        // Each hour the rate doubles within ten minutes, and then falls back within twenty.
        let hourly = |second: u64| match (second / 60 % 60) as f64 {
            minute if minute < 10.0 => 40.0 + 4.0 * minute,
            minute if minute < 30.0 => 80.0 - 2.0 * (minute - 10.0),
            _ => 40.0,
        };
        assert_eq!(learned(300, 6, hourly).expert(), Expert::Hour);
    }
}
