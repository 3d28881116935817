//! The simulator against queueing theory, and the rules that no run may break.

use std::time::Duration;

use tidegate_backtest::case::Tidegate;
use tidegate_backtest::rivals::{Capacity, Rival};
use tidegate_backtest::sim::{
    Autoscaler, Distribution, Moves, Observed, Orders, Outage, Outcome, Scenario, Timing, WorkerId,
    run,
};
use tidegate_backtest::trace::{self, Demand};
use tidegate_control::{
    Behaviour, FleetKind, FleetRules, ForecastRules, Metric, OnMissing, Policy, SignalRule, Slo,
    Source, Statistic,
};
use tidegate_queue::Moment;

/// Keeps the fleet as it began.
struct Fixed;

impl Autoscaler for Fixed {
    fn timing(&self) -> Timing {
        Timing {
            period: Duration::from_secs(60),
            lag: Duration::ZERO,
        }
    }

    fn tick(&mut self, _now: Moment, _observed: &Observed<'_>) -> Orders {
        Orders::Hold
    }
}

/// Does at each tick what the closure says.
struct Every<F>(Duration, F);

impl<F: FnMut(Moment, &Observed<'_>) -> Orders> Autoscaler for Every<F> {
    fn timing(&self) -> Timing {
        Timing {
            period: self.0,
            lag: Duration::ZERO,
        }
    }

    fn tick(&mut self, now: Moment, observed: &Observed<'_>) -> Orders {
        self.1(now, observed)
    }
}

fn rival(rival: Rival, scenario: &Scenario) -> Box<dyn Autoscaler> {
    rival.build(Capacity::of(scenario), rival.defaults())
}

/// Mean wait in a queue with `servers` servers of mean service time 1, over that service time:
/// Erlang's C formula over the spare servers.
fn erlang_c_wait(servers: u32, load: f64) -> f64 {
    let blocked = (1..=servers).fold(1.0, |blocked, count| {
        load * blocked / (f64::from(count) + load * blocked)
    });
    let rho = load / f64::from(servers);
    let waits = blocked / (1.0 - rho * (1.0 - blocked));
    waits / (f64::from(servers) - load)
}

#[test]
fn waiting_times_are_those_of_erlang_c() {
    for (workers, slots, rho, requests) in [
        (1, 1, 0.7, 1e6),
        (1, 1, 0.9, 2e6),
        (5, 4, 0.7, 1e6),
        (5, 4, 0.9, 2e6),
        (20, 4, 0.9, 6e6),
    ] {
        let servers = workers * slots;
        let mut scenario = Scenario {
            slots,
            min_workers: workers,
            max_workers: workers,
            waiting: usize::MAX,
            deadline: tidegate_config::Duration::from_secs(1_000_000),
            ..Scenario::default()
        };
        scenario.service.distribution = Distribution::Exponential;
        scenario.service.mean = tidegate_config::Duration::from_secs(1);
        let load = rho * f64::from(servers);
        let demand = trace::constant(load, requests / load);
        let outcome = run(&scenario, &demand, 1, &mut Fixed);
        let expected = erlang_c_wait(servers, load);
        let ratio = outcome.mean_wait_s / expected;
        assert!(
            (ratio - 1.0).abs() < 0.05,
            "{servers} servers at {rho}: {ratio}"
        );
    }
}

fn conserves(outcome: &Outcome) -> bool {
    let Outcome {
        on_time,
        late,
        shed,
        expired,
        ..
    } = *outcome;
    on_time + late + shed + expired <= outcome.arrivals
        && outcome.arrivals - (on_time + late + shed + expired) <= outcome.killed_in_flight
}

fn burst() -> Demand {
    trace::flash_crowd(20.0, 120.0, 600.0, 60.0, 300.0, 3600.0)
}

#[test]
fn every_arrival_ends_in_one_way_and_a_seed_repeats_the_run() {
    let scenario = Scenario {
        spot_losses_per_hour: 2.0,
        ..Scenario::default()
    };
    for kind in Rival::ALL {
        let go = |seed| run(&scenario, &burst(), seed, rival(kind, &scenario).as_mut());
        let (outcome, again) = (go(1), go(1));
        assert!(conserves(&outcome), "{}: {outcome:?}", kind.name());
        assert_eq!(outcome, again, "{}", kind.name());
        assert_ne!(outcome.arrivals, go(2).arrivals);
    }
}

