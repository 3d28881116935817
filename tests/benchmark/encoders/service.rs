//! The int8 model as a service: how soon it is ready, and what HTTP and the proxy leave of its
//! speed when the client shares its cores.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_tests::{Client, Harness, HarnessConfig, Process, binary};

use super::{ROUNDS, Round, THREADS};

/// Requests at once: two for each core that computes, as many again on their way.
const CONNECTIONS: usize = 8;
const TEXTS_A_REQUEST: usize = 8;
const SPAN: Duration = Duration::from_secs(3);

/// Seconds from the start of the process to its first `ready`, a figure a round.
pub fn start_to_ready(model: &Path, home: &Path) -> Vec<f64> {
    let start = |_| {
        let begun = Instant::now();
        let mut command = Command::new(binary("tidegate-worker"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--model"]);
        command.arg(model).args(["--threads", &THREADS.to_string()]);
        let worker = Process::start("worker", &mut command, home.join("ready.log"));
        while !worker.output().contains(" ready ") {
            std::thread::sleep(Duration::from_millis(1));
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "{}",
                worker.output()
            );
        }
        begun.elapsed().as_secs_f64()
    };
    (0..ROUNDS).map(start).collect()
}

/// Tokens a second through the proxy as a share of those in process, the two in turns.
pub async fn through_the_proxy(model: &Path, in_process: impl Fn() -> Round) -> Vec<f64> {
    let harness = Harness::start(HarnessConfig::default()).await;
    let threads = THREADS.to_string();
    let _worker = harness
        .worker_with("w", model, &["--threads", &threads])
        .await;
    let texts = include_str!("../../../worker/src/sentences.txt");
    let texts: Vec<&str> = texts.lines().collect();
    let bodies: Vec<_> = texts
        .chunks(TEXTS_A_REQUEST)
        .map(|texts| json!({ "input": texts, "encoding_format": "base64", "truncate": true }))
        .collect();
    let client = harness.client();
    let mut shares = Vec::new();
    for round in 1..=ROUNDS {
        let own = in_process().tokens_per_second;
        let served = closed_loop(&client, &bodies).await;
        println!("  round {round}: {served:.0} tokens/s through the proxy, {own:.0} in process");
        shares.push(served / own);
    }
    shares
}

async fn closed_loop(client: &Client, bodies: &[serde_json::Value]) -> f64 {
    let begun = Instant::now();
    let connections = (0..CONNECTIONS).map(|first| {
        let client = client.clone();
        // Each starts elsewhere in the texts.
        let skip = first * bodies.len() / CONNECTIONS;
        let bodies: Vec<_> = bodies
            .iter()
            .cycle()
            .skip(skip)
            .take(bodies.len())
            .cloned()
            .collect();
        tokio::spawn(async move {
            let mut tokens = 0;
            for body in bodies.iter().cycle() {
                if begun.elapsed() > SPAN {
                    break;
                }
                let answer = client.post(body).await;
                assert_eq!(answer.status, 200, "{}", answer.body);
                tokens += answer.body["usage"]["total_tokens"].as_u64().unwrap_or(0);
            }
            tokens
        })
    });
    let mut tokens = 0;
    for connection in connections.collect::<Vec<_>>() {
        tokens += connection.await.expect("no connection panics");
    }
    tokens as f64 / begun.elapsed().as_secs_f64()
}
