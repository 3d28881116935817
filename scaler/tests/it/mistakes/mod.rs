//! Every file in configs/ is valid, and every mistake in a policy has its message.

mod aws;
mod fleets;
mod law;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use tidegate_policy::PolicyFile;

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs")
}

/// Files in configs/ that other daemons read.
const OF_OTHERS: [&str; 5] = [
    "Cargo.toml",
    "batch.toml",
    "proxy.toml",
    "scenario.toml",
    "worker.toml",
];

#[test]
fn every_policy_in_configs_is_valid() {
    let mut policies = 0;
    for entry in fs::read_dir(configs()).expect("configs/ is there") {
        let file = entry.expect("it can be listed").path();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if file.extension().is_some_and(|e| e == "toml") && !OF_OTHERS.contains(&&*name) {
            let policy = tidegate_config::load::<PolicyFile>(&file);
            policy.unwrap_or_else(|mistake| panic!("{mistake}"));
            policies += 1;
        }
    }
    assert!(policies >= 2);
}

/// The policy is one by signals alone, without the tables that came later.
fn home(file: &str) -> PathBuf {
    match file {
        "policy.toml" => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/policy.toml"),
        _ => configs().join(file),
    }
}

#[test]
fn a_policy_by_signals_alone_is_valid() {
    let policy = tidegate_config::load::<PolicyFile>(&home("policy.toml"));
    policy.unwrap_or_else(|mistake| panic!("{mistake}"));
}

/// Replaces a piece of such a policy and compares the message that it gets.
#[track_caller]
fn mistake(piece: &str, instead: &str, message: &str) {
    mistake_in("policy.toml", piece, instead, message);
}

#[track_caller]
fn mistake_in(file: &str, piece: &str, instead: &str, message: &str) {
    let text = fs::read_to_string(home(file)).expect("the file can be read");
    assert!(text.contains(piece), "{piece:?} is not in {file}");
    let text = text.replacen(piece, instead, 1);
    let line = 1 + text[..text.find(instead).unwrap_or(0)]
        .matches('\n')
        .count();
    let found = tidegate_config::parse::<PolicyFile>(&text, Path::new(file));
    let found = found.expect_err("the text is refused").to_string();
    assert_eq!(found, message.replace("LINE", &line.to_string()));
}

#[test]
fn all_mistakes_of_a_policy_are_told() {
    let text = fs::read_to_string(home("policy.toml")).expect("the file can be read");
    let text = text
        .replace("target_per_worker = 24", "target_per_worker = 0")
        .replace("target_value = \"1s\"", "target_value = 1")
        .replace("tolerance = 0.1", "tolerance = 1.5")
        .replace("listen = \"127.0.0.1:9091\"", "listen = \"localhost\"");
    let found = tidegate_config::parse::<PolicyFile>(&text, Path::new("p.toml"));
    let found = found.expect_err("five mistakes").to_string();
    let keys = found.lines().filter_map(|line| line.split(": ").nth(1));
    let expected = [
        "signal[requests].target_per_worker",
        "signal[oldest].target_value",
        "scale_out.tolerance",
        "scale_in.tolerance",
        "scaler.listen",
    ];
    assert_eq!(keys.collect::<Vec<_>>(), expected, "{found}");
}