#[test]
fn graceful_drains_kill_nothing_and_all_policies_meet_the_same_requests() {
    let scenario = Scenario::default();
    let outcomes =
        Rival::ALL.map(|kind| run(&scenario, &burst(), 5, rival(kind, &scenario).as_mut()));
    for outcome in &outcomes {
        assert_eq!(outcome.killed_in_flight, 0);
        assert_eq!(outcome.arrivals, outcomes[0].arrivals);
        assert_eq!(outcome.hopeless, outcomes[0].hopeless);
    }
}

#[test]
fn a_worker_that_is_removed_undrained_cuts_what_it_is_at() {
    let scenario = Scenario::default();
    let mut removed = false;
    let mut careless = Every(Duration::from_secs(30), |_, observed: &Observed<'_>| {
        let first = observed.members().first().map(|member| member.id);
        let remove: Vec<WorkerId> = first.filter(|_| !removed).into_iter().collect();
        removed = true;
        let launch = remove.len() as u32;
        Orders::Moves(Moves {
            launch,
            remove,
            ..Moves::default()
        })
    });
    let outcome = run(&scenario, &trace::constant(40.0, 600.0), 1, &mut careless);
    assert!((1..=4).contains(&outcome.killed_in_flight), "{outcome:?}");
    assert!(conserves(&outcome));
}

#[test]
fn boots_take_their_lead_time_and_are_billed() {
    let scenario = Scenario {
        lead_spread: 0.0,
        ..Scenario::default()
    };
    let demand = trace::constant(14.0, 3600.0);
    let mut seen = Vec::new();
    let mut grow = Every(
        Duration::from_secs(30),
        |now: Moment, observed: &Observed<'_>| {
            seen.push((now.as_secs(), observed.serving, observed.booting));
            Orders::Size(12)
        },
    );
    let outcome = run(&scenario, &demand, 1, &mut grow);
    // 14 a second are 7 busy workers, 10 at 70 %; two more serve 60 s after the first tick.
    assert_eq!(
        seen[..4],
        [(30, 10, 0), (60, 10, 2), (90, 12, 0), (120, 12, 0)]
    );
    let expected = 10.0 + 2.0 * (3600.0 - 30.0) / 3600.0;
    assert!((outcome.instance_hours - expected).abs() < 1e-9);
}

#[test]
fn outages_bring_no_workers_and_no_metrics() {
    let all_day = Outage {
        from: tidegate_config::Duration::from_secs(0),
        to: tidegate_config::Duration::from_secs(86_400),
    };
    let demand = trace::constant(14.0, 600.0);
    let scenario = Scenario {
        capacity_outages: vec![all_day],
        metric_outages: vec![all_day],
        ..Scenario::default()
    };
    let mut grow = Every(Duration::from_secs(30), |_, observed: &Observed<'_>| {
        assert_eq!((observed.sample, observed.serving), (None, 10));
        assert_eq!(observed.signal(), None);
        Orders::Size(12)
    });
    assert_eq!(run(&scenario, &demand, 1, &mut grow).launches, 0);
}

