//! llama.cpp's own programs for measuring.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{Rates, THREADS, finish};

/// The folder of llama-bench, llama-batched-bench and llama-quantize.
const PROGRAMS: &str = "TIDEGATE_LLAMA_PROGRAMS";

pub struct Llama {
    programs: PathBuf,
}

impl Llama {
    /// None if it is not installed, and that is said.
    pub fn find() -> Option<Llama> {
        let programs = std::env::var_os(PROGRAMS).map(PathBuf::from);
        if programs.is_none() {
            println!("llama.cpp is left out: {PROGRAMS} names no folder; `make bench` sets it");
        }
        Some(Llama {
            programs: programs?,
        })
    }

    /// Writes `from` as a file of type `kind`.
    pub fn quantize(&self, from: &Path, to: &Path, kind: &str) {
        let mut command = self.program("llama-quantize");
        command.arg("--allow-requantize").args([from, to]);
        finish(command.args([kind, &THREADS.to_string()]));
    }

    /// One round. Each program warms up by itself.
    pub fn rates(&self, file: &Path) -> Rates {
        let threads = THREADS.to_string();
        let mut alone = self.program("llama-bench");
        alone.arg("--model").arg(file).args(["--threads", &threads]);
        alone.args("-p 512 -n 64 -r 2 -o jsonl".split(' '));
        let (mut prefill, mut one) = (f64::NAN, f64::NAN);
        for line in lines(&finish(&mut alone)) {
            match line["n_gen"].as_u64() {
                Some(0) => prefill = number(&line["avg_ts"]),
                _ => one = number(&line["avg_ts"]),
            }
        }
        let mut together = self.program("llama-batched-bench");
        together.arg("--model").arg(file);
        together.args(["--threads", &threads, "--ctx-size", "2048"]);
        together.args("-npp 64 -ntg 64 -npl 8 --output-format jsonl".split(' '));
        let eight = lines(&finish(&mut together))
            .next()
            .map_or(f64::NAN, |line| number(&line["speed_tg"]));
        Rates {
            prefill,
            one,
            eight,
        }
    }

    fn program(&self, name: &str) -> Command {
        Command::new(self.programs.join(name))
    }
}

/// The objects among the lines that a program printed.
fn lines(printed: &str) -> impl Iterator<Item = Value> {
    printed
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(Value::is_object)
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("expected a number, found {value}"))
}
