//! Every kind of mistake in a configuration file, and the exact message that it gets.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tidegate_config::{Check, Duration, Problem, load, parse};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    listen: SocketAddr,
    grace: Option<Duration>,
    fleet: Fleet,
    #[serde(default)]
    signal: Vec<SignalBlock>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fleet {
    kind: Kind,
    min: u32,
    max: NonZeroU32,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    path: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Process,
    Container,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignalBlock {
    name: String,
    target: f64,
}

impl Check for Config {
    fn check(&self) -> Result<(), Problem> {
        let (min, max) = (self.fleet.min, self.fleet.max.get());
        if min > max {
            return Err(Problem::new("min", min, format!("at most max ({max})")).within("fleet"));
        }
        if self.fleet.force && self.fleet.path.is_none() {
            return Err(Problem::new(
                "fleet.path",
                "nothing",
                "a path, as force is set",
            ));
        }
        for (index, signal) in self.signal.iter().enumerate() {
            if signal.target <= 0.0 {
                return Err(Problem::new("target", signal.target, "more than 0")
                    .within_item("signal", index));
            }
        }
        Ok(())
    }
}

const VALID: &str = r#"
listen = "127.0.0.1:8080"
grace = "30s"

[fleet]
kind = "process"
min = 1
max = 4

[[signal]]
name = "queue"
target = 8

[[signal]]
name = "latency"
target = 0.5
"#;

#[test]
fn a_valid_file_is_read() {
    let config: Config = parse(VALID, Path::new("c.toml")).expect("the file is valid");
    assert_eq!(config.listen.port(), 8080);
    assert_eq!(config.grace, Some(Duration::from_secs(30)));
    assert!(matches!(config.fleet.kind, Kind::Process));
    assert_eq!(config.signal.len(), 2);
    assert_eq!(config.signal[0].name, "queue");
}

/// Replaces one line of the valid file and compares the message.
#[track_caller]
fn mistake(line: &str, instead: &str, message: &str) {
    assert!(VALID.contains(line), "{line:?} is not in the valid file");
    let text = VALID.replacen(line, instead, 1);
    let found = parse::<Config>(&text, Path::new("c.toml")).expect_err("the text is refused");
    assert_eq!(found.to_string(), message);
}

#[test]
fn keys() {
    mistake(
        "max = 4",
        "maximum = 4",
        "c.toml:8: fleet.maximum: unknown key; expected one of kind, min, max, force, path; \
         did you mean \"max\"?",
    );
    mistake(
        "max = 4",
        "max = 4\nzzz = 1",
        "c.toml:9: fleet.zzz: unknown key; expected one of kind, min, max, force, path",
    );
    mistake("max = 4", "", "c.toml:5: fleet.max: missing key");
    mistake(
        "target = 0.5",
        "",
        "c.toml:14: signal[latency].target: missing key",
    );
    mistake(
        "[fleet]",
        "[flet]",
        "c.toml:5: flet: unknown key; expected one of listen, grace, fleet, signal; \
         did you mean \"fleet\"?",
    );
    mistake(
        "max = 4",
        "max = 4\nmin = 2",
        "c.toml:9: not valid TOML at \"min\": duplicate key",
    );
}

#[test]
fn types() {
    mistake(
        "[fleet]",
        "[[fleet]]",
        "c.toml:5: fleet: found an array, expected a table",
    );
    mistake(
        "min = 1",
        "min = \"one\"",
        "c.toml:7: fleet.min: found \"one\", expected a whole number, 0 or more",
    );
    mistake(
        "min = 1",
        "min = 1.5",
        "c.toml:7: fleet.min: found 1.5, expected a whole number, 0 or more",
    );
    mistake(
        "min = 1",
        "min = 1\nforce = \"yes\"",
        "c.toml:8: fleet.force: found \"yes\", expected true or false",
    );
    mistake(
        "name = \"queue\"",
        "name = 3",
        "c.toml:11: signal[0].name: found 3, expected text in quotes",
    );
    mistake(
        "target = 8",
        "target = []",
        "c.toml:12: signal[queue].target: found an array, expected a number",
    );
    mistake(
        "target = 8",
        "target = 2026-01-01",
        "c.toml:12: signal[queue].target: found a date, expected a number",
    );
    mistake(
        "kind = \"process\"",
        "kind = 1",
        "c.toml:6: fleet.kind: found 1, expected one of process, container",
    );
    mistake(
        "[fleet]",
        "fleet = 3\n[other]",
        "c.toml:5: fleet: found 3, expected a table\n\
         c.toml:6: other: unknown key; expected one of listen, grace, fleet, signal",
    );
}

#[test]
fn one_bracket_too_few() {
    let second = "\n[[signal]]\nname = \"latency\"\ntarget = 0.5\n";
    let text = VALID.replacen(second, "", 1);
    let text = text.replacen("[[signal]]", "[signal]", 1);
    let found = parse::<Config>(&text, Path::new("c.toml")).expect_err("it is a table");
    assert_eq!(
        found.to_string(),
        "c.toml:10: signal: found a table, expected an array of tables: write [[signal]]"
    );
}

#[test]
fn items_are_called_by_their_names_where_those_tell_them_apart() {
    let again = VALID.replace("name = \"latency\"", "name = \"queue\"");
    let odd = VALID.replace("name = \"latency\"", "name = \"two words\"");
    for text in [again, odd] {
        let text = text.replace("target = 0.5", "target = -1");
        let found = parse::<Config>(&text, Path::new("c.toml")).expect_err("it is refused");
        let expected = "c.toml:16: signal[1].target: found -1, expected more than 0";
        assert_eq!(found.to_string(), expected);
    }
}

#[test]
fn values() {
    mistake(
        "kind = \"process\"",
        "kind = \"proces\"",
        "c.toml:6: fleet.kind: found \"proces\"; expected one of process, container; \
         did you mean \"process\"?",
    );
    mistake(
        "min = 1",
        "min = -1",
        "c.toml:7: fleet.min: found -1, expected a whole number, 0 or more",
    );
    mistake(
        "min = 1",
        "min = 99999999999999999999",
        "c.toml:7: fleet.min: found 99999999999999999999, expected a number below 2^63",
    );
    mistake(
        "max = 4",
        "max = 0",
        "c.toml:8: fleet.max: found 0, expected a whole number, 1 or more",
    );
    mistake(
        "target = 8",
        "target = inf",
        "c.toml:12: signal[queue].target: found inf, expected a finite number",
    );
    mistake(
        "listen = \"127.0.0.1:8080\"",
        "listen = \"localhost\"",
        "c.toml:2: listen: found \"localhost\": invalid socket address syntax",
    );
}

#[test]
fn durations() {
    let expected =
        "expected a duration with its unit, such as \"500ms\", \"30s\", \"5m\" or \"2h\"";
    for (found, shown) in [
        ("30", "30"),
        ("1.5", "1.5"),
        ("\"30\"", "\"30\""),
        ("\"3w\"", "\"3w\""),
    ] {
        mistake(
            "grace = \"30s\"",
            &format!("grace = {found}"),
            &format!("c.toml:3: grace: found {shown}, {expected}"),
        );
    }
}

#[test]
fn checks_find_the_line_of_their_key() {
    mistake(
        "min = 1",
        "min = 9",
        "c.toml:7: fleet.min: found 9, expected at most max (4)",
    );
    mistake(
        "target = 0.5",
        "target = -1",
        "c.toml:16: signal[latency].target: found -1, expected more than 0",
    );
    mistake(
        "max = 4",
        "max = 4\nforce = true",
        "c.toml:5: fleet.path: found nothing, expected a path, as force is set",
    );
}

#[test]
fn syntax() {
    mistake(
        "min = 1",
        "min = ",
        "c.toml:7: not valid TOML: string values must be quoted, expected literal string",
    );
    mistake(
        "[fleet]",
        "[fleet",
        "c.toml:5: not valid TOML: unclosed table, expected `]`",
    );
    mistake(
        "kind = \"process\"",
        "kind = process",
        "c.toml:6: not valid TOML at \"process\": string values must be quoted, \
         expected literal string",
    );
}

#[test]
fn an_unreadable_file_is_named() {
    let missing = load::<Config>(Path::new("/nowhere/c.toml")).expect_err("there is no such file");
    assert_eq!(
        missing.to_string(),
        "/nowhere/c.toml: cannot be read: No such file or directory (os error 2)"
    );
}

#[test]
fn all_mistakes_are_told_at_once_and_nothing_that_follows_from_them() {
    for ((right, wrong), key) in [
        (("kind = \"process\"", "kind = \"proces\""), "fleet.kind"),
        (("min = 1", "min = 9"), "fleet.min"),
    ] {
        let text = VALID
            .replace(right, wrong)
            .replace("grace = \"30s\"", "grace = 30")
            .replace("max = 4", "maximum = 4")
            .replace("target = 8", "targt = 0");
        let found = parse::<Config>(&text, Path::new("c.toml"));
        let found = found.expect_err("four mistakes").to_string();
        let keys: Vec<&str> = found
            .lines()
            .filter_map(|line| line.split(": ").nth(1))
            .collect();
        let expected = ["grace", key, "fleet.maximum", "signal[queue].targt"];
        assert_eq!(keys, expected, "{found}");
    }
}