#[test]
fn the_signal_is_the_lines_own_and_names_who_serves() {
    let scenario = Scenario::default();
    let mut ticks = 0;
    let mut look = Every(
        Duration::from_secs(20),
        |now: Moment, observed: &Observed<'_>| {
            let signal = observed.signal().expect("metrics are there");
            let sample = observed.sample.expect("metrics are there");
            let model = &signal.models[0];
            assert_eq!(signal.now_ms, now.as_millis() as u64);
            assert_eq!(model.arrivals_total, sample.arrivals_total);
            assert_eq!(model.in_flight, u64::from(sample.in_flight));
            let permits: u32 = signal.workers.iter().map(|worker| worker.permits).sum();
            assert_eq!(u64::from(permits), model.in_flight);
            assert_eq!(
                signal.workers.iter().filter(|w| w.taking).count(),
                observed.serving as usize
            );
            for (worker, member) in signal.workers.iter().zip(observed.members()) {
                assert_eq!(worker.worker.parse(), Ok(member.id));
            }
            ticks += 1;
            let id = observed.members()[0].id;
            Orders::Moves(match ticks {
                1 => Moves {
                    drain: vec![id],
                    ..Moves::default()
                },
                3 => Moves {
                    remove: vec![id],
                    ..Moves::default()
                },
                _ => Moves::default(),
            })
        },
    );
    let outcome = run(&scenario, &trace::constant(14.0, 600.0), 1, &mut look);
    assert_eq!((outcome.killed_in_flight, ticks), (0, 30));
}

#[test]
fn our_own_law_runs_on_signals_and_kills_nothing() {
    let duration = tidegate_config::Duration::from_secs;
    let policy = Policy::new(
        FleetRules {
            kind: FleetKind::Process,
            model: None,
            min: 1,
            max: 100,
            lead_time: duration(66),
            silence: duration(30),
            mass_silence: tidegate_config::Duration::from_secs(300),
            drain_limit: duration(120),
        },
        Slo {
            latency: duration(10),
        },
        duration(5),
        vec![SignalRule {
            name: "requests".to_owned(),
            source: Source::Proxy,
            metric: Metric::Concurrency,
            statistic: Statistic::Mean,
            window: duration(30),
            target_per_worker: Some(2.8),
            target_value: None,
            on_missing: OnMissing::default(),
        }],
        &Behaviour::default(),
        &Behaviour::default(),
    );
    let scenario = Scenario::default();
    let mut ours = Tidegate::new(policy, Duration::from_secs(1));
    let outcome = run(&scenario, &burst(), 1, &mut ours);
    assert!(conserves(&outcome), "{outcome:?}");
    assert_eq!(outcome.killed_in_flight, 0);
    assert!(
        outcome.launches > 0 && outcome.attainment() > 0.9,
        "{outcome:?}"
    );
    let peak = outcome.timeline.iter().map(|sample| sample.serving).max();
    let last = outcome.timeline.last().map(|sample| sample.serving);
    assert!(last < peak, "it shrinks after the crowd");
}

/// The law by forecast alone, all at its defaults.
fn forecasting(scenario: &Scenario) -> Tidegate {
    let behaviour = Behaviour::default();
    let fleet = FleetRules {
        kind: FleetKind::Process,
        model: None,
        min: 1,
        max: 100,
        lead_time: scenario.lead_time,
        silence: tidegate_config::Duration::from_secs(30),
        mass_silence: tidegate_config::Duration::from_secs(300),
        drain_limit: tidegate_config::Duration::from_secs(120),
    };
    let (slo, stale_after) = (
        Slo {
            latency: scenario.slo,
        },
        tidegate_config::Duration::from_secs(5),
    );
    let mut policy = Policy::new(fleet, slo, stale_after, Vec::new(), &behaviour, &behaviour);
    policy.forecast = Some(ForecastRules::default());
    Tidegate::in_scenario(policy, scenario)
}

#[test]
fn the_law_settles_at_a_constant_load_and_meets_a_step() {
    let scenario = Scenario::default();
    let constant = trace::constant(40.0, 4.0 * 3600.0);
    let outcome = run(&scenario, &constant, 3, &mut forecasting(&scenario));
    assert!(outcome.reversals_per_hour <= 1.0, "{outcome:?}");
    assert!(outcome.attainment() > 0.99);
    let step = trace::step(20.0, 60.0, 3000.0, 3600.0);
    let outcome = run(&scenario, &step, 3, &mut forecasting(&scenario));
    let met = outcome.timeline.iter().find(|sample| sample.serving >= 30);
    let at = met.map(|sample| sample.at.as_secs());
    // A lead time, detection, and the minute between two samples.
    assert!(
        at.is_some_and(|at| at < 3000 + 66 + 70),
        "30 busy workers by {at:?}"
    );
}
