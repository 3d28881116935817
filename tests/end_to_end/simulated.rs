//! The simulator against the real thing: the same arrivals and service times, once through
//! `tidegate_backtest::sim` and once through the proxy and processes with set service times.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tidegate_backtest::sim::{
    Autoscaler, Observed, Orders, Outcome, Request, Scenario, Timing, Workload, run,
};
use tidegate_backtest::trace::{self, Demand};
use tidegate_tests::{Client, Harness, HarnessConfig, Process};

const WORKERS: u32 = 3;
const SLOTS: u32 = 2;
const SERVICE_MS: u64 = 300;

/// High enough for a queue to form again and again.
const LOAD: f64 = 0.8;

const SPAN_S: f64 = 12.0;

/// How far a quantile may be from the simulated one.
const TOLERANCE: f64 = 0.1;

/// A measurement on a busy machine may fail; so many all do not.
const TRIES: u32 = 3;

/// A fleet that stays as it is.
struct Still;

impl Autoscaler for Still {
    fn timing(&self) -> Timing {
        Timing {
            period: Duration::from_secs(1),
            lag: Duration::ZERO,
        }
    }

    fn tick(&mut self, _now: Duration, _observed: &Observed<'_>) -> Orders {
        Orders::Hold
    }
}

fn scenario() -> Scenario {
    let mut scenario = Scenario {
        slots: SLOTS,
        min_workers: WORKERS,
        max_workers: WORKERS,
        ..Scenario::default()
    };
    scenario.service.mean = tidegate_config::Duration::from(Duration::from_millis(SERVICE_MS));
    scenario.service.variation = 0.8;
    scenario
}

fn demand(scenario: &Scenario) -> Demand {
    trace::constant(LOAD * f64::from(WORKERS) * scenario.worker_rate(), SPAN_S)
}

/// Sends every request when it is due; how long each took, in milliseconds and in order.
async fn play(client: &Client, requests: &[Request]) -> Vec<f64> {
    let began = Instant::now() + Duration::from_millis(100);
    let sent = requests.iter().map(|request| {
        let (client, at) = (client.clone(), began + request.arrived);
        let service_ms = request.service.as_secs_f64() * 1000.0;
        tokio::spawn(async move {
            tokio::time::sleep_until(at.into()).await;
            let answer = client.timed(service_ms.round() as u64).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            answer.took.as_secs_f64() * 1000.0
        })
    });
    let sent: Vec<_> = sent.collect();
    let took = join_all(sent).await.into_iter();
    let mut took: Vec<f64> = took.map(|took| took.expect("it is answered")).collect();
    took.sort_by(f64::total_cmp);
    took
}

/// By nearest rank, as the simulator counts.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted[rank.max(1) - 1]
}

/// What is further off than it may be.
fn too_far(simulated: &Outcome, took: &[f64]) -> Vec<String> {
    let pairs = [
        ("p50", simulated.p50_ms, 0.5),
        ("p95", simulated.p95_ms, 0.95),
    ];
    let apart = pairs.into_iter().filter_map(|(name, expected, q)| {
        let found = quantile(took, q);
        println!("{name}: {found:.0} ms, simulated {expected:.0} ms");
        let off = (found / expected - 1.0).abs();
        (off > TOLERANCE).then(|| format!("{name} {found:.0} ms, simulated {expected:.0} ms"))
    });
    apart.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_proxy_takes_as_long_as_the_simulator_says() {
    let scenario = scenario();
    let demand = demand(&scenario);
    let harness = Harness::start(HarnessConfig::default()).await;
    let slots = SLOTS.to_string();
    let mut workers: Vec<Process> = Vec::new();
    for index in 0..WORKERS {
        let name = format!("w{index}");
        workers.push(harness.timed_worker(&name, &["--slots", &slots]).await);
    }
    let client = harness.client();
    // Connections are open and the queue knows a service time before anything counts.
    join_all((0..12).map(|_| client.timed(20))).await;
    let mut failures = Vec::new();
    for seed in 1..=u64::from(TRIES) {
        let simulated = run(&scenario, &demand, seed, &mut Still);
        assert_eq!(simulated.on_time, simulated.arrivals, "all are answered");
        let idle = Workload::new(&scenario, &demand, seed)
            .map(|request| request.service.as_secs_f64() * 1000.0);
        let mut idle: Vec<f64> = idle.collect();
        idle.sort_by(f64::total_cmp);
        assert!(
            simulated.p50_ms > 1.1 * quantile(&idle, 0.5),
            "requests wait for one another"
        );
        let requests: Vec<Request> = Workload::new(&scenario, &demand, seed).collect();
        let took = play(&client, &requests).await;
        assert_eq!(took.len() as u64, simulated.arrivals);
        let far = too_far(&simulated, &took);
        if far.is_empty() {
            return;
        }
        failures.push(far.join(", "));
    }
    panic!("{}", failures.join("; "));
}
