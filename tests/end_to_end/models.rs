//! Several models behind one address: each has a fleet of its own, and they share the cores.

use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_tests::Up;

/// Serves all the time, and takes what the machine has under load.
const BUSY: &str = "
[fleet]
kind = 'process'
min = 1
max = 16

[slo]
latency = '2s'

[[signal]]
name = 'requests'
metric = 'concurrency'
statistic = 'max'
window = '2s'
target_per_worker = 1

[scale_in]
stabilization = '3s'
";

/// Has no worker while nobody asks.
const RARE: &str = "
[fleet]
kind = 'process'
min = 0
max = 1

[slo]
latency = '2s'

[[signal]]
name = 'requests'
metric = 'concurrency'
statistic = 'max'
window = '2s'
target_per_worker = 8

[scale_in]
stabilization = '3s'
";

/// How long a first request may wait for its worker: for a tick, and for the process.
const FIRST: Duration = Duration::from_secs(2);

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[tokio::test]
async fn a_model_without_workers_starts_one_with_its_first_request_and_ends_it_when_idle() {
    if cores() < 2 {
        return eprintln!("skipped: two models need two cores");
    }
    let up = Up::start_several(&[("busy", BUSY), ("rare", RARE)]).await;
    let client = up.client();
    up.fleet_is(1).await;
    let asked = Instant::now();
    let rare = json!({"model": "rare", "service_ms": 10});
    let answer = client.post(&rare).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(asked.elapsed() < FIRST, "{:?}", asked.elapsed());
    let busy = client
        .post(&json!({"model": "busy", "service_ms": 10}))
        .await;
    assert_eq!(busy.status, 200, "{}", busy.body);
    up.fleet_is(2).await;
    // It is idle, and leaves.
    up.fleet_is(1).await;
    let again = client.post(&rare).await;
    assert_eq!(again.status, 200, "{}", again.body);
}

#[tokio::test]
async fn a_model_that_has_all_cores_gives_one_to_the_other_and_nobody_gets_more() {
    if cores() < 2 {
        return eprintln!("skipped: two models need two cores");
    }
    let up = Up::start_several(&[("busy", BUSY), ("rare", RARE)]).await;
    let client = up.client();
    let load = (0..8 * cores()).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            let until = Instant::now() + Duration::from_secs(12);
            while Instant::now() < until {
                let busy = json!({"model": "busy", "service_ms": 200});
                assert_eq!(client.post(&busy).await.status, 200);
            }
        })
    });
    let load: Vec<_> = load.collect();
    up.fleet_is(cores()).await;
    let rare = json!({"model": "rare", "service_ms": 10});
    let answer = tokio::select! {
        answer = client.post(&rare) => answer,
        () = never_more_than(&up, cores()) => unreachable!("it watches"),
    };
    assert_eq!(answer.status, 200, "{}", answer.body);
    for client in load {
        client.await.expect("no request failed");
    }
}

async fn never_more_than(up: &Up, most: usize) {
    loop {
        let workers = up.workers().len();
        assert!(workers <= most, "{workers} workers for {most} cores");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
