//! The whole loop: the fleet grows with demand and shrinks without it, and no request fails.

use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tidegate_tests::{Answer, Client, Up, children_of, eventually, within};

const POLICY: &str = "
[fleet]
kind = 'process'
min = 1
max = 4
lead_time = '5s'

[slo]
latency = '2s'

[[signal]]
name = 'concurrency'
metric = 'concurrency'
statistic = 'mean'
window = '2s'
target_per_worker = 3

[scale_in]
stabilization = '3s'
";

/// A request every `gap`, whatever becomes of those before, for `span`.
async fn open_loop(client: &Client, gap: Duration, service_ms: u64, span: Duration) -> Vec<Answer> {
    let began = Instant::now();
    let mut requests = Vec::new();
    for due in (0..).map(|at| gap * at).take_while(|due| *due < span) {
        tokio::time::sleep_until((began + due).into()).await;
        let client = client.clone();
        requests.push(tokio::spawn(async move { client.timed(service_ms).await }));
    }
    let answers = join_all(requests).await;
    answers
        .into_iter()
        .map(|answer| answer.expect("no request panics"))
        .collect()
}

fn none_failed(answers: &[Answer]) {
    let failed: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status != 200)
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {}: {:?}",
        failed.len(),
        answers.len(),
        failed.first()
    );
}

#[tokio::test]
async fn the_fleet_follows_the_load_over_several_cycles_and_no_request_fails() {
    let up = Up::start(POLICY).await;
    let client = up.client();
    for _ in 0..3 {
        let load = open_loop(
            &client,
            Duration::from_millis(10),
            90,
            Duration::from_secs(7),
        );
        let grown = eventually("the fleet grows", async || {
            (up.workers().len() >= 3).then_some(())
        });
        let (answers, ()) = tokio::join!(load, grown);
        none_failed(&answers);
        within(
            Duration::from_secs(40),
            "the fleet shrinks to its minimum",
            async || (up.workers().len() == 1).then_some(()),
        )
        .await;
    }
    let output = up.scaler.output();
    let reasons = |word: &str| output.lines().filter(|line| line.contains(word)).count();
    assert!(
        reasons("concurrency asks for") >= 3,
        "each decision says why:\n{output}"
    );
    for line in up.ledger().lines() {
        let tick: Value = serde_json::from_str(line).expect("a tick is one line of JSON");
        assert!(tick["version"].is_u64(), "{line}");
    }
}

#[tokio::test]
async fn a_worker_killed_under_load_is_replaced_and_no_client_sees_it() {
    let policy = POLICY.replace("min = 1", "min = 2");
    let up = Up::start(&policy).await;
    up.fleet_is(2).await;
    let client = up.client();
    let load = open_loop(
        &client,
        Duration::from_millis(20),
        60,
        Duration::from_secs(6),
    );
    let murder = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let victim = up.workers()[0];
        let pid = Pid::from_raw(victim as i32).expect("a pid");
        kill_process(pid, Signal::KILL).expect("the worker can be killed");
        eventually("the worker is replaced", async || {
            let workers = up.workers();
            (workers.len() >= 2 && !workers.contains(&victim)).then_some(())
        })
        .await;
    };
    let (answers, ()) = tokio::join!(load, murder);
    none_failed(&answers);
}

/// Requests a second that 64 connections get through in a few seconds.
async fn throughput(client: &Client) -> f64 {
    let span = Duration::from_secs(3);
    let began = Instant::now();
    let connections = (0..64).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            let mut count = 0;
            while began.elapsed() < span {
                client.timed(40).await.timed();
                count += 1;
            }
            count
        })
    });
    let counts = join_all(connections.collect::<Vec<_>>()).await;
    let total: u32 = counts
        .into_iter()
        .map(|count| count.expect("no request failed"))
        .sum();
    f64::from(total) / began.elapsed().as_secs_f64()
}

