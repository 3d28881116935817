//! `quantize`, `compare` and `bench` of sequence-to-sequence models.

use std::path::PathBuf;

use serde_json::json;
use tempfile::TempDir;
use tidegate_worker::models::seq2seq;

use crate::seq2seq::{fixture, read};
use crate::support::{json_of, quantized, said, text, worker};

/// A few inputs, as a file.
fn inputs() -> (TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("inputs.json");
    let inputs = read(&fixture("t5").join("expected.json"))["texts"].to_string();
    std::fs::write(&file, inputs).unwrap();
    (home, file)
}

#[test]
fn models_are_compared_by_the_texts_they_make() {
    let model = fixture("mt5");
    let quantized = quantized(model.clone());
    let (_home, inputs) = inputs();
    let compare = [
        "compare",
        "--json",
        "--record",
        "--reference",
        text(&model),
        "--model",
        text(&quantized.file),
        "--inputs",
        text(&inputs),
    ];
    let comparison = json_of(&compare);
    let row = &comparison["models"][0];
    let close = &row["closeness"];
    assert!(
        close["exact_match"].is_f64() && close["chrf"].is_f64(),
        "{row}"
    );
    assert_eq!(comparison["chosen"], text(&quantized.file));
    let record = seq2seq::open(&quantized.file).unwrap().package.unwrap();
    let record = record.quality.unwrap();
    assert_eq!(json!(record.exact_match), close["exact_match"]);
    assert_eq!(
        (json!(record.chrf), record.inputs),
        (close["chrf"].clone(), 4)
    );

    // A model is as close to itself as can be.
    let itself = [
        &compare[..2],
        &compare[3..6],
        &[text(&model)],
        &compare[7..],
    ]
    .concat();
    let row = &json_of(&itself)["models"][0]["closeness"];
    assert_eq!(
        (&row["exact_match"], &row["chrf"]),
        (&json!(1.0), &json!(100.0))
    );

    let gate = [&compare[..], &["--min-cosine", "0.5"]].concat();
    let output = worker(gate);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(
        said(&output).contains("cosine does not apply"),
        "{}",
        said(&output)
    );
    for floor in ["min_chrf = 0.0", "min_cosine = 0.1"] {
        let config = inputs.with_file_name("worker.toml");
        std::fs::write(&config, format!("[quality]\n{floor}")).unwrap();
        let serve = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--config",
            text(&config),
            "--model",
        ];
        let output = worker([&serve[..], &[text(&quantized.file)]].concat());
        assert_eq!(output.status.code(), Some(78), "{}", said(&output));
        let says = match floor {
            "min_chrf = 0.0" => "its record is over 4 inputs",
            _ => "does not apply to a sequence-to-sequence model",
        };
        assert!(said(&output).contains(says), "{}", said(&output));
    }
}

#[test]
fn quantize_and_bench_say_what_they_did() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out.safetensors");
    let model = fixture("flan-t5");
    let output = worker(["quantize", "--model", text(&model), "--out", text(&out)]);
    assert!(output.status.success(), "{}", said(&output));
    for part in [
        "shared.weight",
        "decoder.block.1.layer.1.EncDecAttention.k.weight",
        "rule: matrices and tables in int8",
        "wo, which follows the wide rows, in float16",
    ] {
        assert!(said(&output).contains(part), "{part}: {}", said(&output));
    }
    let (_home, inputs) = inputs();
    let bench = [
        "bench",
        "--json",
        "--seconds",
        "0.1",
        "--threads",
        "2",
        "--write",
        "8",
    ];
    let rest = ["--model", text(&out), "--inputs", text(&inputs)];
    let figures = json_of(&[&bench[..], &rest].concat());
    for key in [
        "decode_tokens_per_second",
        "batched_decode_tokens_per_second",
        "p50_ms",
        "weights_bytes",
    ] {
        assert!(figures[key].as_f64() > Some(0.0), "{key}: {figures}");
    }
    assert_eq!(figures["precision"], "int8");
    for (option, value) in [("--lengths", "4"), ("--write", "0"), ("--write", "4000")] {
        let output = worker(["bench", option, value, "--model", text(&out)]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(option), "{}", said(&output));
    }
    let again = worker(["quantize", "--model", text(&out), "--out", text(&inputs)]);
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
    assert!(
        said(&again).contains("is quantized already"),
        "{}",
        said(&again)
    );
}

/// The inputs that were kept out of training, as a file.
fn held_out() -> (TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("inputs.json");
    let inputs = read(&fixture("words").join("held-out.json"))["inputs"].to_string();
    std::fs::write(&file, inputs).unwrap();
    (home, file)
}

/// `words` turns figures and dates into words, so that a text is right or wrong.
#[test]
fn int8_keeps_the_texts_of_a_trained_model() {
    let model = fixture("words");
    let quantized = quantized(model.clone());
    let report = &quantized.report;
    let ratio = report.bytes_before as f64 / report.bytes_after as f64;
    assert!(ratio > 2.4, "{ratio}");
    let stored = |name: &str| report.rows.iter().find(|row| row.tensor.contains(name));
    let wo = stored("DenseReluDense.wo").unwrap();
    assert_eq!(2 * wo.bytes_after, wo.bytes_before, "{wo:?}");
    let wi = stored("DenseReluDense.wi").unwrap();
    assert!(3 * wi.bytes_after < wi.bytes_before, "{wi:?}");

    let (_home, inputs) = held_out();
    let compare = [
        "compare",
        "--json",
        "--record",
        "--reference",
        text(&model),
        "--model",
        text(&quantized.file),
        "--inputs",
        text(&inputs),
    ];
    let comparison = json_of(&compare);
    let row = &comparison["models"][0]["closeness"];
    assert!(row["exact_match"].as_f64() >= Some(0.99), "{row}");
    assert!(row["chrf"].as_f64() >= Some(99.5), "{row}");
    assert_eq!(comparison["chosen"], text(&quantized.file));
}
