//! `backtest` through the binary: tables, gates, refusals, the report.
//! Its siblings `tune` and `replay` are in `other_policies`.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use tidegate_backtest::sim::Scenario;

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate-backtest");

/// Short enough to be run with rivals.
pub const SHORT: &str = "step:from=20,to=60,at=4m,for=8m";

pub fn configs(file: &str) -> String {
    format!("{}/../../configs/{file}", env!("CARGO_MANIFEST_DIR"))
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn scaler(arguments: &[&str]) -> Output {
    let output = Command::new(BINARY).args(arguments).output();
    output.expect("the scaler runs")
}

/// A backtest of configs/policy.toml in configs/scenario.toml, at 60 s unless told otherwise.
pub fn backtest(arguments: &[&str]) -> Output {
    let (policy, scenario) = (configs("policy.toml"), configs("scenario.toml"));
    let mut all = vec!["backtest", "--policy", &policy, "--scenario", &scenario];
    if !arguments.contains(&"--lead-time") {
        all.extend(["--lead-time", "60s"]);
    }
    all.extend(arguments);
    scaler(&all)
}

pub fn rows(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", text(&output.stderr));
    let rows: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    rows.as_array().expect("it is an array").clone()
}

/// A file in a directory of its own, which goes with the first value.
pub fn file(name: &str, content: &str) -> (TempDir, String) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join(name);
    fs::write(&file, content).expect("it is written");
    let name = file.display().to_string();
    (directory, name)
}

#[test]
fn the_scenario_in_configs_is_complete_and_what_is_built_in() {
    let file = PathBuf::from(configs("scenario.toml"));
    let scenario: Scenario = tidegate_config::load(&file).expect("it is valid");
    let stretch = Some(tidegate_config::Duration::from_secs(4 * 3600));
    let usual = Scenario::default();
    assert_eq!(scenario, Scenario { stretch, ..usual });
}

#[test]
fn the_table_names_every_figure_and_progress_stays_off_a_pipe() {
    let output = backtest(&["--trace", SHORT, "constant:for=5m"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    let table = text(&output.stdout);
    for word in [
        "in time", "p99", "hours", "over min", "rev/h", "killed", "bad min", "cost",
    ] {
        assert!(table.contains(word), "{word}:\n{table}");
    }
    let ours = |line: &&str| line.contains(" policy ") && line.contains(" ms ");
    assert_eq!(table.lines().filter(ours).count(), 2, "{table}");
}

#[test]
fn json_has_a_row_for_each_trace_lead_time_and_seed_and_repeats_itself() {
    let arguments = [
        "--trace",
        SHORT,
        "--lead-time",
        "10s",
        "--lead-time",
        "3m",
        "--seeds",
        "2",
        "--json",
    ];
    let output = backtest(&arguments);
    let rows = rows(&output);
    let places: Vec<(f64, u64)> = (rows.iter())
        .map(|row| {
            let lead_time = row["lead_time_s"].as_f64().expect("a number");
            (lead_time, row["seed"].as_u64().expect("a number"))
        })
        .collect();
    assert_eq!(places, [(10.0, 1), (10.0, 2), (180.0, 1), (180.0, 2)]);
    let row = rows[0].as_object().expect("an object");
    let mut names: Vec<&str> = row.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "attainment",
            "cost",
            "instance_hours",
            "killed_in_flight",
            "lead_time_s",
            "lower_bound_hours",
            "p99_ms",
            "policy",
            "reversals_per_hour",
            "seed",
            "slo_ms",
            "trace",
            "violation_minutes"
        ]
    );
    assert_eq!(
        (&row["policy"], &row["trace"]),
        (&"policy".into(), &SHORT.into())
    );
    assert_eq!(row["slo_ms"], 10_000);
    assert_eq!(backtest(&arguments).stdout, output.stdout);
}

