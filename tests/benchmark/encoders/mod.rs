//! int8 encoders beside ONNX Runtime and PyTorch: the same texts, the same threads, in turns, so
//! that what disturbs the machine disturbs all of them.

mod figures;
mod peer;
mod service;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use tidegate_tests::default_model;

use self::peer::Peer;
use crate::table::Bound::{AtLeast, AtMost};
use crate::table::Table;
use crate::worker;

const THREADS: usize = 2;
const ROUNDS: usize = 5;

/// Tokens of the single texts that are timed.
const LENGTHS: [&str; 2] = ["16", "128"];

/// What one engine did in one round.
struct Round {
    tokens_per_second: f64,
    /// Median milliseconds of one text of [`LENGTHS`].
    p50_ms: [f64; 2],
}

/// A model and its int8 file, made for this measurement.
struct Models {
    checkpoint: PathBuf,
    int8: PathBuf,
    home: TempDir,
}

/// Prints the table; whether every figure was met. Peers that are not installed are left out, and
/// that is said.
pub async fn measure() -> bool {
    let models = Models::make();
    let mut int8 = Peer::start(&models.home, "onnxruntime-int8");
    let mut f32 = Peer::start(&models.home, "pytorch-f32");
    let mut table = Table::default();
    println!("encoders: {THREADS} threads, {ROUNDS} rounds in turns, built-in passages");
    for round in 1..=ROUNDS {
        let ours = run(&models.int8);
        let ours_f32 = run(&models.checkpoint);
        let onnx = int8.as_mut().map(Peer::run);
        let torch = f32.as_mut().map(Peer::run);
        let show = |round: Option<&Round>| match round {
            Some(round) => format!("{:.0}", round.tokens_per_second),
            None => "-".to_owned(),
        };
        println!(
            "  round {round}: tokens/s int8 {:.0}, f32 {:.0}, ONNX Runtime int8 {}, PyTorch f32 {}",
            ours.tokens_per_second,
            ours_f32.tokens_per_second,
            show(onnx.as_ref()),
            show(torch.as_ref())
        );
        figures::add_round(&mut table, &ours, &ours_f32, onnx.as_ref(), torch.as_ref());
    }
    drop((int8, f32));
    figures::add_model(&mut table, &models.compare());
    for seconds in service::start_to_ready(&models.int8, models.home.path()) {
        table.add("start to ready, seconds", seconds, AtMost(0.5));
    }
    for share in service::through_the_proxy(&models.int8, || run(&models.int8)).await {
        table.add("through the proxy / in process", share, AtLeast(0.85));
    }
    print!("{table}");
    table.all_met()
}

impl Models {
    fn make() -> Models {
        let home = TempDir::new().expect("a directory for the benchmark");
        let models = Models {
            checkpoint: default_model(),
            int8: home.path().join("int8.safetensors"),
            home,
        };
        worker(
            &["quantize"],
            &[("--model", &models.checkpoint), ("--out", &models.int8)],
        );
        models
    }

    /// The int8 file's line of a comparison with its checkpoint.
    fn compare(&self) -> Value {
        let printed = worker(
            &["compare", "--json"],
            &[("--reference", &self.checkpoint), ("--model", &self.int8)],
        );
        let comparison: Value = serde_json::from_slice(&printed).expect("JSON");
        println!("{comparison:#}");
        comparison
    }
}

/// One round of our own: a process, as the peers are.
fn run(model: &Path) -> Round {
    #[derive(Deserialize)]
    struct AtLength {
        p50_ms: f64,
    }
    #[derive(Deserialize)]
    struct Figures {
        tokens_per_second: f64,
        by_length: Vec<AtLength>,
    }
    let threads = THREADS.to_string();
    let options = ["bench", "--json", "--seconds", "2", "--threads", &threads];
    let lengths = LENGTHS.join(",");
    let printed = worker(
        &[&options[..], &["--lengths", &lengths]].concat(),
        &[("--model", model)],
    );
    let figures: Figures = serde_json::from_slice(&printed).expect("JSON");
    Round {
        tokens_per_second: figures.tokens_per_second,
        p50_ms: [figures.by_length[0].p50_ms, figures.by_length[1].p50_ms],
    }
}
