//! Properties of the law by forecast in the simulator, over random loads, lead times, seeds and
//! outages.

use std::time::Duration;

use proptest::prelude::*;
use tidegate_backtest::case::Tidegate;
use tidegate_backtest::sim::{Autoscaler, Moves, Observed, Orders, Outage, Scenario, Timing, run};
use tidegate_backtest::trace::{self, Demand};
use tidegate_config::Duration as Span;
use tidegate_control::{Behaviour, Policy};
use tidegate_queue::Moment;

const POLICY: &str = "signal = []\n[fleet]\nkind = 'process'\nmin = 1\nmax = 1\n\
                      [slo]\nlatency = '1s'\n[forecast]\n";

fn policy() -> Policy {
    let tables: toml::Table = toml::from_str(POLICY).expect("the policy is TOML");
    let part = |key: &str| {
        tables
            .get(key)
            .cloned()
            .unwrap_or(toml::Table::new().into())
    };
    let (fleet, slo) = (part("fleet").try_into(), part("slo").try_into());
    let mut policy = Policy::new(
        fleet.expect("a fleet"),
        slo.expect("an SLO"),
        Span::from_secs(5),
        Vec::new(),
        &Behaviour::default(),
        &Behaviour::default(),
    );
    policy.forecast = Some(part("forecast").try_into().expect("a forecast"));
    policy
}

/// What one tick saw and ordered.
#[derive(Clone, Debug, PartialEq)]
struct Tick {
    at: Moment,
    blind: bool,
    serving: u32,
    booting: u32,
    moves: Moves,
}

/// The law, and a record of it.
struct Watched {
    law: Tidegate,
    ticks: Vec<Tick>,
}

impl Autoscaler for Watched {
    fn timing(&self) -> Timing {
        self.law.timing()
    }

    fn tick(&mut self, now: Moment, observed: &Observed<'_>) -> Orders {
        let orders = self.law.tick(now, observed);
        let moves = match &orders {
            Orders::Moves(moves) => moves.clone(),
            _ => Moves::default(),
        };
        self.ticks.push(Tick {
            at: now,
            blind: observed.sample.is_none(),
            serving: observed.serving,
            booting: observed.booting,
            moves,
        });
        orders
    }
}

fn ticks(scenario: &Scenario, demand: &Demand, seed: u64) -> Vec<Tick> {
    let mut watched = Watched {
        law: Tidegate::in_scenario(policy(), scenario),
        ticks: Vec::new(),
    };
    run(scenario, demand, seed, &mut watched);
    watched.ticks
}

/// A step between two rates in the middle of an hour, and two outages of the metrics.
fn scenario(lead_s: u64, outages: &[(u64, u64)]) -> Scenario {
    let outage = |(from, span): &(u64, u64)| Outage {
        from: Span::from_secs(*from),
        to: Span::from_secs(from + span),
    };
    Scenario {
        lead_time: Span::from_secs(lead_s),
        max_workers: 40,
        metric_outages: outages.iter().map(outage).collect(),
        ..Scenario::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_keeps_within_the_bounds_never_shrinks_blindly_and_repeats_itself(
        rates in (1..90_u32, 1..90_u32),
        lead_s in 5..120_u64,
        outages in prop::collection::vec((0..3500_u64, 1..300_u64), 0..3),
        seed in 0..1000_u64,
    ) {
        let scenario = scenario(lead_s, &outages);
        let demand = trace::step(f64::from(rates.0), f64::from(rates.1), 1800.0, 3600.0);
        let first = ticks(&scenario, &demand, seed);
        for tick in &first {
            prop_assert!(tick.serving + tick.booting + tick.moves.launch <= 40, "{tick:?}");
            if tick.blind {
                prop_assert!(tick.moves.drain.is_empty(), "{tick:?}");
                prop_assert!(tick.moves.remove.is_empty(), "{tick:?}");
            } else {
                let drained = tick.moves.drain.len() as u32;
                prop_assert!(tick.serving - drained.min(tick.serving) >= 1 || drained == 0, "{tick:?}");
            }
        }
        prop_assert_eq!(first, ticks(&scenario, &demand, seed));
    }

    #[test]
    fn a_constant_load_settles(rate in 2..60_u32, lead_s in 5..120_u64, seed in 0..1000_u64) {
        let demand = trace::constant(f64::from(rate), 3.0 * 3600.0);
        let settled = ticks(&scenario(lead_s, &[]), &demand, seed);
        let last_hour = settled.iter().filter(|tick| tick.at.as_secs() >= 7200);
        let sizes: Vec<u32> = last_hour.map(|tick| tick.serving + tick.booting).collect();
        let (least, most) = (sizes.iter().min(), sizes.iter().max());
        let (least, most) = (least.copied().unwrap_or(0), most.copied().unwrap_or(0));
        // Twice the rate of one worker, so that half of it is the load in workers.
        let load = f64::from(rate) / 2.0;
        prop_assert!(f64::from(least) >= load.floor(), "{least} for a load of {load}");
        prop_assert!(f64::from(most) <= 1.5 * load + 3.0, "{most} for a load of {load}");
        prop_assert!(most - least <= 2 + most / 6, "between {least} and {most}");
    }

    #[test]
    fn a_step_is_met_within_the_lead_time_and_its_detection(
        low in 4..20_u32,
        lead_s in 5..120_u64,
        seed in 0..1000_u64,
    ) {
        let scenario = scenario(lead_s, &[]);
        let (from, to) = (f64::from(low), f64::from(low) * 3.0);
        let all = ticks(&scenario, &trace::step(from, to, 1800.0, 3600.0), seed);
        let needed = (to / 2.0).floor() as u32;
        let met = all.iter().find(|tick| tick.at.as_secs() >= 1800 && tick.serving >= needed);
        // Ten seconds of arrivals tell the new rate, then two ticks.
        let slowest = scenario.lead_time.mul_f64(1.0 + scenario.lead_spread);
        let limit = Duration::from_secs(1800 + 10 + 2) + slowest;
        prop_assert!(met.is_some_and(|tick| tick.at <= limit), "{:?} after {limit:?}", met);
    }
}
