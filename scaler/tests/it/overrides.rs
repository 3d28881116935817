//! Orders by hand, and what a ledger tells of them and of a burst.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tidegate_control::{Law, Roster, Size, Time};
use tidegate_policy::PolicyFile;
use tidegate_protocol::Order;
use tidegate_scaler::explain::{self, Form};
use tidegate_scaler::ledger::fold;

use crate::daemon::{Daemon, free_port};
use crate::harness::Harness;
use crate::stage::{FakeProxy, token_file};

const HOUR: Duration = Duration::from_secs(3600);

fn story(harness: &Harness) -> String {
    let mut out = Vec::new();
    let ledger = harness.directory.path().join("ledger.jsonl");
    explain::explain(&ledger, Form::Table, &mut out).expect("it can be explained");
    String::from_utf8(out).expect("text")
}

fn parts(harness: &Harness) -> Vec<Value> {
    let mut out = Vec::new();
    let ledger = harness.directory.path().join("ledger.jsonl");
    explain::explain(&ledger, Form::Json, &mut out).expect("it can be explained");
    serde_json::from_slice(&out).expect("an array")
}

#[tokio::test]
async fn a_hold_is_kept_until_it_ends_and_a_size_out_of_bounds_is_refused() {
    let mut harness = Harness::two_idle_workers(1).await;
    let events = harness.order(Some(Size::Workers(3)), HOUR);
    assert_eq!(events, Ok("held at 3 by hand".to_owned()));
    harness.tick().await;
    assert_eq!(harness.members(), ["w-1", "w-2", "w-3"]);
    let refused = harness.order(Some(Size::Workers(9)), HOUR);
    assert_eq!(refused, Err("found 9 workers, expected 1 to 3".to_owned()));
    assert_eq!(
        harness.order(None, HOUR),
        Ok("the policy decides again".to_owned())
    );
    let events = harness.events();
    assert!(
        events
            .iter()
            .any(|line| line.ends_with("held at 3 by hand")),
        "{events:?}"
    );
}

#[tokio::test]
async fn an_order_by_hand_survives_a_restart() {
    let mut harness = Harness::two_idle_workers(1).await;
    let paused = harness.order(Some(Size::AsItIs), HOUR);
    assert_eq!(paused, Ok("paused by hand".to_owned()));
    harness.ticks(3).await;
    let policy = format!("{}/../configs/policy.toml", env!("CARGO_MANIFEST_DIR"));
    let policy: PolicyFile = tidegate_config::load(policy.as_ref()).expect("a policy");
    let recalled = |harness: &Harness| {
        let ledger = harness.directory.path().join("ledger.jsonl");
        let now = Time::from_ms(1_000_000 + harness.second * 1000);
        let folded = fold(&ledger, now, HOUR).expect("it is read");
        let mut law = Law::new(policy.policy());
        folded.recall(&mut law, &mut Roster::default());
        law.by_hand().map(|order| order.size)
    };
    assert_eq!(recalled(&harness), Some(Size::AsItIs));
    assert!(harness.order(None, HOUR).is_ok());
    assert_eq!(recalled(&harness), None);
}

#[tokio::test]
async fn a_ledger_explains_a_burst_and_what_was_ordered_by_hand() {
    let mut harness = Harness::new(1).await;
    harness.tick().await;
    harness.all_ready(0);
    harness.ticks(5).await;
    harness.load(9, 3);
    harness.ticks(3).await;
    harness.all_ready(1);
    assert!(harness.order(Some(Size::AsItIs), HOUR).is_ok());
    harness.load(0, 0);
    harness.ticks(30).await;
    let story = story(&harness);
    let parts = parts(&harness);
    let events: Vec<_> = parts.iter().map(|part| &part["event"]).collect();
    assert_eq!(events.last().expect("parts"), &"total");
    let grown = |part: &&Value| {
        part["event"] == "change" && part["due_to"] == "requests" && part["asked"]["requests"] == 3
    };
    assert!(parts.iter().any(|part| grown(&part)), "{parts:#?}");
    let ordered = parts.iter().find(|part| part["event"] == "by_hand");
    let ordered = ordered.expect("the order");
    assert!(
        ordered["until"]
            .as_str()
            .is_some_and(|until| until.starts_with("1970-01-01T01:"))
    );
    let hours = parts.last().map(|total| total["instance_hours"].as_f64());
    assert!(hours.flatten() > Some(0.0), "{parts:#?}");
    for expected in [
        "Thursday, 1970-01-01 UTC",
        "1 -> 3 workers: requests asks for 3 (max 12.0 over 2s, 4 per worker)",
        "asked: requests 3",
        "up to 9 in the queue",
        "paused by hand until 1970-01-01 01:",
        "instance-hours",
        "due to ",
        "by hand ",
    ] {
        assert!(story.contains(expected), "{expected:?} is not in\n{story}");
    }
}

