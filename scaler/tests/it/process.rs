//! The process fleet, with scripts that pose as workers.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tidegate_control::Time;
use tidegate_policy::ProcessRules;
use tidegate_scaler::fleet::process::{ProcessFleet, Setup, Share};
use tidegate_scaler::fleet::{Ended, Fleet, FleetError};

use crate::stage::{eventually, eventually_async, script};

const NOW: Time = Time::from_ms(1_000_000);

/// Ends well when it is told to.
const GOOD: &str = "trap 'exit 0' TERM; echo serving >&2; while [ -e \"$0\" ]; do sleep 0.05; done";

fn rules(directory: &Path) -> ProcessRules {
    ProcessRules {
        model: "models/tiny".to_owned(),
        name: None,
        binary: None,
        config: None,
        token_file: None,
        threads: None,
        oversubscribe: false,
        stop_limit: tidegate_config::Duration::from_secs(20),
        logs: Some(directory.to_owned()),
    }
}

fn setup(directory: &Path, body: &str) -> Setup {
    Setup {
        binary: script(directory, "worker", body),
        rules: rules(directory),
        proxies: vec!["http://127.0.0.1:1".to_owned()],
        token_file: directory.join("worker.token"),
        share: Share::alone(8),
        max: 4,
        prefix: "w".to_owned(),
    }
}

fn fleet(body: &str) -> (TempDir, ProcessFleet) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let fleet = ProcessFleet::new(setup(directory.path(), body), 0);
    (directory, fleet)
}

async fn ended(fleet: &mut ProcessFleet) -> Ended {
    eventually_async("the worker's end", async || {
        let status = fleet.describe(NOW).await.expect("it can be seen");
        status.ended.into_iter().next()
    })
    .await
}

async fn members(fleet: &mut ProcessFleet) -> Vec<(String, bool)> {
    let status = fleet.describe(NOW).await.expect("it can be seen");
    let members = status.members.into_iter();
    members.map(|member| (member.id, member.leaving)).collect()
}

/// Waits until the script has set its trap.
fn wait_for_log(directory: &TempDir, id: &str) {
    let log = directory.path().join(format!("{id}.log"));
    eventually("the worker's first line", || {
        fs::read_to_string(&log)
            .ok()
            .filter(|text| !text.is_empty())
    });
}

#[tokio::test]
async fn a_worker_is_told_its_name_share_proxies_and_token() {
    let (directory, mut fleet) = fleet("echo \"$@\" >&2; exec sleep 60");
    let launched = fleet.grow(NOW, 2).await.expect("they start");
    assert_eq!(launched, ["w-1", "w-2"]);
    wait_for_log(&directory, "w-2");
    let log = fs::read_to_string(directory.path().join("w-2.log")).expect("a log");
    assert_eq!(
        log.trim(),
        format!(
            "serve --id w-2 --listen 127.0.0.1:0 --model models/tiny --name tiny --threads 2 \
             --token-file {}/worker.token --watch-stdin --proxy http://127.0.0.1:1",
            directory.path().display()
        )
    );
    fleet.close().await;
}

#[tokio::test]
async fn exactly_the_named_worker_leaves_and_its_log_with_it() {
    let (directory, mut fleet) = fleet(GOOD);
    fleet.grow(NOW, 2).await.expect("they start");
    wait_for_log(&directory, "w-1");
    wait_for_log(&directory, "w-2");
    fleet.remove("w-1").await.expect("it is there");
    fleet
        .remove("w-1")
        .await
        .expect("once more changes nothing");
    let ended = ended(&mut fleet).await;
    assert_eq!(
        (ended.id.as_str(), ended.asked, ended.killed_after),
        ("w-1", true, None)
    );
    assert_eq!(members(&mut fleet).await, [("w-2".to_owned(), false)]);
    assert!(!directory.path().join("w-1.log").exists());
    let unknown = fleet.remove("w-1").await;
    assert!(matches!(unknown, Err(FleetError::Unknown { .. })));
    fleet.close().await;
    assert!(members(&mut fleet).await.is_empty());
}

#[tokio::test]
async fn a_crash_at_start_is_reported_with_its_last_words() {
    let (directory, mut fleet) = fleet("echo one >&2; echo 'no such model' >&2; exit 3");
    fleet.grow(NOW, 1).await.expect("it starts");
    let ended = ended(&mut fleet).await;
    assert!(!ended.asked);
    assert_eq!(ended.how, "exit code 3");
    assert_eq!(ended.last_lines, ["one", "no such model"]);
    assert_eq!(ended.log, Some(directory.path().join("w-1.log")));
    assert!(directory.path().join("w-1.log").exists());
}

#[tokio::test]
async fn of_workers_that_failed_only_the_last_logs_are_kept() {
    let (directory, mut fleet) = fleet("echo 'no such model' >&2; exit 3");
    for _ in 0..7 {
        fleet.grow(NOW, 1).await.expect("it starts");
        ended(&mut fleet).await;
    }
    let logs = (1..=7).filter(|n| directory.path().join(format!("w-{n}.log")).exists());
    assert_eq!(logs.collect::<Vec<_>>(), [3, 4, 5, 6, 7]);
}

#[tokio::test]
async fn a_worker_that_ignores_sigterm_is_killed_after_its_limit() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let body = "trap '' TERM; echo deaf >&2; while [ -e \"$0\" ]; do sleep 0.05; done";
    let mut setup = setup(directory.path(), body);
    let limit = Duration::from_millis(300);
    setup.rules.stop_limit = limit.into();
    let mut fleet = ProcessFleet::new(setup, 0);
    fleet.grow(NOW, 1).await.expect("it starts");
    wait_for_log(&directory, "w-1");
    fleet.remove("w-1").await.expect("it is there");
    assert_eq!(members(&mut fleet).await, [("w-1".to_owned(), true)]);
    let ended = ended(&mut fleet).await;
    assert_eq!(ended.killed_after, Some(limit));
    assert_eq!(ended.how, "signal: 9 (SIGKILL)");
}

#[tokio::test]
async fn abandoned_workers_get_no_more_time() {
    let (directory, mut fleet) =
        fleet("trap '' TERM; echo deaf >&2; while [ -e \"$0\" ]; do sleep 0.05; done");
    fleet.grow(NOW, 1).await.expect("it starts");
    wait_for_log(&directory, "w-1");
    let begin = std::time::Instant::now();
    fleet.abandon();
    fleet.close().await;
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut setup = setup(directory.path(), GOOD);
    setup.binary = "/nowhere/tidegate-worker".into();
    let error = ProcessFleet::new(setup, 0).grow(NOW, 1).await;
    let message = error.expect_err("it cannot start").to_string();
    assert!(
        message.starts_with("/nowhere/tidegate-worker cannot be started: No such file"),
        "{message}"
    );
}

#[tokio::test]
async fn no_more_workers_than_cores_unless_told_so() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut setup = setup(directory.path(), GOOD);
    setup.share = Share::alone(2);
    let limits = ProcessFleet::new(setup.clone(), 0).limits();
    assert_eq!(limits.bounds.max, 2);
    assert_eq!(limits.why.as_deref(), Some("this machine has 2 cores"));
    setup.rules.oversubscribe = true;
    assert_eq!(ProcessFleet::new(setup, 0).limits().bounds.max, u32::MAX);
}

#[tokio::test]
async fn numbers_go_on_from_where_an_earlier_run_ended() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut fleet = ProcessFleet::new(setup(directory.path(), GOOD), 41);
    assert_eq!(fleet.grow(NOW, 1).await.expect("it starts"), ["w-42"]);
    fleet.close().await;
}
