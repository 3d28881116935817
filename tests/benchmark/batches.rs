//! The effect of a batch on other requests, and its own speed: interactive answers with and without a
//! batch, and a batch on an idle fleet against the same model in one process.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_tests::{Client, Dice, Harness, HarnessConfig, Process, binary, default_model};

/// Mean gap between two interactive requests.
const GAP: Duration = Duration::from_millis(4);
const SPAN: Duration = Duration::from_secs(8);
const ROUNDS: usize = 3;

/// How long each request takes its worker, and how many it works on at once, as workers do by default.
const SERVICE_MS: u64 = 40;
const SLOTS: &str = "32";

/// Lines of the batch beside them: more than can be answered meanwhile.
const BESIDE: usize = 100_000;

/// Lines of the batch that is measured by itself: some ten seconds of work.
const ALONE: usize = 2_000;

/// A round that takes longer says nothing.
const RATE_LIMIT: Duration = Duration::from_secs(180);

const MOST_SLOWDOWN: f64 = 1.1;
const LEAST_RATE: f64 = 0.9;

/// Prints what was measured; whether the promises hold.
pub async fn measure() -> bool {
    let beside = measure_interactive().await;
    let alone = measure_rate().await;
    beside && alone
}

/// Workers whose service times do not depend on what else they do: what is measured is the queue.
async fn measure_interactive() -> bool {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("w", &["--slots", SLOTS]).await;
    let body = json!({"service_ms": SERVICE_MS, "input": "noon"});
    let file = write_lines(harness.dir.path(), BESIDE, |_| body.clone());
    println!(
        "batches: interactive milliseconds, one request each {} ms on average, {SLOTS} slots of {SERVICE_MS} ms",
        GAP.as_millis()
    );
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let seed = round as u64;
        without.push(interactive_p99(&harness.client(), &body, seed).await);
        let out = harness.dir.path().join(format!("out-{round}.jsonl"));
        let mut batch = start_run(&harness, &file, &out);
        tokio::time::sleep(Duration::from_secs(2)).await;
        with.push(interactive_p99(&harness.client(), &body, seed).await);
        let answered = answered(&out);
        batch.interrupt();
        batch.end(Duration::from_secs(10)).await;
        let (alone, beside) = (without[round], with[round]);
        let span = SPAN.as_secs() + 2;
        println!(
            "  round {}: p99 {alone:.1} without and {beside:.1} with a batch, whose rate is {:.0} a second",
            round + 1,
            answered as f64 / span as f64,
        );
    }
    let (alone, beside) = (median(&mut without), median(&mut with));
    let slowdown = beside / alone;
    let kept = slowdown <= MOST_SLOWDOWN;
    println!(
        "  median   p99 {alone:.1} without, {beside:.1} with: {slowdown:.2} x; promised at most {MOST_SLOWDOWN}: {}",
        word(kept)
    );
    kept
}

/// An open loop of interactive requests; their p99 in milliseconds.
async fn interactive_p99(client: &Client, body: &Value, seed: u64) -> f64 {
    let mut dice = Dice::new(seed);
    let (began, mut at) = (tokio::time::Instant::now(), Duration::ZERO);
    let mut asked = Vec::new();
    while at < SPAN {
        tokio::time::sleep_until(began + at).await;
        let (client, body) = (client.clone(), body.clone());
        asked.push(tokio::spawn(async move {
            let answer = client
                .post_with(&body, &[("x-priority", "interactive")])
                .await;
            assert_eq!(answer.status, 200);
            answer.took.as_secs_f64() * 1000.0
        }));
        at += GAP.mul_f64(dice.exponential(1.0));
    }
    let mut took = Vec::new();
    for one in asked {
        took.push(one.await.expect("no request panics"));
    }
    crate::quantile(&mut took, 0.99)
}

/// The default model by one worker, against `tidegate-worker bench` of the same texts.
async fn measure_rate() -> bool {
    let harness = Harness::start(HarnessConfig::default()).await;
    let texts = texts();
    let inputs = harness.dir.path().join("texts.txt");
    std::fs::write(&inputs, texts.join("\n")).expect("room");
    let _worker = harness.worker("w").await;
    let file = write_lines(
        harness.dir.path(),
        ALONE,
        |n| json!({"model": "all-MiniLM-L6-v2", "input": texts[n % texts.len()]}),
    );
    println!(
        "batches: texts a second of all-MiniLM-L6-v2, a line each, on an idle fleet of one worker"
    );
    let (mut process, mut rates) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        process.push(in_process_rate(&inputs));
        let out = harness.dir.path().join(format!("out-{round}.jsonl"));
        let began = Instant::now();
        let mut run = start_run(&harness, &file, &out);
        let (status, _) = run.end(RATE_LIMIT).await;
        assert!(status.success(), "{}", run.output());
        rates.push(ALONE as f64 / began.elapsed().as_secs_f64());
        println!(
            "  round {}: {:.0} in one process, {:.0} by a batch",
            round + 1,
            process[round],
            rates[round]
        );
    }
    let (process, rate) = (median(&mut process), median(&mut rates));
    let share = rate / process;
    let kept = share >= LEAST_RATE;
    println!(
        "  median   {rate:.0}, in one process {process:.0}: {share:.2} x; promised at least {LEAST_RATE}: {}",
        word(kept)
    );
    kept
}

fn in_process_rate(inputs: &Path) -> f64 {
    let mut command = Command::new(binary("tidegate-worker"));
    command
        .args(["bench", "--json", "--model"])
        .arg(default_model());
    let output = command
        .arg("--inputs")
        .arg(inputs)
        .output()
        .expect("it runs");
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    said["items_per_second"].as_f64().expect("a rate")
}

/// Some hundred texts of a length as people write them.
fn texts() -> Vec<String> {
    let words = [
        "tide", "harbour", "moon", "gate", "water", "low", "high", "noon", "storm", "ship",
    ];
    let mut dice = Dice::new(1);
    let text = |_| {
        let count = 8 + (dice.uniform() * 24.0) as usize;
        let words: Vec<&str> = (0..count)
            .map(|_| words[(dice.uniform() * words.len() as f64) as usize])
            .collect();
        words.join(" ")
    };
    (0..512).map(text).collect()
}

fn write_lines(directory: &Path, lines: usize, body: impl Fn(usize) -> Value) -> PathBuf {
    let path = directory.join("in.jsonl");
    let line = |n| {
        let line = json!({"custom_id": format!("line-{n}"), "method": "POST", "url": "/v1/embeddings", "body": body(n)});
        format!("{line}\n")
    };
    std::fs::write(&path, (0..lines).map(line).collect::<String>()).expect("room");
    path
}

fn start_run(harness: &Harness, input: &Path, output: &Path) -> Process {
    let mut command = Command::new(binary("tidegate-batch"));
    command
        .arg("run")
        .arg(input)
        .arg(output)
        .stdin(Stdio::null());
    command.args(["--proxy", &format!("http://{}", harness.listen)]);
    Process::start("run", &mut command, harness.dir.path().join("run.log"))
}

/// Lines that a run has answered so far.
fn answered(output: &Path) -> usize {
    let mut journal = output.as_os_str().to_owned();
    journal.push(".journal");
    let text = std::fs::read(journal).unwrap_or_default();
    text.iter().filter(|byte| **byte == b'\n').count()
}

fn median(values: &mut [f64]) -> f64 {
    crate::quantile(values, 0.5)
}

fn word(kept: bool) -> &'static str {
    if kept { "kept" } else { "MISSED" }
}
