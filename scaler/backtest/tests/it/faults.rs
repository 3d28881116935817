//! Faults of a scenario: they come by the seed, alike for every policy, and at the rate asked for.

use std::time::Duration;

use tidegate_backtest::sim::{Autoscaler, Observed, Orders, Outcome, Scenario, Timing, run};
use tidegate_backtest::trace::constant;
use tidegate_queue::Moment;

/// Asks for a worker more and a worker fewer in turns, and counts what it saw.
#[derive(Default)]
struct Restless {
    ticks: u32,
    blind: u32,
    asked: u32,
}

impl Autoscaler for Restless {
    fn timing(&self) -> Timing {
        Timing {
            period: Duration::from_secs(10),
            lag: Duration::ZERO,
        }
    }

    fn tick(&mut self, _now: Moment, observed: &Observed<'_>) -> Orders {
        self.ticks += 1;
        self.blind += u32::from(observed.signal().is_none());
        assert_eq!(observed.sample.is_none(), observed.signal().is_none());
        match observed.serving + observed.booting {
            few if few <= 30 => {
                self.asked += 1;
                Orders::Size(31)
            }
            _ => Orders::Size(30),
        }
    }
}

fn replay(scenario: &Scenario, seed: u64) -> (Restless, Outcome) {
    let mut policy = Restless::default();
    let outcome = run(scenario, &constant(10.0, 20_000.0), seed, &mut policy);
    (policy, outcome)
}

#[test]
fn launches_fail_and_polls_are_missed_at_the_rate_that_was_asked_for() {
    let scenario = Scenario {
        failed_launches: 0.3,
        missed_polls: 0.2,
        ..Scenario::default()
    };
    let (policy, outcome) = replay(&scenario, 1);
    let missed = f64::from(policy.blind) / f64::from(policy.ticks);
    assert!((missed - 0.2).abs() < 0.03, "{missed} of polls");
    // The first call asks for all that is missing at once; each other one for one worker.
    let brought = f64::from(outcome.launches.min(policy.asked)) / f64::from(policy.asked);
    assert!((brought - 0.7).abs() < 0.05, "{brought} of launches");
    assert_eq!(replay(&scenario, 1).1, outcome, "by the seed");
    assert_ne!(replay(&scenario, 2).0.blind, policy.blind);
}

#[test]
fn without_faults_every_launch_succeeds_and_every_tick_sees() {
    let (policy, outcome) = replay(&Scenario::default(), 1);
    assert_eq!(policy.blind, 0);
    assert!(outcome.launches >= policy.asked);
}
