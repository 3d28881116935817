//! The bill that `tidegate-scaler cost` makes of a ledger, by numbers that are easy to do by hand.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

/// Two workers for 20 s that answer 500 requests, of which the first tick's 0 s bill nothing; a
/// third one that leaves is not billed.
fn ledger(directory: &Path) -> std::path::PathBuf {
    let worker = |id: &str, stage: &str| json!({"id": id, "launched": 0, "stage": stage});
    let workers = vec![
        worker("w-1", "booting"),
        worker("w-2", "booting"),
        worker("w-3", "leaving"),
    ];
    let reason = json!({"from": 2, "to": 2, "asks": [], "winner": null, "guards": []});
    let decision = json!({"need": 2, "action": {}, "reason": reason});
    let mut text = String::new();
    for (at, served) in [(0, 0), (10_000, 200), (20_000, 300)] {
        let mut seen = serde_json::to_value(tidegate_control::Seen::default()).expect("JSON");
        seen["served"] = json!(served);
        let line = json!({
            "version": 1, "at": at, "kind": "tick",
            "observation": {"proxies": [{"source": "http://a", "seen": seen}]},
            "fleet": {"workers": workers},
            "decision": decision,
        });
        text.push_str(&format!("{line}\n"));
    }
    let file = directory.join("ledger.jsonl");
    std::fs::write(&file, text).expect("it is written");
    file
}

fn cost(ledger: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate-scaler"));
    let command = command.arg("cost").arg(ledger).args(options);
    command.output().expect("it runs")
}

fn near(found: &Value, expected: f64) {
    let found = found.as_f64().expect("a number");
    assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
}

#[test]
fn a_bill_says_what_a_million_requests_cost_here_and_on_sagemaker() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let ledger = ledger(directory.path());
    let prices = ["--price", "0.18", "--beside", "0.09", "--sagemaker", "0.27"];
    let bill = cost(&ledger, &[&prices[..], &["--json"]].concat());
    let bill: Value = serde_json::from_slice(&bill.stdout).expect("an object");
    let all = &bill["in_all"];
    assert_eq!(all["requests"], 500);
    assert_eq!(all["most_workers"], 2);
    near(&all["hours"], 20.0 / 3600.0);
    near(&all["instance_hours"], 40.0 / 3600.0);
    near(&all["cost_workers"], 0.002);
    near(&all["cost_beside"], 0.0005);
    near(&all["cost"], 0.0025);
    near(&all["per_million"], 5.0);
    let there = &bill["sagemaker"];
    near(&there["same_hours"]["cost"], 0.003);
    near(&there["same_hours"]["per_million"], 6.0);
    near(&there["at_most_workers"]["per_million"], 6.0);
    assert_eq!(bill["days"][0]["day"], "1970-01-01");
    let table = cost(&ledger, &prices);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    for expected in [
        "per million",
        "total                  0.01            2          500       0.00         5.00",
        "on SageMaker, at 0.27 an instance-hour",
        "the same instance-hours",
    ] {
        assert!(table.contains(expected), "{expected:?} is not in\n{table}");
    }
}

#[test]
fn without_a_price_for_sagemaker_nothing_is_said_of_it() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let table = cost(&ledger(directory.path()), &[]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(!table.contains("SageMaker"), "{table}");
    // Nor is a price made up that nobody has named.
    assert!(table.contains("500          -            -"), "{table}");
    assert!(
        table.contains("price of an instance-hour is not known"),
        "{table}"
    );
}

#[test]
fn what_is_no_price_is_refused() {
    for wrong in ["-1", "NaN", "inf", "cheap"] {
        let refused = cost(Path::new("ledger"), &[&format!("--beside={wrong}")]);
        assert_eq!(refused.status.code(), Some(78), "{wrong}");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("an amount of 0 or more"), "{said}");
    }
}