#[tokio::test]
async fn throughput_rises_with_the_second_worker() {
    let one = Up::start(&POLICY.replace("max = 4", "max = 1")).await;
    let with_one = throughput(&one.client()).await;
    drop(one);
    let two = Up::start(
        &POLICY
            .replace("min = 1", "min = 2")
            .replace("max = 4", "max = 2"),
    )
    .await;
    two.fleet_is(2).await;
    let admin = format!("http://{}/metrics", two.admin);
    eventually("both take requests", async || {
        let metrics = reqwest::get(&admin).await.ok()?.text().await.ok()?;
        metrics
            .contains("tidegate_slots{model=\"timed\"} 8")
            .then_some(())
    })
    .await;
    let with_two = throughput(&two.client()).await;
    assert!(
        with_two > 1.6 * with_one,
        "{with_one:.0}/s with one, {with_two:.0}/s with two"
    );
}

#[tokio::test]
async fn ctrl_c_answers_what_was_accepted_and_leaves_nothing_behind() {
    let mut up = Up::start(POLICY).await;
    let client = up.client();
    let request = tokio::spawn(async move { client.timed(800).await });
    let metrics = format!("http://{}/metrics", up.admin);
    eventually("the request runs", async || {
        let metrics = reqwest::get(&metrics).await.ok()?.text().await.ok()?;
        let is_it = |line: &str| line.starts_with("tidegate_in_flight{") && line.ends_with("} 1");
        metrics.lines().any(is_it).then_some(())
    })
    .await;
    let workers = up.workers();
    let proxies = children_of(up.scaler.id(), "tidegate-proxy");
    assert_eq!((workers.len(), proxies.len()), (1, 1));
    up.scaler.interrupt();
    let (status, _) = up.scaler.end(Duration::from_secs(15)).await;
    assert!(status.success(), "{status}");
    request.await.expect("no panic").timed();
    for pid in workers.iter().chain(&proxies) {
        assert!(
            !Path::new(&format!("/proc/{pid}")).exists(),
            "process {pid} is left"
        );
    }
    let left: Vec<_> = std::fs::read_dir(up.dir.path())
        .expect("the directory is there")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !["timed", "proxy.toml", "up.toml", "scaler.log"].contains(&name.as_str()))
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[tokio::test]
async fn a_killed_scaler_leaves_no_worker_behind() {
    let mut up = Up::start(POLICY).await;
    let workers = up.workers();
    up.scaler.kill();
    eventually("the workers end", async || {
        let running = |pid: &&u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        workers.iter().find(running).is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_crashes_at_start_is_said_once_and_tried_again_at_longer_intervals() {
    let up = Up::launch(POLICY, Path::new("/bin/false"));
    let said = |what: &str| {
        let output = up.scaler.output();
        output.lines().filter(|line| line.contains(what)).count()
    };
    eventually("the breaker is said", async || {
        (said("launches in a row have failed") == 1).then_some(())
    })
    .await;
    // Long enough for several more tries.
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(said("never ready"), 1, "{}", up.scaler.output());
    assert_eq!(
        said("launches in a row have failed"),
        1,
        "{}",
        up.scaler.output()
    );
    let health = reqwest::get(format!("http://{}/healthz", up.own)).await;
    assert_eq!(
        health.expect("the scaler answers").status(),
        200,
        "it survives"
    );
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let first = Up::start(POLICY).await;
    let taken = format!("listen = '{}'", first.listen);
    let file = std::fs::read_to_string(first.dir.path().join("up.toml")).expect("the policy");
    let second = tempfile::TempDir::new().expect("a directory");
    let own = "listen = '127.0.0.1:0'";
    let (before, after) = file.split_once("[scaler]").expect("a table");
    let (_, up) = after.split_once("[up]").expect("a table");
    let text = format!("{before}[scaler]\n{own}\n[up]{up}");
    assert!(text.contains(&taken));
    let path = second.path().join("up.toml");
    std::fs::write(&path, text).expect("it can be written");
    let mut command = std::process::Command::new(tidegate_tests::binary("tidegate-scaler"));
    command.arg("up").arg("--config").arg(&path);
    let log = second.path().join("log");
    let mut scaler = tidegate_tests::Process::start("second", &mut command, log);
    let (status, _) = scaler.end(Duration::from_secs(20)).await;
    assert_eq!(status.code(), Some(1));
    let port = first.listen.port().to_string();
    assert!(scaler.output().contains(&port), "{}", scaler.output());
}
