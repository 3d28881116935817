//! `tune` and `replay` through the binary: another policy for traces, and for what was recorded.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tidegate_control::record::{Entry, Line, Tick, VERSION};
use tidegate_control::{
    Fleet, Law, Observation, ProxyObservation, Seen, Stage, Time, Worker, WorkerObservation,
};
use tidegate_policy::PolicyFile;

use crate::backtest::{SHORT, backtest, configs, file, refused, rows, scaler, text};

#[test]
fn tuning_writes_a_valid_policy_with_its_comments() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let tuned = directory.path().join("tuned.toml");
    let (policy, scenario) = (configs("policy.toml"), configs("scenario.toml"));
    let name = tuned.display().to_string();
    let output = scaler(&[
        "tune",
        "--policy",
        &policy,
        "--scenario",
        &scenario,
        "--trace",
        SHORT,
        "--lead-time",
        "60s",
        "--out",
        &name,
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(
        said.contains(" policies were tried on the first halves, on "),
        "{said}"
    );
    assert!(said.contains("at 1m, second half: "), "{said}");
    tidegate_config::load::<PolicyFile>(&tuned).expect("what was found is valid");
    let (before, after) = (
        fs::read_to_string(&policy).expect("it is there"),
        fs::read_to_string(&tuned).expect("it is there"),
    );
    let comments = |text: &str| text.matches('#').count();
    assert_eq!(comments(&before), comments(&after));
}

fn policy() -> tidegate_control::Policy {
    let file: PolicyFile =
        tidegate_config::load(Path::new(&configs("policy.toml"))).expect("the policy is valid");
    file.policy()
}

/// Ten minutes of two workers that are asked for four requests a second, and then for twelve.
fn ledger(directory: &Path) -> String {
    let file = directory.join("ledger.jsonl");
    let mut lines = String::new();
    let mut law = Law::new(policy());
    let begin = Time::from_ms(1_700_000_000_000);
    for second in 0..600 {
        let now = begin + Duration::from_secs(second);
        let arrivals = if second < 300 { 4 } else { 12 };
        let fleet = Fleet {
            workers: ["w-1", "w-2"].map(|id| serving(id, begin, now)).to_vec(),
            ..Fleet::default()
        };
        let observation = observed(arrivals);
        let decision = law.decide(now, &observation, &fleet);
        let tick = Tick {
            observation,
            fleet,
            decision,
        };
        let line = Line {
            version: VERSION,
            at: now,
            entry: Entry::Tick(Box::new(tick)),
        };
        lines += &serde_json::to_string(&line).expect("it is JSON");
        lines.push('\n');
    }
    fs::write(&file, lines).expect("it is written");
    file.display().to_string()
}

fn serving(id: &str, launched: Time, heard: Time) -> Worker {
    Worker {
        id: id.to_owned(),
        launched,
        stage: Stage::Serving { heard },
    }
}

/// Each request takes half a second.
fn observed(arrivals: u64) -> Observation {
    let report = |id: &str, permits| -> WorkerObservation {
        let report = serde_json::json!({
            "id": id, "ready": true, "draining": false, "permits": permits, "elsewhere": 0,
            "beat_age_ms": 200,
        });
        serde_json::from_value(report).expect("it is a report")
    };
    let in_flight = arrivals / 2;
    let seen = Seen {
        epoch: "1".to_owned(),
        counted: true,
        arrivals,
        in_flight,
        workers: vec![report("w-1", in_flight / 2), report("w-2", in_flight / 2)],
        ..Seen::default()
    };
    Observation {
        proxies: vec![ProxyObservation {
            source: "http://10.0.0.5:9090".to_owned(),
            seen: Some(seen),
        }],
        ..Observation::default()
    }
}

#[test]
fn a_ledger_is_simulated_again_under_another_policy() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let ledger = ledger(directory.path());
    let output = scaler(&["replay", &ledger, "--policy", &configs("policy.toml")]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    let expected = "The arrivals of 0.17 h are simulated again on 1 to 4 workers of 3 slots; \
        service takes 0.50 s in the mean, a launch 1m. Service times are drawn, not recorded.\n";
    assert!(said.starts_with(expected), "{said}");
    assert!(
        said.contains("recorded:  0.33 worker-hours\nsimulated: "),
        "{said}"
    );

    let output = scaler(&[
        "replay",
        &ledger,
        "--policy",
        &configs("policy.toml"),
        "--json",
    ]);
    assert_eq!(rows(&output)[0]["trace"], "ledger.jsonl");

    // A ledger is also a trace.
    let rows = rows(&backtest(&["--trace", &ledger, "--json"]));
    assert_eq!(rows[0]["policy"], "policy");
}

#[test]
fn decisions_are_compared_on_what_was_recorded_and_that_is_said() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let ledger = ledger(directory.path());
    let same = configs("policy.toml");
    let output = scaler(&["replay", &ledger, "--policy", &same, "--decisions"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(said.contains("not what would have come of it"), "{said}");
    assert!(
        said.ends_with("0 of 600 ticks differ in what is done.\n"),
        "{said}"
    );

    let text_of_policy = fs::read_to_string(&same).expect("it is there");
    let eager = text_of_policy.replacen("target_per_worker = 24", "target_per_worker = 1", 1);
    let (_kept, eager) = file("eager.toml", &eager);
    let output = scaler(&["replay", &ledger, "--policy", &eager, "--decisions"]);
    let said = text(&output.stdout);
    assert!(
        said.contains(" recorded: ") && said.contains("would be: 2 -> "),
        "{said}"
    );
    assert!(!said.contains("\n0 of 600"), "{said}");

    refused(
        &scaler(&["replay", &same, "--policy", &same]),
        1,
        "policy.toml: has no ticks of version 1 or before; expected a ledger",
    );
}

/// A day of four workers behind two proxies, a tick each ten seconds. The proxy that sees two thirds
/// of the demand is missing for an hour, and from its middle on there is six times as much.
fn day_with_a_missing_proxy(file: &Path, policy: &str) {
    let file_of = tidegate_config::load::<PolicyFile>(Path::new(policy));
    let mut law = Law::new(file_of.expect("the policy is valid").policy());
    let begin = Time::from_ms(1_700_000_000_000);
    let mut lines = String::new();
    for tick in 0..8640 {
        let now = begin + Duration::from_secs(tick * 10);
        let names = (1..=4).map(|number| format!("w-{number}"));
        let fleet = Fleet {
            workers: names.map(|id| serving(&id, begin, now)).collect(),
            ..Fleet::default()
        };
        let busy = match MISSING.contains(&tick) && tick >= MISSING.start + 180 {
            true => 360,
            false => 60,
        };
        let share = |part: u64, source: &str| {
            let mut seen = observed(part * 10).proxies.remove(0);
            seen.source = source.to_owned();
            if let Some(seen) = &mut seen.seen {
                seen.in_flight = part;
                let both = seen.workers.iter_mut();
                both.for_each(|worker| worker.permits = part as u32 / 4);
            }
            seen
        };
        let mut missing = share(busy * 2 / 3, "http://10.0.0.6:9090");
        if MISSING.contains(&tick) {
            missing.seen = None;
        }
        let observation = Observation {
            proxies: vec![share(busy / 3, "http://10.0.0.5:9090"), missing],
            ..Observation::default()
        };
        let decision = law.decide(now, &observation, &fleet);
        let is_calm = !MISSING.contains(&tick) || decision.action.drain.is_empty();
        assert!(is_calm, "tick {tick}: {decision}");
        let tick = Tick {
            observation,
            fleet,
            decision,
        };
        let line = Line {
            version: VERSION,
            at: now,
            entry: Entry::Tick(Box::new(tick)),
        };
        lines += &serde_json::to_string(&line).expect("it is JSON");
        lines.push('\n');
    }
    fs::write(file, lines).expect("it is written");
}

/// The ticks of an hour.
const MISSING: std::ops::Range<u64> = 4320..4680;

#[test]
fn a_day_with_a_proxy_missing_for_an_hour_grows_and_never_shrinks_in_it() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let ledger = directory.path().join("ledger.jsonl");
    let policy = configs("policy.toml");
    day_with_a_missing_proxy(&ledger, &policy);
    let name = ledger.display().to_string();
    let larger = fs::read_to_string(&policy).expect("it is there");
    let larger = larger.replacen("max = 4", "max = 40", 1);
    let (_kept, larger) = file("larger.toml", &larger);
    let output = scaler(&["replay", &name, "--policy", &larger, "--decisions"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    let within = |line: &&str| {
        let of_hour = line.starts_with("+12:");
        of_hour && line.contains(" recorded: ")
    };
    let lines: Vec<&str> = said.lines().collect();
    let would = lines.windows(2).filter(|pair| within(&pair[0]));
    let would: Vec<&str> = would.map(|pair| pair[1]).collect();
    assert!(
        would.iter().all(|line| !line.contains("drains")),
        "{would:#?}"
    );
    assert!(
        would.iter().any(|line| line.contains("would be: 4 -> ")),
        "{would:#?}"
    );
}
