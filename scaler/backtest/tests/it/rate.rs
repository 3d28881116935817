//! The rate mode against requests one by one: how far they are from each other, and where that is
//! too far to search by it.

use std::time::{Duration, Instant};

use tidegate_backtest::case::{Case, Mode, agree};
use tidegate_backtest::rivals::Rival;
use tidegate_backtest::sim::{Scenario, can_be_rated};
use tidegate_backtest::trace::{self, Demand, made_up};

const TRACES: [(&str, &str); 4] = [
    (
        "azure",
        include_str!("../../../../tests/traces/azure-llm-2023-conv.csv"),
    ),
    (
        "elb",
        include_str!("../../../../tests/traces/nab-elb_request_count_8c0756.csv"),
    ),
    (
        "mm-image",
        include_str!("../../../../tests/traces/servegen-mm-image-rate-10min.csv"),
    ),
    (
        "grok",
        include_str!("../../../../tests/traces/nab-grok_asg_anomaly.csv"),
    ),
];

fn demands(scenario: &Scenario) -> Vec<(&'static str, Demand)> {
    let recorded = TRACES.map(|(name, text)| (name, trace::parse(text).expect(name)));
    let shapes = ["constant", "step", "ramp", "flash-crowd"];
    let made = shapes.map(|shape| (shape, made_up(shape).expect(shape)));
    let all = recorded.into_iter().chain(made);
    all.map(|(name, demand)| (name, scenario.demand(&demand).expect(name)))
        .collect()
}

#[test]
fn the_rate_mode_agrees_where_the_fleet_keeps_up_and_is_faster() {
    let scenario = Scenario {
        stretch: Some(Duration::from_secs(3600).into()),
        ..Scenario::default()
    };
    let (mut exact_took, mut rate_took) = (Duration::ZERO, Duration::ZERO);
    let (mut agreed, mut all, mut farthest) = (0, 0, 0.0_f64);
    for (name, demand) in demands(&scenario) {
        let case = Case {
            trace: name,
            scenario: &scenario,
            demand: &demand,
            seed: 1,
            mode: Mode::Exact,
        };
        for rival in Rival::ALL {
            let began = Instant::now();
            let exact = case.run_rival(rival, rival.defaults());
            exact_took += began.elapsed();
            let began = Instant::now();
            let rated = case.by_rate().run_rival(rival, rival.defaults());
            rate_took += began.elapsed();
            assert_eq!(exact.arrivals, rated.arrivals, "{name}: the same requests");
            all += 1;
            let points = (rated.attainment() - exact.attainment()) * 100.0;
            let hours = (rated.instance_hours / exact.instance_hours - 1.0) * 100.0;
            if agree(&exact, &rated) {
                agreed += 1;
            } else {
                let policy = rival.name();
                let share = exact.attainment() * 100.0;
                println!("{name} {policy}: {share:.2} % {points:+.2} points, {hours:+.1} % hours");
            }
            // Where the fleet keeps up, the two may not be far apart.
            if exact.attainment() >= 0.985 {
                farthest = farthest.max(points.abs());
            }
        }
    }
    println!("{agreed} of {all} agree; {exact_took:?} one by one, {rate_took:?} by rate");
    assert!(agreed * 5 >= all * 4, "{agreed} of {all}");
    assert!(farthest < 0.15, "{farthest} points");
    assert!(rate_took * 2 < exact_took, "{rate_took:?}, {exact_took:?}");
}

#[test]
fn a_lost_worker_is_beyond_the_rate_mode() {
    let scenario = Scenario {
        spot_losses_per_hour: 0.1,
        ..Scenario::default()
    };
    assert!(can_be_rated(&Scenario::default()) && !can_be_rated(&scenario));
}
