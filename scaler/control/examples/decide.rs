//! How long one decision takes for a fleet of ten thousand workers, behind one proxy, by a policy
//! with every kind of term.
//!
//!     cargo run --release -p tidegate-control --example decide -- [WORKERS]

use std::time::{Duration, Instant};

use tidegate_control::{
    Behaviour, CostRules, Fleet, FleetKind, FleetRules, ForecastRules, Formula, Law, Metric,
    Observation, OnMissing, Policy, ProxyObservation, ScheduleRule, Seen, SignalRule, Slo, Source,
    Stage, Statistic, Tally, Time, Worker, WorkerObservation,
};
use tidegate_protocol::Histogram;

const TICKS: u64 = 600;

fn main() -> anyhow::Result<()> {
    let workers = match std::env::args().nth(1) {
        Some(count) => count.parse()?,
        None => 10_000,
    };
    let mut law = Law::new(policy(workers)?);
    let mut took: Vec<Duration> = Vec::new();
    for tick in 1..=TICKS {
        let now = Time::from_ms(1_700_000_000_000 + tick * 1000);
        let (seen, fleet) = (observation(workers, tick), fleet(workers, now));
        let began = Instant::now();
        let decision = law.decide(now, &seen, &fleet);
        took.push(began.elapsed());
        if tick == TICKS {
            println!("{decision}");
        }
    }
    took.sort_unstable();
    let at = |share: f64| took[(share * (took.len() - 1) as f64) as usize];
    println!(
        "{workers} workers: p50 {:?}, p99 {:?}, max {:?} of {TICKS} decisions",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    Ok(())
}

fn policy(workers: u32) -> anyhow::Result<Policy> {
    let seconds = tidegate_config::Duration::from_secs;
    let fleet = FleetRules {
        kind: FleetKind::Process,
        model: None,
        min: 1,
        max: workers,
        lead_time: seconds(60),
        silence: seconds(30),
        mass_silence: tidegate_config::Duration::from_secs(300),
        drain_limit: seconds(120),
    };
    let signal = SignalRule {
        name: "requests".to_owned(),
        source: Source::Proxy,
        metric: Metric::Concurrency,
        statistic: Statistic::P95,
        window: seconds(60),
        target_per_worker: Some(4.0),
        target_value: None,
        on_missing: OnMissing::Hold,
    };
    let (out, down) = (Behaviour::default(), Behaviour::default());
    let slo = Slo {
        latency: seconds(2),
    };
    let mut policy = Policy::new(fleet, slo, seconds(5), vec![signal], &out, &down);
    policy.forecast = Some(ForecastRules::default());
    let formula = Formula::new("max(requests / 4.0, 8.0)", &["requests"]);
    policy.formula = Some(formula.map_err(|problem| anyhow::anyhow!("{problem:?}"))?);
    policy.cost = Some(CostRules {
        price_per_hour: 0.1,
        budget_per_hour: None,
    });
    policy.schedules = vec![ScheduleRule {
        name: "day".to_owned(),
        cron: "0 8 * * MON-FRI".to_owned(),
        zone: "Europe/Berlin".to_owned(),
        span: seconds(36_000),
        workers: 100,
        ramp: seconds(900),
    }];
    Ok(policy)
}

fn observation(workers: u32, tick: u64) -> Observation {
    let per_s = match tick < TICKS / 2 {
        true => u64::from(workers) * 6 + tick % 7,
        false => u64::from(workers),
    };
    let seen = Seen {
        epoch: "e".to_owned(),
        counted: true,
        arrivals: per_s,
        served: per_s,
        service_ms: per_s as f64 * 500.0,
        service: tally(500, per_s),
        waits: tally(5, per_s),
        in_flight: per_s / 2,
        workers: (0..workers).map(report).collect(),
        ..Seen::default()
    };
    Observation {
        proxies: vec![ProxyObservation {
            source: "a".to_owned(),
            seen: Some(seen),
        }],
        ..Observation::default()
    }
}

/// So many times so long.
fn tally(ms: u64, count: u64) -> Tally {
    let mut histogram = Histogram::default();
    (0..count).for_each(|_| histogram.record(Duration::from_millis(ms)));
    Tally::from(&histogram)
}

fn name(number: u32) -> String {
    format!("i-{number:016x}")
}

fn report(number: u32) -> WorkerObservation {
    WorkerObservation {
        id: name(number),
        ready: true,
        draining: false,
        slots: 4,
        permits: 3,
        elsewhere: 0,
        beat_age_ms: 400,
    }
}

/// At every other tick, one in a hundred boots.
fn fleet(workers: u32, now: Time) -> Fleet {
    let stage = |number: u32| match number % 100 {
        0 if now.as_ms().is_multiple_of(2000) => Stage::Booting,
        _ => Stage::Serving { heard: now },
    };
    let worker = |number: u32| Worker {
        id: name(number),
        launched: now - Duration::from_secs(10),
        stage: stage(number),
    };
    Fleet {
        workers: (0..workers).map(worker).collect(),
        ..Fleet::default()
    }
}
