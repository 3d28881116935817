//! The fixtures, the binary, and a place to write to.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use tidegate_worker::quantize::{self, QuantizeArgs, Report, Type};

/// Tiny models with random weights, and what transformers makes of them.
pub fn fixture(name: &str) -> PathBuf {
    let families = "../tests/fixtures/families";
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(families)
        .join(name)
}

/// The model that `make` fetches.
pub fn default_model() -> PathBuf {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/all-MiniLM-L6-v2");
    let there = model.join("model.safetensors").exists();
    assert!(
        there,
        "{} is missing; `make test` fetches it",
        model.display()
    );
    model
}

/// A fixture's reference outputs.
pub fn expected(name: &str) -> Value {
    let text = std::fs::read(fixture(name).join("expected.json")).expect("the fixture is there");
    serde_json::from_slice(&text).expect("it is JSON")
}

/// A model file in a directory of its own.
pub struct Quantized {
    pub file: PathBuf,
    pub report: Report,
    _home: TempDir,
}

pub fn quantized(model: PathBuf) -> Quantized {
    let home = tempfile::tempdir().expect("a temporary directory");
    let file = home.path().join("model.int8.safetensors");
    let args = QuantizeArgs {
        json: false,
        model,
        out: file.clone(),
        kind: Type::Int8,
    };
    let report = quantize::run(&args).expect("it is quantized");
    Quantized {
        file,
        report,
        _home: home,
    }
}

/// Runs the binary to its end.
pub fn worker<I: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = I>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate-worker"));
    command.env_remove("RUST_LOG").args(args);
    command.output().expect("it runs")
}

/// Both streams, for messages.
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// What a command prints with `--json`.
pub fn json_of(args: &[&str]) -> Value {
    let output = worker(args);
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)))
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
