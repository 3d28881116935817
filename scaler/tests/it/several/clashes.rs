//! What is refused: at the start, by `check`, and at a reload.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use rustix::process::Signal;

use super::{Draft, asg};
use crate::daemon::{Daemon, free_port};

/// How a run of these ends, which starts nothing.
#[track_caller]
fn run(policies: &[&Path]) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut arguments = vec!["run", "--dry-run"];
    for policy in policies {
        arguments.extend(["--policy", policy.to_str().expect("a path")]);
    }
    let mut daemon = Daemon::start(&arguments, directory.path());
    (daemon.code(), daemon.said())
}

/// These two are refused, with these words.
#[track_caller]
fn refused(one: &Draft<'_>, two: &Draft<'_>, why: &str) {
    let directories = [(); 2].map(|()| tempfile::tempdir().expect("a temporary directory"));
    let [one, two] = [(one, &directories[0]), (two, &directories[1])]
        .map(|(draft, directory)| draft.write(directory.path()));
    let (code, said) = run(&[&one, &two]);
    let expected = format!(
        "tidegate-scaler: {} and {} cannot be run by one scaler: {why}\n",
        one.display(),
        two.display()
    );
    assert_eq!((code, said), (Some(78), expected));
}

#[test]
fn policies_that_share_what_they_must_not_are_refused() {
    let chat = Draft::new("chat");
    refused(
        &chat,
        &Draft::new("chat"),
        "the file's name is the fleet's, and both are \"chat\"",
    );
    let words = |change: fn(&mut Draft<'_>)| {
        let mut words = Draft::new("words");
        change(&mut words);
        words
    };
    refused(
        &chat,
        &words(|words| words.scaler += "\nlisten = '127.0.0.1:9999'"),
        "scaler.listen is \"127.0.0.1:9091\" and \"127.0.0.1:9999\", and the port is one for all \
         of them",
    );
    refused(
        &chat,
        &words(|words| words.scaler = "ledger = '/nowhere/./chat.jsonl'".to_owned()),
        "scaler.ledger is \"/nowhere/chat.jsonl\" in both",
    );
    refused(
        &chat,
        &words(|words| words.more = "[asg]\ngroup = 'chat'\n".to_owned()),
        "asg.group is \"chat\" in both",
    );
}

#[test]
fn two_ways_to_one_place_are_one_place_whether_it_is_there_or_not() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let real = directory.path().canonicalize().expect("it is there");
    let path = |name: &str| real.join(name);
    fs::create_dir(path("here")).expect("it is made");
    symlink(path("here"), path("link")).expect("it is made");
    symlink("here/ledger.jsonl", path("dangling.jsonl")).expect("it is made");
    let ledger = |name: &str| format!("ledger = '{}'", path(name).display());
    let is_one = |scaler: String, found: &str| {
        let chat = Draft {
            scaler: ledger("here/ledger.jsonl"),
            ..Draft::new("chat")
        };
        let words = Draft {
            scaler,
            ..Draft::new("words")
        };
        let found = path(found);
        let why = format!("scaler.ledger is \"{}\" in both", found.display());
        refused(&chat, &words, &why);
    };
    for _ in ["not yet", "there"] {
        for way in ["here/./ledger.jsonl", "link/ledger.jsonl", "dangling.jsonl"] {
            is_one(ledger(way), "here/ledger.jsonl");
        }
        fs::write(path("here/ledger.jsonl"), "").expect("it is written");
    }
    let lease = |way: &str| {
        let path = path(way);
        let lease = format!("[lease]\nkind = 'file'\npath = '{}'\n", path.display());
        move |name| Draft {
            more: asg(name, "") + &lease,
            ..Draft::new(name)
        }
    };
    let why = format!("lease.path is \"{}\" in both", path("here/lock").display());
    refused(
        &lease("here/lock")("chat"),
        &lease("link/lock")("words"),
        &why,
    );
}

/// `check` of these files.
fn check(policies: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate-scaler"));
    let output = command.arg("check").args(policies).output();
    output.expect("the scaler runs")
}

