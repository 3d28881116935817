//! Measurements through the real binaries: `make bench`. Exits with 2 when a promise is missed.

mod batches;
mod departures;
mod encoders;
mod generation;
mod overhead;
mod peers;
mod table;

use std::path::Path;
use std::process::{Command, ExitCode};

use clap::{Parser, ValueEnum};
use tidegate_tests::binary;
use tokio::signal::unix::{SignalKind, signal};

/// Names the Python that has the peers installed.
const PYTHON: &str = "TIDEGATE_PEERS_PYTHON";

/// The command line cannot be used, as the daemons say it.
const USAGE: u8 = 78;

/// Measures the daemons beside nginx, HAProxy, ONNX Runtime, PyTorch, llama.cpp and CTranslate2, where
/// they are installed.
///
/// Takes minutes and wants the machine for itself. Exits with 2 when a promise is missed.
#[derive(Parser)]
#[command(name = "tidegate-bench", version)]
struct Arguments {
    /// What to measure; everything when nothing is named.
    #[arg(value_enum)]
    parts: Vec<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Tokens a second of an encoder, beside ONNX Runtime and PyTorch.
    Encoders,
    /// Tokens a second of decoders and of T5, beside llama.cpp and CTranslate2.
    Generation,
    /// The processor time of a proxied request, beside nginx and HAProxy.
    Overhead,
    /// What the fastest published settings of the peers reach.
    Peers,
    /// Clients that leave: 100,000 aborted requests.
    Departures,
    /// Files of requests, answered beside interactive ones.
    Batches,
}

#[tokio::main]
async fn main() -> ExitCode {
    let command = match Arguments::try_parse() {
        Ok(command) => command,
        Err(usage) => {
            // Help and version come this way as well, and are no mistake.
            let _ = usage.print();
            return match usage.use_stderr() {
                true => USAGE.into(),
                false => ExitCode::SUCCESS,
            };
        }
    };
    // What was begun is dropped at the end, with its processes and files.
    tokio::select! {
        held = measure(&command.parts) => match held {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(2),
        },
        () = stopped() => ExitCode::FAILURE,
    }
}

/// Until Ctrl-C or SIGTERM.
async fn stopped() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Whether every promise was kept.
async fn measure(parts: &[Part]) -> bool {
    let wanted = |part| parts.is_empty() || parts.contains(&part);
    let mut held = true;
    if wanted(Part::Encoders) {
        held &= encoders::measure().await;
    }
    if wanted(Part::Generation) {
        held &= generation::measure();
    }
    if wanted(Part::Overhead) {
        overhead::measure().await;
    }
    if wanted(Part::Peers) {
        held &= peers::measure().await;
    }
    if wanted(Part::Departures) {
        held &= departures::measure().await;
    }
    if wanted(Part::Batches) {
        held &= batches::measure().await;
    }
    held
}

/// The value at quantile `q` of some measured milliseconds.
fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let rank = (q * values.len() as f64).ceil() as usize;
    values[rank.clamp(1, values.len()) - 1]
}

/// Runs the worker to its end and returns what it printed.
fn worker(options: &[&str], paths: &[(&str, &Path)]) -> Vec<u8> {
    let mut command = Command::new(binary("tidegate-worker"));
    command.args(options);
    for (option, path) in paths {
        command.arg(option).arg(path);
    }
    let output = command.output().expect("the worker runs");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{options:?}: {log}");
    output.stdout
}
