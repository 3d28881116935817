//! Decoders, quantized, compared and measured by the commands.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidegate_worker::models::decoder;

use crate::support::{json_of, said, text, worker};

/// A tiny decoder with random weights.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures/decoders")
        .join(name)
}

fn quantize(model: &Path, out: &Path) -> String {
    let output = worker(["quantize", "--model", text(model), "--out", text(out)]);
    assert!(output.status.success(), "{}", said(&output));
    said(&output)
}

fn compare(reference: &Path, model: &Path, more: &[&str]) -> Value {
    let paths = ["--reference", text(reference), "--model", text(model)];
    json_of(&[&["compare", "--json", "--threads", "2"], &paths[..], more].concat())
}

#[test]
fn every_architecture_is_quantized_from_its_directory_and_stays_close() {
    let home = tempfile::tempdir().unwrap();
    for name in ["llama", "llama3", "qwen2", "qwen3", "gemma3", "phi3"] {
        let place = fixture(name);
        if !place.join("model.safetensors").is_file() {
            continue;
        }
        let out = home.path().join(format!("{name}.gguf"));
        let told = quantize(&place, &out);
        assert!(told.contains("rule: matrices in Q8_0"), "{told}");
        assert!(told.contains("token_embd.weight"), "{told}");
        let (before, after) = (decoder::open(&place).unwrap(), decoder::open(&out).unwrap());
        assert_eq!(after.precision(), "Q8_0");
        assert!(after.file_bytes < before.file_bytes * 4, "{name}");
        assert_eq!(before.tokenizer.ends(), after.tokenizer.ends(), "{name}");
        assert_eq!(
            before.template.is_some(),
            after.template.is_some(),
            "{name}"
        );
        let close = compare(&place, &out, &[])["models"][0]["closeness"].clone();
        let number = |key: &str| close[key].as_f64().expect(key);
        assert!(number("kl_divergence") < 0.02, "{name}: {close}");
        assert!(
            (number("perplexity_ratio") - 1.0).abs() < 0.05,
            "{name}: {close}"
        );
        assert!(number("same_top") > 0.7, "{name}: {close}");
    }
}

#[test]
fn a_gguf_file_keeps_what_it_says_and_is_as_close_as_its_directory() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out.gguf");
    for kind in ["f32.gguf", "f16.gguf", "bf16.gguf"] {
        let from = fixture("llama").join(kind);
        quantize(&from, &out);
        let said_of = |path: &Path| {
            let attributes = decoder::open(path).unwrap().attributes().unwrap();
            let ours = [
                "tidegate.",
                "general.file_type",
                "general.quantization_version",
            ];
            let kept = attributes
                .into_iter()
                .filter(|(key, _)| !ours.iter().any(|start| key.starts_with(start)));
            kept.collect::<Vec<_>>()
        };
        assert_eq!(said_of(&from), said_of(&out), "{kind}");
    }
    // Nothing is closer to a model than itself.
    let from = fixture("llama").join("f32.gguf");
    let itself = compare(&from, &from, &[]);
    let close = &itself["models"][0]["closeness"];
    assert_eq!(
        (
            &close["kl_divergence"],
            &close["same_top"],
            &close["perplexity_ratio"],
            &close["greedy_agreement"]
        ),
        (&json!(0.0), &json!(1.0), &json!(1.0), &json!(1.0))
    );
    assert!(close["tokens"].as_u64().unwrap() > 1000);
    assert_eq!(itself["inputs"], 256);
}

#[test]
fn what_is_measured_is_gated_recorded_and_held_to() {
    let home = tempfile::tempdir().unwrap();
    let (place, out) = (fixture("llama"), home.path().join("out.gguf"));
    quantize(&place, &out);
    let compared = compare(&place, &out, &["--record", "--max-kl-divergence", "0.5"]);
    assert_eq!(compared["chosen"], text(&out));
    let record = decoder::open(&out).unwrap().package.unwrap();
    let record = record.quality.expect("a record");
    let close = &compared["models"][0]["closeness"];
    assert_eq!(json!(record.kl_divergence), close["kl_divergence"]);
    assert_eq!(json!(record.same_top), close["same_top"]);
    assert_eq!(record.inputs, 256);

    let paths = ["--reference", text(&place), "--model", text(&out)];
    let gate = [&["compare"], &paths[..], &["--max-kl-divergence", "1e-12"]].concat();
    let output = worker(gate);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("divergence"), "{}", said(&output));

    let foreign = fixture("llama").join("q4_0.gguf");
    for (model, floor, says) in [
        (&out, "max_kl_divergence = 1e-12", "and its record says"),
        (
            &out,
            "min_cosine = 0.1",
            "does not apply to a model that generates text",
        ),
        (&foreign, "min_same_top = 0.5", "has no record"),
    ] {
        let config = home.path().join("worker.toml");
        std::fs::write(&config, format!("[quality]\n{floor}")).unwrap();
        let serve = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--config",
            text(&config),
        ];
        let output = worker([&serve[..], &["--model", text(model)]].concat());
        assert_eq!(output.status.code(), Some(78), "{}", said(&output));
        assert!(said(&output).contains(says), "{}", said(&output));
    }
    let record = [
        &["compare", "--record"],
        &["--reference", text(&place), "--model", text(&foreign)][..],
    ];
    let output = worker(record.concat());
    assert!(said(&output).contains("is no file that `quantize` wrote"));
}

