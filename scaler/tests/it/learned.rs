//! What the law has learned, beside the ledger: it survives a restart, and what cannot be used is told
//! and left out.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use tidegate_control::{
    Fleet, Law, Learned, Observation, ProxyObservation, Seen, Stage, Tally, Time, Worker,
    WorkerObservation,
};
use tidegate_policy::PolicyFile;
use tidegate_protocol::Histogram;
use tidegate_scaler::ledger::{Ledger, LedgerRules, Record, learned};

use crate::daemon::{Daemon, WORKER, free_port, policy};
use crate::stage::{FakeProxy, eventually};

fn law() -> Law {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/policy.toml");
    let file: PolicyFile = tidegate_config::load(&file).expect("the policy is valid");
    Law::new(file.policy())
}

/// Forty requests a second at ten workers of 32 slots, each for a fifth of a second; one worker boots
/// for twenty seconds of each minute.
fn live(law: &mut Law, from_s: u64, seconds: u64) {
    let mut service = Histogram::default();
    (0..40).for_each(|_| service.record(Duration::from_millis(200)));
    for second in from_s..from_s + seconds {
        let now = Time::from_ms(1_700_000_000_000 + second * 1000);
        let report = |number: u32| WorkerObservation {
            id: format!("w-{number:02}"),
            ready: true,
            draining: false,
            slots: 32,
            permits: 1,
            elsewhere: 0,
            beat_age_ms: 100,
        };
        let seen = Seen {
            counted: true,
            arrivals: 40,
            served: 40,
            service_ms: 8000.0,
            service: Tally::from(&service),
            in_flight: 8,
            workers: (0..10).map(report).collect(),
            ..Seen::default()
        };
        let observation = Observation {
            proxies: vec![ProxyObservation {
                source: "a".to_owned(),
                seen: Some(seen),
            }],
            ..Observation::default()
        };
        let worker = |number: u32| Worker {
            id: match number {
                9 => format!("w-{}", 100 + second / 60),
                _ => format!("w-{number:02}"),
            },
            launched: now - Duration::from_secs(second % 60),
            stage: match number == 9 && second % 60 < 20 {
                true => Stage::Booting,
                false => Stage::Serving { heard: now },
            },
        };
        let fleet = Fleet {
            workers: (0..10).map(worker).collect(),
            ..Fleet::default()
        };
        law.decide(now, &observation, &fleet);
    }
}

fn json(learned: &Learned) -> serde_json::Value {
    serde_json::to_value(learned).expect("it serializes")
}

#[test]
fn what_was_learned_is_the_same_after_a_restart() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("ledger.jsonl");
    let mut ledger = Ledger::open(LedgerRules {
        file: file.clone(),
        bytes: 1 << 20,
        kept: 1,
    })
    .expect("it opens");
    assert!(learned(&file).expect("nothing is no fault").is_none());

    let mut before = law();
    live(&mut before, 0, 900);
    ledger.keep(&before.learned()).expect("it is kept");
    let kept = learned(&file).expect("it is read").expect("it is there");
    assert_eq!(json(&kept), json(&before.learned()));

    let mut after = law();
    after.take_up(kept);
    assert_eq!(json(&after.learned()), json(&before.learned()));
    live(&mut after, 2000, 60);
    let traffic = &json(&after.learned())["traffic"];
    assert!(
        traffic["outcomes"]["requests"].as_f64() >= Some(1000.0),
        "{traffic}"
    );
}

#[test]
fn what_is_damaged_or_newer_is_told_and_not_used() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let ledger = directory.path().join("ledger.jsonl");
    let file = directory.path().join("ledger.jsonl.learned");
    for (text, expected) in [
        ("{\"version\":9,\"new\":1}", "found version 9, expected 1"),
        ("{\"version\":1,\"launches_s\":[3", "EOF while parsing"),
        ("{\"version\":1,\"launches_s\":\"3\"}", "invalid type"),
        ("", "EOF while parsing"),
    ] {
        fs::write(&file, text).expect("it is written");
        let error = learned(&ledger).expect_err("it cannot be used").to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("ledger.jsonl.learned"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_keeps_what_it_learned_and_runs_without_it() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let proxy = FakeProxy::start().await;
    let file = policy(&directory, &proxy.url, free_port(), WORKER);
    let arguments = ["run", "--policy", file.to_str().unwrap_or_default()];
    let (ledger, kept) = (
        directory.path().join("ledger.jsonl"),
        directory.path().join("ledger.jsonl.learned"),
    );
    let mut daemon = Daemon::start(&arguments, directory.path());
    eventually("a tick with the booting worker", || {
        let text = fs::read_to_string(&ledger).ok()?;
        text.contains("{\"id\":\"w-1\"").then_some(())
    });
    proxy.ready("w-1", 0);
    daemon.wait_for("w-1 is ready");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.code(), Some(0));
    let text = fs::read_to_string(&kept).expect("it was kept");
    let launches = &serde_json::from_str::<serde_json::Value>(&text).expect("JSON")["launches_s"];
    assert_eq!(launches.as_array().map(Vec::len), Some(1), "{text}");

    let mut daemon = Daemon::start(&arguments, directory.path());
    daemon.wait_for("ticks of its ledger");
    assert!(!daemon.said().contains("learned anew"), "{}", daemon.said());
    daemon.kill();

    fs::write(&kept, "{\"version\":9}").expect("it is written");
    let lines = || fs::read_to_string(&ledger).map_or(0, |text| text.lines().count());
    let before = lines();
    let mut daemon = Daemon::start(&arguments, directory.path());
    daemon.wait_for("is learned anew");
    daemon.wait_for("found version 9, expected 1");
    eventually("ticks without it", || (lines() > before + 1).then_some(()));
    daemon.kill();
    let text = fs::read_to_string(&kept).expect("it is there");
    assert_eq!(text, "{\"version\":9}", "somebody may want to look at it");
}