#[test]
fn rivals_come_at_their_defaults_and_tuned() {
    let rows = rows(&backtest(&[
        "--trace", SHORT, "--rivals", "--quick", "--json",
    ]));
    let names: Vec<&str> = rows
        .iter()
        .filter_map(|row| row["policy"].as_str())
        .collect();
    assert_eq!(names.len(), 17, "{names:?}");
    assert_eq!(names[0], "policy");
    for rival in [
        "hpa",
        "keda",
        "kpa",
        "aws-tracking",
        "aws-step",
        "sagemaker",
        "ray-serve",
    ] {
        let tuned = format!("{rival}-tuned");
        assert!(
            names.contains(&rival) && names.contains(&tuned.as_str()),
            "{rival}"
        );
    }
}

#[test]
fn the_summary_is_one_line_for_traces_that_nothing_was_chosen_on() {
    let output = backtest(&["--trace", SHORT, "--rivals", "--quick"]);
    let table = text(&output.stdout);
    let begins = "Traces that nothing was chosen on, lead time 60 s or more: hours ";
    let lines: Vec<&str> = (table.lines())
        .filter(|line| line.starts_with(begins))
        .collect();
    assert_eq!(lines.len(), 1, "{table}");
    for figure in [
        "excess over the minimum ",
        "misses at equal hours ",
        "of 1 cases ",
        " lost",
    ] {
        assert!(lines[0].contains(figure), "{figure}: {}", lines[0]);
    }
    assert!(!table.contains("chosen on, shorter"), "{table}");
}

#[test]
fn counts_are_replayed_in_lines_unless_stairs_are_asked_for() {
    let counts = "timestamp,value\n0,6000\n300,24000\n600,6000\n900,24000\n";
    let (_kept, trace) = file("counts.csv", counts);
    let replayed = |how: &[&str]| {
        let rows = rows(&backtest(&[&["--trace", &trace, "--json"], how].concat()));
        (rows[0]["instance_hours"].as_f64()).expect("there are hours")
    };
    let usual = replayed(&[]);
    assert_eq!(usual, replayed(&["--replay", "linear"]));
    assert_ne!(usual, replayed(&["--replay", "stairs"]));
    refused(
        &backtest(&["--trace", &trace, "--replay", "curves"]),
        78,
        "invalid value 'curves' for '--replay <REPLAY>'",
    );
}

