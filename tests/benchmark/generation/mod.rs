//! Decoders beside llama.cpp and T5 beside CTranslate2: the same weights, the same threads, in turns, so
//! that what disturbs the machine disturbs all of them. A peer that is not installed is left out, and
//! that is said.

mod ctranslate2;
mod llama;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use tempfile::TempDir;
use tidegate_tests::chat_model;

use self::ctranslate2::CTranslate2;
use self::llama::Llama;
use crate::table::Bound::AtLeast;
use crate::table::Table;
use crate::worker;

const THREADS: usize = 2;
const ROUNDS: usize = 3;

/// Tokens a second: a prompt of 512 tokens read, one text written, eight texts written together.
#[derive(Clone, Copy, Deserialize)]
struct Rates {
    #[serde(rename = "prefill_tokens_per_second", default)]
    prefill: f64,
    #[serde(rename = "decode_tokens_per_second")]
    one: f64,
    #[serde(rename = "batched_decode_tokens_per_second")]
    eight: f64,
}

/// A file that we serve, what llama.cpp serves in its place, and how many times its rates ours must be.
struct Case {
    name: &'static str,
    ours: PathBuf,
    theirs: PathBuf,
    figures: [&'static str; 3],
    must: [f64; 3],
}

/// Prints the table; whether every figure was met.
pub fn measure() -> bool {
    let home = TempDir::new().expect("a directory for the benchmark");
    let mut table = Table::default();
    println!("generation: {THREADS} threads, {ROUNDS} rounds in turns");
    if let Some(llama) = Llama::find() {
        for case in cases(&llama, home.path()) {
            beside_llama(&llama, &case, &mut table);
        }
    }
    if let Some(peer) = CTranslate2::find(home.path()) {
        beside_ctranslate2(&peer, home.path(), &mut table);
    }
    print!("{table}");
    table.all_met()
}

/// The file as its package ships it is measured beside the form of it that llama.cpp is fastest with.
fn cases(llama: &Llama, home: &Path) -> Vec<Case> {
    let shipped = chat_model();
    let repacked = home.join("SmolLM2-135M-Instruct.Q4_0.gguf");
    llama.quantize(&shipped, &repacked, "Q4_0");
    let mut cases = vec![Case {
        name: "SmolLM2-135M, Q4_1 as shipped; llama.cpp: Q4_0",
        ours: shipped,
        theirs: repacked,
        figures: [
            "SmolLM2-135M, prompt of 512: x llama.cpp",
            "SmolLM2-135M, one text: x llama.cpp",
            "SmolLM2-135M, eight texts: x llama.cpp",
        ],
        must: [2.0, 1.1, 2.0],
    }];
    let Some(random) = random_decoder(home) else {
        return cases;
    };
    let made = |kind: &str| {
        let file = home.join(format!("qwen2-0.5b.{kind}.gguf"));
        llama.quantize(&random, &file, kind);
        file
    };
    let (eight, four) = (made("Q8_0"), made("Q4_K_M"));
    // A gigabyte that nobody reads again.
    std::fs::remove_file(&random).expect("it was just written");
    cases.push(Case {
        name: "Qwen2-0.5B's shape, Q8_0",
        ours: eight.clone(),
        theirs: eight,
        figures: [
            "Qwen2-0.5B Q8_0, prompt of 512: x llama.cpp",
            "Qwen2-0.5B Q8_0, one text: x llama.cpp",
            "Qwen2-0.5B Q8_0, eight texts: x llama.cpp",
        ],
        must: [2.5, 1.0, 2.5],
    });
    cases.push(Case {
        name: "Qwen2-0.5B's shape, Q4_K_M",
        ours: four.clone(),
        theirs: four,
        figures: [
            "Qwen2-0.5B Q4_K_M, prompt of 512: x llama.cpp",
            "Qwen2-0.5B Q4_K_M, one text: x llama.cpp",
            "Qwen2-0.5B Q4_K_M, eight texts: x llama.cpp",
        ],
        must: [2.5, 1.3, 3.0],
    });
    cases
}

/// A decoder of Qwen2-0.5B's shape with random weights; none if peers are not installed.
fn random_decoder(home: &Path) -> Option<PathBuf> {
    let python = python()?;
    let file = home.join("qwen2-0.5b.gguf");
    let mut command = Command::new(python);
    command.arg(peers().join("decoder.py"));
    command.arg("--out").arg(&file);
    finish(&mut command);
    Some(file)
}

fn beside_llama(llama: &Llama, case: &Case, table: &mut Table) {
    println!(
        "{}, tokens/s: prompt, one text, eight texts; llama.cpp's",
        case.name
    );
    for round in 1..=ROUNDS {
        let ours = ours(&case.ours, &[]);
        let theirs = llama.rates(&case.theirs);
        let [ours, theirs] = [ours, theirs].map(|rates| [rates.prefill, rates.one, rates.eight]);
        println!("  round {round}: {}; {}", row(&ours), row(&theirs));
        for (i, name) in case.figures.into_iter().enumerate() {
            table.add(name, ours[i] / theirs[i], AtLeast(case.must[i]));
        }
    }
}

fn beside_ctranslate2(peer: &CTranslate2, home: &Path, table: &mut Table) {
    let int8 = home.join("t5.int8.safetensors");
    worker(
        &["quantize"],
        &[("--model", peer.model()), ("--out", &int8)],
    );
    println!("T5-small's shape, int8, tokens/s: one text, eight texts; CTranslate2's");
    for round in 1..=ROUNDS {
        let inputs = peer.model().join("inputs.json");
        let written = ctranslate2::TOKENS.to_string();
        let ours = ours(
            &int8,
            &[("--inputs", &inputs), ("--write", Path::new(&written))],
        );
        let theirs = peer.rates();
        let [ours, theirs] = [ours, theirs].map(|rates| [rates.one, rates.eight]);
        println!("  round {round}: {}; {}", row(&ours), row(&theirs));
        let names = [
            "T5-small int8, one text: x CTranslate2",
            "T5-small int8, eight texts: x CTranslate2",
        ];
        for (i, name) in names.into_iter().enumerate() {
            table.add(name, ours[i] / theirs[i], AtLeast(1.5));
        }
    }
}

/// One round of our own: a process, as the peers are.
fn ours(model: &Path, options: &[(&str, &Path)]) -> Rates {
    let threads = THREADS.to_string();
    let all = [&[("--model", model)], options].concat();
    let printed = worker(
        &["bench", "--json", "--seconds", "6", "--threads", &threads],
        &all,
    );
    serde_json::from_slice(&printed).expect("the figures of a model that writes texts")
}

fn row(rates: &[f64]) -> String {
    let rates: Vec<_> = rates.iter().map(|rate| format!("{rate:.0}")).collect();
    rates.join(", ")
}

/// The Python that has the peers installed; if there is none, that is said.
fn python() -> Option<std::ffi::OsString> {
    let python = std::env::var_os(crate::PYTHON);
    if python.is_none() {
        let name = crate::PYTHON;
        println!("some peers are left out: {name} names no Python; `make bench` sets it");
    }
    python
}

/// The peers' programs.
fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// Runs a peer to its end and returns what it printed.
fn finish(command: &mut Command) -> String {
    let output = command.output().expect("the peer runs");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {log}");
    String::from_utf8(output.stdout).expect("text")
}
