//! What `serve` accepts and refuses: minimum quality and a limit of memory.

use std::path::Path;
use std::process::Output;

use sha2::Digest;
use tempfile::TempDir;
use tidegate_tests::{Process, eventually};

use crate::support::{Quantized, default_model, fixture, quantized, said, worker};

const BAD_CONFIG: Option<i32> = Some(78);

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// A config file with this text.
fn config(text: &str) -> (TempDir, String) {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("worker.toml");
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (home, file)
}

/// `serve` that has to end by itself.
fn refused(model: &Path, args: &[&str]) -> String {
    let listen = ["serve", "--listen", "127.0.0.1:0", "--model", text(model)];
    let output: Output = worker([&listen[..], args].concat());
    assert_eq!(output.status.code(), BAD_CONFIG, "{}", said(&output));
    said(&output)
}

/// `serve` that has to become ready.
async fn served(model: &Path, args: &[&str]) -> Process {
    let home = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate-worker"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--model", text(model)]);
    let mut process = Process::start("worker", command.args(args), home.path().join("log"));
    eventually("the worker is ready", async || {
        assert!(process.ended().is_none(), "{}", process.output());
        process.output().contains(" ready ").then_some(())
    })
    .await;
    process
}

fn record(quantized: &Quantized, reference: &Path, inputs: Option<&str>) {
    let mut args = vec![
        "compare",
        "--record",
        "--reference",
        text(reference),
        "--model",
        text(&quantized.file),
    ];
    args.extend(inputs.iter().flat_map(|inputs| ["--inputs", inputs]));
    let output = worker(args);
    assert!(output.status.success(), "{}", said(&output));
}

#[tokio::test]
async fn a_floor_wants_a_record_that_is_good_enough() {
    let reference = fixture("bert");
    let quantized = quantized(reference.clone());
    let (_home, floor) = config("[quality]\nmin_cosine = 0.9");
    let (_strict_home, strict) = config("[quality]\nmin_cosine = 0.99999");
    let missing = refused(&quantized.file, &["--config", &floor]);
    assert!(
        missing.contains("no record") && missing.contains("compare"),
        "{missing}"
    );
    drop(served(&quantized.file, &[]).await);

    let (inputs_home, _) = config("");
    let few = inputs_home.path().join("few.txt");
    std::fs::write(&few, "one\ntwo\nthree").unwrap();
    record(&quantized, &reference, few.to_str());
    let thin = refused(&quantized.file, &["--config", &floor]);
    assert!(
        thin.contains("over 3 inputs") && thin.contains("200"),
        "{thin}"
    );

    record(&quantized, &reference, None);
    drop(served(&quantized.file, &["--config", &floor]).await);
    let below = refused(&quantized.file, &["--config", &strict]);
    assert!(below.contains("min_cosine = 0.99999"), "{below}");
    // What was not quantized is its own reference.
    drop(served(&reference, &["--config", &strict]).await);
}

#[test]
fn a_floor_that_cannot_apply_is_a_mistake() {
    let classifier = quantized(fixture("roberta-classifier"));
    let (_home, floor) = config("[quality]\nmin_cosine = 0.9");
    let message = refused(&classifier.file, &["--config", &floor]);
    assert!(
        message.contains("min_cosine") && message.contains("classifier"),
        "{message}"
    );
}

#[tokio::test]
async fn a_record_of_another_file_does_not_count() {
    let reference = fixture("bert");
    let (mine, other) = (
        quantized(reference.clone()),
        quantized(fixture("distilbert")),
    );
    record(&mine, &reference, None);
    let bytes = |file: &Path| std::fs::read(file).unwrap();
    let attributes = |bytes: &[u8]| {
        let (_, header) = safetensors::SafeTensors::read_metadata(bytes).unwrap();
        header.metadata().clone().unwrap()
    };
    let stolen = attributes(&bytes(&mine.file))["quality"].clone();
    let theirs = bytes(&other.file);
    let mut attributes = attributes(&theirs);
    let hash = sha2::Sha256::digest(&stolen);
    let digits = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    attributes.insert("quality".to_owned(), stolen);
    attributes.insert("quality_sha256".to_owned(), digits);
    let tensors = safetensors::SafeTensors::deserialize(&theirs).unwrap();
    let forged = safetensors::serialize(tensors.tensors(), Some(attributes)).unwrap();
    std::fs::write(&other.file, forged).unwrap();
    let (_home, floor) = config("[quality]\nmin_cosine = 0.5");
    let message = refused(&other.file, &["--config", &floor]);
    assert!(message.contains("of another file"), "{message}");
}

#[tokio::test]
async fn what_does_not_fit_into_memory_is_refused_with_what_would() {
    let model = default_model();
    let limit = ["--threads", "2", "--memory-limit", "70MB"];
    let message = refused(&model, &limit);
    for part in [
        "weights 90.9 MB in float32",
        "limit is 70.0 MB",
        "quantized to int8",
    ] {
        assert!(message.contains(part), "expected {part:?} in: {message}");
    }
    let quantized = quantized(model);
    let worker = served(&quantized.file, &limit).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", worker.id())).unwrap();
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kib * 1024 <= 70_000_000, "{peak}");

    let message = refused(&quantized.file, &["--memory-limit", "10MB"]);
    assert!(message.contains("choose a smaller model"), "{message}");
}