#[tokio::test]
async fn a_worker_drains_by_hand_until_it_is_taken_back() {
    let mut harness = Harness::two_idle_workers(1).await;
    harness.load(4, 4);
    harness.proxies[0].permits("w-1", 4);
    assert_eq!(
        harness.order_worker("w-9", Order::Drain),
        Err("found no worker w-9 in this fleet".to_owned())
    );
    let undrained = harness.order_worker("w-1", Order::Undrain);
    assert_eq!(undrained, Err("w-1 does not drain".to_owned()));
    let drained = harness.order_worker("w-1", Order::Drain);
    assert_eq!(drained, Ok("w-1 is drained by hand".to_owned()));
    harness.ticks(2).await;
    harness.proxies[0].ready("w-3", 0);
    harness.ticks(38).await;
    assert_eq!(
        harness.orders(0),
        ["drain w-1"],
        "no drain limit takes it back"
    );
    assert_eq!(harness.members(), ["w-1", "w-2", "w-3"]);
    let undrained = harness.order_worker("w-1", Order::Undrain);
    assert_eq!(undrained, Ok("w-1 is undrained by hand".to_owned()));
    harness.tick().await;
    assert!(harness.orders(0).contains(&"undrain w-1".to_owned()));
    let story = story(&harness);
    assert!(
        story.contains("w-1 is drained by hand by Ada: new kernel"),
        "{story}"
    );
}

#[tokio::test]
async fn a_worker_that_an_operator_drained_leaves_when_it_is_empty() {
    let mut harness = Harness::two_idle_workers(1).await;
    harness.proxies[0].permits("w-1", 1);
    assert!(harness.order_worker("w-1", Order::Drain).is_ok());
    harness.ticks(3).await;
    let is_there = |harness: &Harness| harness.members().contains(&"w-1".to_owned());
    assert!(is_there(&harness), "a proxy holds a permit");
    harness.proxies[0].permits("w-1", 0);
    harness.ticks(2).await;
    assert!(!is_there(&harness));
}

#[test]
fn what_is_no_ledger_is_refused() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let refused =
        explain::explain(file.path(), Form::Table, &mut Vec::new()).expect_err("it is empty");
    assert!(
        refused.to_string().contains("no line of a ledger"),
        "{refused}"
    );
    let mut out = Vec::new();
    let refused = explain::cost(
        "/nowhere/ledger".as_ref(),
        explain::Prices::default(),
        Form::Table,
        &mut out,
    );
    assert!(
        refused
            .expect_err("it is not there")
            .to_string()
            .contains("cannot be read")
    );
}

/// `tidegate-scaler` with these words, for the scaler at this port: its exit code and its words.
fn say(words: &[&str], port: u16, token_file: &str) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate-scaler"))
        .args(words)
        .args([
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--token-file",
            token_file,
        ])
        .output()
        .expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_reaches_a_running_scaler_with_the_operator_token_alone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (proxy, port) = (FakeProxy::start().await, free_port());
    let policy = crate::daemon::policy(&directory, &proxy.url, port, "sleep 60");
    let policy = policy.to_string_lossy().into_owned();
    let daemon = Daemon::start(&["run", "--policy", &policy], directory.path());
    daemon.wait_for("0 -> 1 worker");
    let operator = directory.path().join("operator.token");
    let operator = operator.to_string_lossy();
    let (code, said) = say(&["pause", "--for", "2h"], port, &operator);
    assert_eq!((code, &*said), (Some(0), "paused by hand for 2h\n"));
    daemon.wait_for("paused by hand");
    let (code, said) = say(&["hold", "7"], port, &operator);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("found 7 workers, expected 0 to 1") || said.contains("expected 1 to 1"),
        "{said}"
    );
    for verb in ["drain", "undrain"] {
        let (code, said) = say(&[verb, "w-99"], port, &operator);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("no worker w-99"), "{said}");
    }
    let other = token_file(directory.path(), "other.token");
    std::fs::write(&other, "some-other-0123456789\n").expect("it is written");
    let (code, said) = say(&["resume"], port, &other.to_string_lossy());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("401"), "{said}");
    let (code, said) = say(&["resume"], port, &operator);
    assert_eq!((code, &*said), (Some(0), "the policy decides again\n"));
}
