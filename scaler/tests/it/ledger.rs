//! The ledger: rotation by size, a torn last line, and what a restart takes from it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidegate_control::{
    Fleet, Law, Observation, ProxyObservation, Roster, Seen, Stage, Tally, Time, Worker,
};
use tidegate_policy::PolicyFile;
use tidegate_protocol::Histogram;
use tidegate_scaler::ledger::{Entry, Ledger, LedgerRules, Outcome, Tick, fold};

const HOUR: Duration = Duration::from_secs(3600);

fn policy() -> tidegate_control::Policy {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/policy.toml");
    let file: PolicyFile = tidegate_config::load(&file).expect("the policy is valid");
    file.policy()
}

fn at(seconds: u64) -> Time {
    Time::from_ms(1_700_000_000_000 + seconds * 1000)
}

fn rules(file: PathBuf, bytes: u64) -> LedgerRules {
    let kept = 2;
    LedgerRules { file, bytes, kept }
}

/// A tick with one serving worker.
fn tick(law: &mut Law, now: Time) -> Entry {
    let fleet = Fleet {
        workers: vec![Worker {
            id: "w-7".to_owned(),
            launched: at(0),
            stage: Stage::Serving { heard: now },
        }],
        ..Fleet::default()
    };
    let observation = Observation::default();
    let decision = law.decide(now, &observation, &fleet);
    Entry::Tick(Box::new(Tick {
        observation,
        fleet,
        decision,
    }))
}

#[test]
fn ticks_are_folded_but_old_ones_and_numbers_are_never_given_twice() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("ledger.jsonl");
    let mut ledger = Ledger::open(rules(file.clone(), 1 << 20)).expect("it opens");
    let mut law = Law::new(policy());
    for second in [0, 5000, 5001] {
        let entry = tick(&mut law, at(second));
        ledger.write(at(second), entry).expect("it is written");
        let outcome = Entry::Outcome(Outcome {
            launched: vec![format!("w-{}", 9 + second % 4)],
            ..Outcome::default()
        });
        ledger.write(at(second), outcome).expect("it is written");
    }
    let folded = fold(&file, at(5002), HOUR).expect("it is read");
    assert_eq!(folded.ticks.len(), 2);
    assert_eq!(folded.last_number(), 10);
    folded.recall(&mut Law::new(policy()), &mut Roster::default());
}

#[test]
fn what_a_tick_measured_is_read_back() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("ledger.jsonl");
    let mut latency = Histogram::default();
    for ms in [3, 40, 900] {
        latency.record(Duration::from_millis(ms));
    }
    let seen = Seen {
        latency: Tally::from(&latency),
        ..Seen::default()
    };
    let Entry::Tick(mut measured) = tick(&mut Law::new(policy()), at(0)) else {
        panic!("a tick is a tick");
    };
    measured.observation.proxies = vec![ProxyObservation {
        source: "p".to_owned(),
        seen: Some(seen),
    }];
    let observation = measured.observation.clone();
    let mut ledger = Ledger::open(rules(file.clone(), 1 << 20)).expect("it opens");
    (ledger.write(at(0), Entry::Tick(measured))).expect("it is written");
    let folded = fold(&file, at(1), HOUR).expect("it is read");
    let read: Vec<&Observation> = folded.ticks.iter().map(|t| &t.tick.observation).collect();
    assert_eq!(read, [&observation]);
}

#[test]
fn a_torn_last_line_is_left_out_and_the_next_line_stands_by_itself() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("ledger.jsonl");
    let mut law = Law::new(policy());
    let mut ledger = Ledger::open(rules(file.clone(), 1 << 20)).expect("it opens");
    for second in 0..3 {
        let entry = tick(&mut law, at(second));
        ledger.write(at(second), entry).expect("it is written");
    }
    let whole = fs::read(&file).expect("it is read");
    fs::write(&file, &whole[..whole.len() - 20]).expect("it is torn");
    drop(ledger);

    let mut ledger = Ledger::open(rules(file.clone(), 1 << 20)).expect("it opens");
    let entry = tick(&mut law, at(3));
    ledger.write(at(3), entry).expect("it is written");
    let folded = fold(&file, at(4), HOUR).expect("it is read");
    assert_eq!(folded.ticks.len(), 3);
}

#[test]
fn a_full_ledger_is_put_aside_and_few_are_kept() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("ledger.jsonl");
    let mut ledger = Ledger::open(rules(file.clone(), 2_000)).expect("it opens");
    let mut law = Law::new(policy());
    for second in 0..40 {
        let entry = tick(&mut law, at(second));
        ledger.write(at(second), entry).expect("it is written");
    }
    let mut names: Vec<_> = fs::read_dir(directory.path())
        .expect("it is listed")
        .map(|entry| entry.expect("an entry").file_name().into_string())
        .collect();
    names.sort();
    let expected = [
        "ledger.jsonl",
        "ledger.jsonl.1",
        "ledger.jsonl.2",
        "ledger.jsonl.lock",
    ];
    assert_eq!(names, expected.map(|name| Ok(name.to_owned())));
    for name in expected {
        let length = fs::metadata(directory.path().join(name)).expect("it is there");
        assert!(length.len() <= 2_000, "{name} has {} bytes", length.len());
    }
    let folded = fold(&file, at(40), HOUR).expect("it is read");
    let times: Vec<_> = folded.ticks.iter().map(|tick| tick.at).collect();
    assert!(times.is_sorted() && times.last() == Some(&at(39)));
    assert!(times.len() > 1, "the one put aside is read as well");
}

#[test]
fn a_ledger_is_one_writer_s_by_whatever_way_it_is_reached_and_however_often_it_is_begun_anew() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (file, link) = (
        directory.path().join("ledger.jsonl"),
        directory.path().join("link.jsonl"),
    );
    std::os::unix::fs::symlink("ledger.jsonl", &link).expect("it is made");
    let mut ledger = Ledger::open(rules(file.clone(), 2_000)).expect("it opens");
    for second in 0..40 {
        let refused = Ledger::open(rules(link.clone(), 2_000)).expect_err("it is another's");
        let why = refused.to_string();
        assert!(why.contains("ledger.jsonl.lock is locked"), "{why}");
        let entry = tick(&mut Law::new(policy()), at(second));
        ledger.write(at(second), entry).expect("it is written");
    }
    drop(ledger);
    Ledger::open(rules(link, 2_000)).expect("it is free again");
}

#[test]
fn lines_of_a_later_version_are_not_read_and_unknown_fields_are_ignored() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("ledger.jsonl");
    let mut ledger = Ledger::open(rules(file.clone(), 1 << 20)).expect("it opens");
    let entry = tick(&mut Law::new(policy()), at(0));
    ledger.write(at(0), entry).expect("it is written");
    let line = fs::read_to_string(&file).expect("it is read");
    let later = line.replace("\"version\":1", "\"version\":2");
    let more = line.replace("\"version\":1", "\"version\":1,\"mood\":\"calm\"");
    fs::write(&file, format!("{line}{later}{more}")).expect("it is written");
    let folded = fold(&file, at(1), HOUR).expect("it is read");
    assert_eq!(folded.ticks.len(), 2);
}

#[test]
fn no_ledger_is_an_empty_one() {
    let folded = fold(Path::new("/nowhere/ledger.jsonl"), at(0), HOUR).expect("it is no fault");
    assert!(folded.ticks.is_empty());
}
