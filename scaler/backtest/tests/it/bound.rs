//! No policy may cost less than the bound and still keep its promise, and hindsight comes close.

use std::time::Duration;

use proptest::prelude::*;
use tidegate_backtest::bound::{lower_bound_hours, oracle};
use tidegate_backtest::rivals::{Capacity, Rival, Setting};
use tidegate_backtest::sim::{Autoscaler, Observed, Orders, Outcome, Scenario, Timing, run};
use tidegate_backtest::trace::{self, Demand};
use tidegate_queue::Moment;

/// As many workers as the mean of a short look ahead would keep busy at a load; knows the
/// demand's curve, though not its requests.
struct Foresight<'a> {
    demand: &'a Demand,
    ahead_s: f64,
    slots_per_s: f64,
}

impl Autoscaler for Foresight<'_> {
    fn timing(&self) -> Timing {
        Timing {
            period: Duration::from_secs(5),
            lag: Duration::ZERO,
        }
    }

    fn tick(&mut self, now: Moment, _observed: &Observed<'_>) -> Orders {
        let from = now.as_secs_f64();
        let to = (from + self.ahead_s).min(self.demand.span_s());
        let rate = self.demand.cut(from, to).mean_rate();
        if rate.is_finite() {
            Orders::Size((rate * self.slots_per_s).ceil() as u32)
        } else {
            Orders::Hold
        }
    }
}

fn demands() -> impl Strategy<Value = Demand> {
    let rates = 5.0..80.0_f64;
    prop_oneof![
        (rates.clone(), rates.clone()).prop_map(|(a, b)| trace::step(a, b, 600.0, 1500.0)),
        (rates.clone(), rates.clone()).prop_map(|(a, b)| trace::ramp(a, b, 1500.0)),
        (rates.clone(), 60.0..300.0_f64)
            .prop_map(|(high, on_s)| trace::on_off(high, 5.0, on_s, 200.0, 1500.0)),
        (rates.clone(), 30.0..300.0_f64)
            .prop_map(|(peak, rise)| trace::flash_crowd(10.0, peak, 500.0, rise, 200.0, 1500.0)),
    ]
}

/// Service times that leave room for misses, so that many policies reach the attainment.
fn scenario(lead_s: u64, variation: f64) -> Scenario {
    let mut scenario = Scenario::default().with_lead_time(Duration::from_secs(lead_s));
    scenario.service.variation = variation;
    scenario
}

fn keeps_the_bound(scenario: &Scenario, outcome: &Outcome, bound: f64) -> bool {
    outcome.attainment() < scenario.attainment || outcome.instance_hours >= bound
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_policy_that_keeps_the_promise_goes_below_the_bound(
        demand in demands(),
        lead_s in prop_oneof![Just(10), Just(60), Just(180)],
        variation in 0.3..1.0_f64,
        seed in 0..1000_u64,
        target in 0.7..1.0_f64,
        ahead_s in 5.0..200.0_f64,
    ) {
        let scenario = scenario(lead_s, variation);
        let bound = lower_bound_hours(&scenario, &demand, seed);
        for rival in Rival::ALL {
            let setting = Setting { target, ..rival.defaults() };
            let mut autoscaler = rival.build(Capacity::of(&scenario), setting);
            let outcome = run(&scenario, &demand, seed, autoscaler.as_mut());
            prop_assert!(keeps_the_bound(&scenario, &outcome, bound), "{}", rival.name());
        }
        let slots_per_s = 1.0 / (scenario.worker_rate() * target);
        let mut foresight = Foresight { demand: &demand, ahead_s, slots_per_s };
        let outcome = run(&scenario, &demand, seed, &mut foresight);
        prop_assert!(keeps_the_bound(&scenario, &outcome, bound), "foresight");
    }
}

#[test]
fn hindsight_brackets_the_bound_from_above() {
    let demand = trace::flash_crowd(20.0, 80.0, 900.0, 120.0, 400.0, 3600.0);
    for (lead_s, most) in [(10, 1.35), (60, 1.25), (180, 1.25)] {
        let scenario = scenario(lead_s, 0.8);
        let bound = lower_bound_hours(&scenario, &demand, 1);
        let best = oracle(&scenario, &demand, 1);
        let ratio = best.instance_hours / bound;
        assert!(
            best.attainment() >= 0.99,
            "lead time {lead_s} s: {}",
            best.attainment()
        );
        assert!(
            (1.0..most).contains(&ratio),
            "lead time {lead_s} s: {ratio}"
        );
    }
}

#[test]
fn a_fleet_that_is_always_busy_meets_the_bound_of_its_work() {
    // With a service time that never varies and a steady demand little can be saved.
    let scenario = scenario(60, 0.0);
    let demand = trace::constant(40.0, 3600.0);
    let bound = lower_bound_hours(&scenario, &demand, 1);
    assert!(
        (19.0..20.2).contains(&bound),
        "{bound} hours for 20 busy workers"
    );
}