#[test]
fn a_missed_gate_is_named_and_exits_with_2() {
    let output = backtest(&["--trace", SHORT, "--max-instance-hours", "0.5"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    let gate = format!("tidegate-backtest: gate missed: {SHORT} at 60 s, seed 1: ");
    assert!(said.starts_with(&gate), "{said}");
    assert!(
        said.contains(" instance-hours, expected 0.5 or fewer"),
        "{said}"
    );

    let output = backtest(&["--trace", SHORT, "--min-attainment", "1.0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains(": attainment 0."),
        "{:?}",
        output.stderr
    );

    let gates = ["--min-attainment", "0.1", "--max-instance-hours", "100"];
    let output = backtest(&[["--trace", SHORT].as_slice(), &gates].concat());
    assert_eq!(output.status.code(), Some(0));
}

#[track_caller]
pub fn refused(output: &Output, code: i32, message: &str) {
    assert_eq!(output.status.code(), Some(code));
    let said = text(&output.stderr);
    assert!(said.contains(message), "{said}");
    assert!(output.stdout.is_empty());
}

#[test]
fn what_cannot_be_used_is_refused_before_anything_runs() {
    let (_kept, trace) = file("trace.csv", "when,rps\n1,2\n");
    refused(
        &backtest(&["--trace", &trace]),
        1,
        "trace.csv: line 1: the header \"when,rps\" is not known; expected one of \
         \"timestamp,cost\"",
    );
    refused(
        &backtest(&["--trace", "step:at=noon"]),
        78,
        "--trace step:at=noon: step: at is \"noon\"; expected a time such as \"30m\"",
    );
    refused(
        &backtest(&["--trace", "/nowhere.csv"]),
        1,
        "/nowhere.csv: cannot be read: No such",
    );
    refused(
        &backtest(&["--trace", SHORT, "--min-attainment", "99"]),
        78,
        "expected a share from 0 to 1, such as 0.99",
    );
    let (_kept, scenario) = file("scenario.toml", "slots = 4\nmax_worker = 9\n");
    let policy = configs("policy.toml");
    let output = scaler(&[
        "backtest",
        "--policy",
        &policy,
        "--scenario",
        &scenario,
        "--trace",
        SHORT,
    ]);
    refused(
        &output,
        78,
        "scenario.toml:2: max_worker: unknown key; expected one of from, ",
    );
    refused(&output, 78, "did you mean \"max_workers\"?");
}

#[test]
fn prometheus_answers_are_traces() {
    let values: Vec<String> = (0..20).map(|n| format!("[{},\"{n}\"]", n * 30)).collect();
    let series = format!("{{\"metric\":{{}},\"values\":[{}]}}", values.join(","));
    let answer = format!(
        "{{\"status\":\"success\",\"data\":{{\"resultType\":\"matrix\",\"result\":[{series}]}}}}"
    );
    let (_kept, trace) = file("range.json", &answer);
    let rows = rows(&backtest(&["--trace", &trace, "--json"]));
    assert_eq!(rows[0]["trace"], "range.json");
    assert!(rows[0]["instance_hours"].as_f64() > Some(0.1));
}

/// Twenty minutes of a request every ten seconds, from a time of day on.
fn dated(time: &str) -> (TempDir, String) {
    let begin = format!("2026-03-02 {time}:");
    let rows = (0..120).map(|row| format!("{begin}{:02}:{:02},10,10\n", row / 6, row % 6 * 10));
    let rows: String = rows.collect();
    let text = format!("TIMESTAMP,ContextTokens,GeneratedTokens\n{rows}");
    file("dated.csv", &text)
}

#[test]
fn schedules_act_at_the_trace_s_own_hours() {
    let policy = fs::read_to_string(configs("policy.toml")).expect("the policy");
    let office = "[[schedule]]\nname = 'office'\ncron = '0 8 * * *'\nfor = '2h'\nworkers = 4\n";
    let (_kept, policy) = file("office.toml", &format!("{policy}\n{office}"));
    let (_kept_too, scenario) = file("scenario.toml", "busy_workers = 0.5\nmax_workers = 8\n");
    let hours = |time: &str| {
        let (_kept, trace) = dated(time);
        let output = scaler(&[
            "backtest",
            "--policy",
            &policy,
            "--scenario",
            &scenario,
            "--lead-time",
            "30s",
            "--trace",
            &trace,
            "--json",
        ]);
        let row = rows(&output).remove(0);
        assert_eq!(row["policy"], "office");
        row["instance_hours"].as_f64().expect("hours")
    };
    let (within, after) = (hours("09"), hours("13"));
    // Four workers for twenty minutes but for their launch, and about one.
    assert!(within > 1.2, "{within}");
    assert!(after < 0.8, "{after}");
}

#[test]
fn a_report_without_rivals_compares_nothing_and_has_costs() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let page = directory.path().join("out.html");
    let name = page.display().to_string();
    let output = backtest(&["--trace", SHORT, "--report", &name]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let page = fs::read_to_string(&page).expect("there is a report");
    assert!(!page.contains("Hours against violations"));
    assert!(!page.contains("the best of all"));
    assert!(page.contains("<th scope=\"col\">cost</th>"));
    assert!(page.contains("<th scope=\"row\">policy</th>"));
}

#[test]
fn the_report_is_one_page_that_needs_nothing_else() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let page = directory.path().join("out.html");
    let name = page.display().to_string();
    let output = backtest(&["--trace", SHORT, "--rivals", "--quick", "--report", &name]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let page = fs::read_to_string(&page).expect("there is a report");
    for needed in [
        "http", "<script", "<link", "src=", "href=", "url(", "@import", "NaN",
    ] {
        assert!(!page.contains(needed), "{needed}");
    }
    for part in [
        "prefers-color-scheme",
        "role=\"img\"",
        "Demand and supply",
        "Queue",
        "Latency",
    ] {
        assert!(page.contains(part), "{part}");
    }
    for part in [
        "kpa-tuned",
        "Hours against violations",
        "policy at other attainments",
        "Requests killed in flight",
        "busy_workers = 20.0",
        "Seeds: 1.",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
}