#[test]
fn check_of_several_says_every_clash_that_a_run_would_find() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let [chat, words] = ["chat", "words"].map(|name| Draft::new(name).write(directory.path()));
    let output = check(&[&chat, &words]);
    let said = String::from_utf8_lossy(&output.stdout);
    let valid = "is valid: 1 to 4 workers by requests";
    let found: Vec<&str> = said.lines().filter(|line| !line.starts_with(' ')).collect();
    let expected = [&chat, &words].map(|file| format!("{} {valid}", file.display()));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(found, expected);

    let other = Draft {
        scaler: Draft::new("words").scaler,
        more: asg("chat", ""),
        ..Draft::new("other")
    };
    let other = other.write(directory.path());
    let output = check(&[&chat, &words, &other]);
    let said = String::from_utf8_lossy(&output.stderr);
    let (chat, words, other) = (chat.display(), words.display(), other.display());
    let expected = format!(
        "tidegate-scaler: {chat} and {other} cannot be run by one scaler: asg.group is \"chat\" \
         in both\n\
         {words} and {other} cannot be run by one scaler: scaler.ledger is \
         \"/nowhere/words.jsonl\" in both\n"
    );
    assert_eq!((output.status.code(), &*said), (Some(78), &*expected));
    assert!(output.stdout.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_into_a_clash_is_refused_and_one_of_both_out_of_it_is_not() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let port = free_port();
    let files = ["chat", "words"].map(|name| {
        let ledger = directory.path().join(format!("{name}.jsonl"));
        let draft = Draft {
            scaler: format!(
                "listen = '127.0.0.1:{port}'\nledger = '{}'",
                ledger.display()
            ),
            ..Draft::new(name)
        };
        draft.write(directory.path())
    });
    let [chat, words] = files.each_ref().map(|file| file.to_str().expect("a path"));
    let arguments = ["run", "--dry-run", "--policy", chat, "--policy", words];
    let daemon = Daemon::start(&arguments, directory.path());
    daemon.wait_for("would do: 0 -> 1 worker");
    let change = |file: &str, from: &str, to: &str| {
        let policy = fs::read_to_string(file).expect("the policy");
        assert!(policy.contains(from), "{policy}");
        fs::write(file, policy.replace(from, to)).expect("it is written");
    };
    change(words, "words.jsonl", "./chat.jsonl");
    change(words, "max = 4", "max = 3");
    daemon.signal(Signal::HUP);
    let ledger = directory.path().canonicalize().expect("it is there");
    let ledger = ledger.join("chat.jsonl");
    daemon.wait_for(&format!(
        "fleet{{name=words}}: the old policy stays in force: {chat} and {words} cannot be run by \
         one scaler: scaler.ledger is \"{}\" in both",
        ledger.display()
    ));
    daemon.wait_for("chat.toml is in force");
    assert!(!daemon.said().contains("words.toml is in force"));

    change(chat, "chat.jsonl", "words.jsonl");
    daemon.signal(Signal::HUP);
    for name in ["chat", "words"] {
        daemon.wait_for(&format!(
            "{name}.toml is in force, except [scaler] until a restart"
        ));
    }
}

#[test]
fn fleets_of_one_machine_or_engine_are_refused_and_so_is_a_shared_lease_or_metric() {
    let with = |name, more: &str| Draft {
        more: more.to_owned(),
        ..Draft::new(name)
    };
    let process = "[process]\nmodel = 'm'\ntoken_file = '/nowhere/worker.token'\n";
    refused(
        &with("chat", process),
        &with("words", process),
        "both start processes here, and each would count on all cores",
    );
    let container = "[container]\nmodel = 'm'\nimage = 'i'\nnetwork = 'n'\ntoken_file = '/t'\n";
    refused(
        &with("chat", container),
        &with("words", container),
        "container.name_prefix is \"tidegate-worker\" in both",
    );
    let refused_with = |table: &str, why: &str| {
        let more = |name| asg(name, "") + table;
        let (chat, words) = (more("chat"), more("words"));
        refused(&with("chat", &chat), &with("words", &words), why);
    };
    refused_with(
        "[lease]\nkind = 'dynamodb'\ntable = 't'\nkey = 'k'\n",
        "lease.key is \"k\" in both",
    );
    refused_with(
        "[lease]\nkind = 'file'\npath = '/nowhere/lock'\n",
        "lease.path is \"/nowhere/lock\" in both",
    );
    refused_with(
        "[cloudwatch]\ndimensions = { Fleet = 'all' }\n",
        "cloudwatch.dimensions.Fleet is \"all\" in both",
    );
}

#[test]
fn a_file_whose_name_is_no_name_for_a_fleet_is_refused_among_several() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let odd = Draft {
        more: asg("odd", ""),
        ..Draft::new("an odd one")
    };
    let odd = odd.write(directory.path());
    let chat = Draft::new("chat").write(directory.path());
    let (code, said) = run(&[&chat, &odd]);
    assert_eq!(code, Some(78), "{said}");
    assert!(
        said.contains("an odd one.toml: with several policies the file's name is the fleet's"),
        "{said}"
    );
}
