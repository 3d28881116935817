//! A schedule made with hindsight and replayed in the simulator: an upper bound on what the best
//! policy needs.

use std::time::Duration;

use tidegate_queue::Moment;

use crate::sim::{Autoscaler, Observed, Orders, Outcome, Scenario, Timing, run};
use crate::trace::Demand;

/// The grid of the schedule.
const STEP: Duration = Duration::from_secs(5);

/// How far around a step busy slots are averaged; shorter peaks are left to the queue.
const AROUND: usize = 2;

/// Halvings of the range of margins.
const ROUNDS: usize = 8;

/// The range of margins, in standard deviations of Poisson demand.
const MARGINS: (f64, f64) = (-2.0, 6.0);

/// A fixed number of workers for every step, launched early enough to be ready by then.
#[derive(Clone, Debug)]
struct Oracle {
    workers: Vec<u32>,
    ahead: usize,
}

/// The replay of the leanest schedule found that reaches the attainment; of the most generous one
/// where none does.
pub fn oracle(scenario: &Scenario, demand: &Demand, seed: u64) -> Outcome {
    let busy = busy_slots(scenario, demand, seed);
    let replay = |margin: f64| {
        let mut oracle = Oracle::new(scenario, &busy, margin);
        run(scenario, demand, seed, &mut oracle)
    };
    let (mut low, mut high) = MARGINS;
    let mut best = replay(high);
    for _ in 0..ROUNDS {
        let margin = (low + high) / 2.0;
        let outcome = replay(margin);
        if outcome.attainment() < scenario.attainment {
            low = margin;
        } else {
            high = margin;
            best = outcome;
        }
    }
    best
}

impl Oracle {
    /// `margin` standard deviations more than the slots that are busy when nobody waits.
    fn new(scenario: &Scenario, busy: &[f64], margin: f64) -> Oracle {
        let workers = |index: usize| {
            let from = index.saturating_sub(AROUND);
            let around = &busy[from..busy.len().min(index + AROUND + 1)];
            let mean = around.iter().sum::<f64>() / around.len() as f64;
            let slots = mean + margin * mean.sqrt();
            (slots / f64::from(scenario.slots)).ceil().max(0.0) as u32
        };
        let longest = scenario.lead_time.mul_f64(1.0 + scenario.lead_spread);
        Oracle {
            workers: (0..busy.len()).map(workers).collect(),
            ahead: longest.div_duration_f64(STEP).ceil() as usize + 1,
        }
    }
}

impl Autoscaler for Oracle {
    fn timing(&self) -> Timing {
        Timing {
            period: STEP,
            lag: Duration::ZERO,
        }
    }

    /// The most that is needed until a launch now would be ready: a worker that is needed again
    /// before then stays.
    fn tick(&mut self, now: Moment, _observed: &Observed<'_>) -> Orders {
        let index = now.div_duration_f64(STEP).round() as usize;
        let until = self.workers.len().min(index + self.ahead + 1);
        let needed = self.workers.get(index..until);
        match needed.and_then(|needed| needed.iter().max()) {
            Some(workers) => Orders::Size(*workers),
            None => Orders::Hold,
        }
    }
}

/// Mean busy slots in each step if every request found a free one.
fn busy_slots(scenario: &Scenario, demand: &Demand, seed: u64) -> Vec<f64> {
    let step_s = STEP.as_secs_f64();
    let work = super::work::Work::of(scenario, demand, seed, step_s);
    let before = [0.0].into_iter().chain(work.earliest.iter().copied());
    let done = work.earliest.iter().zip(before);
    done.map(|(after, before)| (after - before) / step_s)
        .collect()
}