#[test]
fn a_file_that_was_changed_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out.gguf");
    quantize(&fixture("llama"), &out);
    let whole = std::fs::read(&out).unwrap();
    for at in [whole.len() - 100, whole.len() / 2] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        std::fs::write(&out, changed).unwrap();
        let error = decoder::open(&out).err().expect("it is refused");
        assert!(error.to_string().contains("it is damaged"), "{error}");
    }
}

#[test]
fn bench_says_how_fast_prompts_are_read_and_texts_written() {
    let model = fixture("llama").join("q4_0.gguf");
    let bench = ["bench", "--json", "--seconds", "0.1", "--threads", "2"];
    let figures = json_of(&[&bench[..], &["--sequences", "3", "--model", text(&model)]].concat());
    for key in [
        "prefill_tokens_per_second",
        "decode_tokens_per_second",
        "batched_decode_tokens_per_second",
        "p50_ms",
        "p99_ms",
        "model_bytes",
        "weights_bytes",
        "resident_bytes",
        "load_ms",
    ] {
        assert!(figures[key].as_f64() > Some(0.0), "{key}: {figures}");
    }
    assert_eq!(
        (
            &figures["precision"],
            &figures["sequences"],
            &figures["task"]
        ),
        (&json!("Q4_0"), &json!(3), &json!("generation"))
    );
    let plain = worker([&["bench", "--seconds", "0.1", "--model", text(&model)][..]].concat());
    for part in ["prefill ", "decode ", " 8 together ", "resident"] {
        assert!(said(&plain).contains(part), "{part}: {}", said(&plain));
    }
    for (option, value) in [("--lengths", "4"), ("--write", "3"), ("--sequences", "0")] {
        let output = worker(["bench", option, value, "--model", text(&model)]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(option), "{}", said(&output));
    }
}

#[test]
fn four_bits_are_smaller_and_less_close_than_eight_and_a_head_keeps_eight() {
    let home = tempfile::tempdir().unwrap();
    let from = fixture("llama").join("f32.gguf");
    let mut divergences = Vec::new();
    let mut sizes = Vec::new();
    for kind in ["int8", "q4_1", "q4_0"] {
        let out = home.path().join(format!("{kind}.gguf"));
        let args = ["quantize", "--type", kind, "--model", text(&from), "--out"];
        let output = worker([&args[..], &[text(&out)]].concat());
        assert!(output.status.success(), "{}", said(&output));
        let opened = decoder::open(&out).unwrap();
        let head = opened.tensor("token_embd.weight").unwrap();
        assert_eq!(head.kind.name(), "Q8_0", "{kind}");
        let inner = opened.tensor("blk.0.ffn_down.weight").unwrap();
        let name = if kind == "int8" { "q8_0" } else { kind };
        assert_eq!(inner.kind.name().to_lowercase(), name);
        let compared = compare(&from, &out, &[]);
        let close = &compared["models"][0]["closeness"];
        divergences.push(close["kl_divergence"].as_f64().unwrap());
        sizes.push(opened.file_bytes);
    }
    assert!(sizes.is_sorted_by(|a, b| a > b), "{sizes:?}");
    assert!(divergences.is_sorted(), "{divergences:?}");

    // A file of 8 bits is made smaller; its own reference stays what it was first made from.
    let (eight, four) = (
        home.path().join("int8.gguf"),
        home.path().join("again.gguf"),
    );
    let args = [
        "quantize",
        "--type",
        "q4_0",
        "--model",
        text(&eight),
        "--out",
    ];
    let output = worker([&args[..], &[text(&four)]].concat());
    assert!(output.status.success(), "{}", said(&output));
    compare(&from, &four, &["--record"]);
    let record = ["compare", "--record", "--reference", text(&eight)];
    let output = worker([&record[..], &["--model", text(&four)]].concat());
    let told = said(&output);
    assert!(told.contains("was not made from the reference"), "{told}");
}

#[test]
fn what_would_become_no_smaller_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out.gguf");
    let model = fixture("llama").join("q8_0.gguf");
    let output = worker(["quantize", "--model", text(&model), "--out", text(&out)]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let told = said(&output);
    assert!(
        told.contains("in Q8_0 and would become no smaller"),
        "{told}"
    );
    assert!(!out.exists());
    let encoder = crate::support::fixture("bert");
    let args = [
        "quantize",
        "--type",
        "q4_0",
        "--model",
        text(&encoder),
        "--out",
    ];
    let output = worker([&args[..], &[text(&out)]].concat());
    assert!(
        said(&output).contains("are for decoders"),
        "{}",
        said(&output)
    );
}
