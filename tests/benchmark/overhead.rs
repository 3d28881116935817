//! What the proxy costs: processor time a request, and time added to one, against the same
//! client asking the same worker directly.

use std::time::{Duration, Instant};

use tidegate_tests::{Client, Harness, HarnessConfig};

const CONNECTIONS: usize = 16;
const ROUNDS: usize = 5;
const SPAN: Duration = Duration::from_secs(3);
/// Ticks a second of /proc/PID/stat on Linux.
const TICKS: f64 = 100.0;

pub async fn measure() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("w", &["--slots", "64"]).await;
    let address = harness.signal().await.workers[0].address;
    let direct = Client::with_token(format!("http://{address}"), harness.worker_token());
    println!("overhead: {CONNECTIONS} connections, one small request after the other");
    for round in 1..=ROUNDS {
        let before = processor_seconds(harness.proxy.id());
        let (count, p50) = closed_loop(&harness.client(), CONNECTIONS).await;
        let spent = processor_seconds(harness.proxy.id()) - before;
        let (direct_count, direct_p50) = closed_loop(&direct, CONNECTIONS).await;
        println!(
            "  round {round}: proxy {:.0}/s, p50 {p50:.2} ms, {:.0} us of processor time each; \
             direct {:.0}/s, p50 {direct_p50:.2} ms",
            count as f64 / SPAN.as_secs_f64(),
            spent * 1e6 / count as f64,
            direct_count as f64 / SPAN.as_secs_f64(),
        );
    }
}

/// Requests answered and their median milliseconds.
pub async fn closed_loop(client: &Client, connections: usize) -> (usize, f64) {
    let began = Instant::now();
    let connections = (0..connections).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            let mut took = Vec::new();
            while began.elapsed() < SPAN {
                let answer = client.timed(0).await;
                assert_eq!(answer.status, 200);
                took.push(answer.took.as_secs_f64() * 1000.0);
            }
            took
        })
    });
    let mut took = Vec::new();
    for connection in connections.collect::<Vec<_>>() {
        took.extend(connection.await.expect("no connection panics"));
    }
    (took.len(), crate::quantile(&mut took, 0.5))
}

/// User and system time of a process so far.
pub fn processor_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the proxy runs");
    let after_name = stat.rsplit_once(')').expect("a name in parentheses").1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) / TICKS
}
