//! What every binary does with a command line: help, version, completions, manual pages, mistakes,
//! and the form of its log.

use std::process::{Command, Output};

use serde_json::Value;
use tidegate_tests::binary;

const PROGRAMS: [&str; 5] = [
    "tidegate-proxy",
    "tidegate-worker",
    "tidegate-scaler",
    "tidegate-backtest",
    "tidegate-batch",
];

fn run(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary(program));
    command.args(arguments).env_remove("RUST_LOG");
    command.output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_binary_explains_itself() {
    for program in PROGRAMS {
        let help = run(program, &["--help"]);
        assert_eq!(help.status.code(), Some(0), "{program}");
        assert!(text(&help.stdout).contains("Usage:"), "{program}");
        let version = run(program, &["--version"]);
        let expected = format!("{program} {}", env!("CARGO_PKG_VERSION"));
        assert!(text(&version.stdout).starts_with(&expected), "{program}");
        for shell in ["bash", "zsh", "fish"] {
            let script = run(program, &["completions", shell]);
            assert_eq!(script.status.code(), Some(0), "{program} {shell}");
            assert!(text(&script.stdout).contains(program), "{program} {shell}");
        }
    }
}

#[test]
fn manual_pages_are_written_for_every_subcommand() {
    let directory = tempfile::tempdir().expect("a directory for the test");
    let path = directory.path().to_string_lossy().into_owned();
    for program in PROGRAMS {
        let written = run(program, &["manual", &path]);
        assert_eq!(
            written.status.code(),
            Some(0),
            "{program}: {}",
            text(&written.stderr)
        );
        assert!(directory.path().join(format!("{program}.1")).exists());
    }
    let page = directory.path().join("tidegate-worker-serve.1");
    let page = std::fs::read_to_string(page).expect("a subcommand has a page");
    assert!(page.contains("memory\\-limit"), "{page}");
    let nowhere = run("tidegate-proxy", &["manual", "/nowhere"]);
    assert_eq!(nowhere.status.code(), Some(78));
    assert!(
        text(&nowhere.stderr).contains("/nowhere"),
        "{}",
        text(&nowhere.stderr)
    );
}

#[test]
fn a_command_line_that_cannot_be_used_is_told_by_its_exit_code() {
    for program in PROGRAMS {
        let mistake = run(program, &["--no-such-option"]);
        assert_eq!(mistake.status.code(), Some(78), "{program}");
        assert!(
            text(&mistake.stderr).contains("--no-such-option"),
            "{program}"
        );
    }
}

#[test]
fn a_log_is_one_json_object_a_line_if_it_is_to_be() {
    let serve = ["serve", "--model", "/no/such/model", "--log-format", "json"];
    let failed = run("tidegate-worker", &serve);
    assert_eq!(failed.status.code(), Some(1));
    let log = text(&failed.stderr);
    assert!(!log.is_empty());
    for line in log.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        for field in ["timestamp", "level", "target", "message"] {
            assert!(event[field].is_string(), "{field} of {line}");
        }
    }
    assert!(log.contains("/no/such/model"), "{log}");
}

#[test]
fn a_daemon_that_fails_says_so_in_the_form_of_its_log() {
    for (program, serve) in [
        ("tidegate-proxy", &["--config", "/no/such.toml"][..]),
        ("tidegate-worker", &["serve", "--config", "/no/such.toml"]),
        ("tidegate-scaler", &["run", "--policy", "/no/such.toml"]),
        ("tidegate-batch", &["serve", "--config", "/no/such.toml"]),
    ] {
        let json = [serve, &["--log-format", "json"]].concat();
        let failed = run(program, &json);
        assert_eq!(failed.status.code(), Some(78), "{program}");
        let log = text(&failed.stderr);
        let last = log.lines().last().expect("a line");
        let last: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{last}"));
        assert_eq!(
            (&last["level"], &last["message"]),
            (&Value::from("ERROR"), &Value::from("failed")),
            "{program}"
        );
        let error = last["error"].as_str().expect("a reason");
        assert!(error.contains("/no/such.toml"), "{program}: {error}");
        let plain = text(&run(program, serve).stderr);
        assert!(plain.contains("/no/such.toml"), "{program}: {plain}");
    }
}
