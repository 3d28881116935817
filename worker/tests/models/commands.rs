//! `quantize`, `compare` and `bench` as people run them.

use serde_json::Value;

use crate::support::{default_model, fixture, json_of, quantized, said, text, worker};

#[test]
fn the_default_model_becomes_a_quarter_and_stays_close() {
    let model = default_model();
    let quantized = quantized(model.clone());
    let report = &quantized.report;
    let ratio = report.bytes_before as f64 / report.bytes_after as f64;
    assert!(ratio >= 3.8, "{ratio}");
    assert!(
        report
            .left_out
            .iter()
            .any(|name| name == "pooler.dense.weight")
    );

    let comparison = json_of(&[
        "compare",
        "--json",
        "--record",
        "--reference",
        text(&model),
        "--model",
        text(&quantized.file),
    ]);
    let row = &comparison["models"][0];
    let cosine = &row["closeness"]["cosine"];
    assert!(cosine["mean"].as_f64() >= Some(0.998), "{cosine}");
    assert!(cosine["min"].as_f64() >= Some(0.99), "{cosine}");
    assert!(row["closeness"]["spearman"].as_f64() >= Some(0.99), "{row}");
    assert!(
        row["closeness"]["neighbours"].as_f64() >= Some(0.9),
        "{row}"
    );
    let checkpoint = report.bytes_before as f64;
    assert!(
        checkpoint / row["weights_bytes"].as_f64().unwrap() >= 3.8,
        "{row}"
    );
    assert_eq!(comparison["inputs"], 512);
    assert_eq!(comparison["chosen"], text(&quantized.file));
}

#[test]
fn quantize_says_what_became_of_each_tensor() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out.safetensors");
    let model = fixture("roberta");
    let output = worker(["quantize", "--model", text(&model), "--out", text(&out)]);
    assert!(output.status.success(), "{}", said(&output));
    let said = said(&output);
    for part in [
        "embeddings.word_embeddings.weight",
        "encoder.layer.1.output.dense.weight",
        "rule: matrices and tables in int8",
        "times smaller",
    ] {
        assert!(said.contains(part), "expected {part:?} in: {said}");
    }
    let arguments = ["quantize", "--model", text(&model), "--out", text(&out)];
    let output = worker(arguments.into_iter().chain(["--json"]));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let matrices = report["matrices"].as_array().expect("matrices");
    let table = |row: &&Value| row["tensor"] == "embeddings.word_embeddings.weight";
    let table = matrices.iter().find(table).expect("the table of words");
    let bytes = |name: &str| table[name].as_u64().expect("bytes");
    assert!(bytes("bytes_after") < bytes("bytes_before") / 3, "{table}");
    assert_eq!(table["kept"], false);
    let file = std::fs::metadata(&out).expect("the file").len();
    assert_eq!(report["bytes_after"], file);
}

#[test]
fn quantizing_mistakes_are_told() {
    let quantized = quantized(fixture("bert"));
    let home = tempfile::tempdir().unwrap();
    let nowhere = home.path().join("none/out");
    let out = home.path().join("out");
    let bert = fixture("bert");
    let itself = bert.join("model.safetensors");
    for (model, out, says) in [
        (text(&quantized.file), text(&out), "is quantized already"),
        ("/nowhere", text(&out), "/nowhere: there is no such model"),
        (text(home.path()), text(&out), "config.json is missing"),
        (text(&bert), text(&nowhere), "its directory does not exist"),
        (text(&bert), text(&itself), "write to another file"),
    ] {
        let output = worker(["quantize", "--model", model, "--out", out]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(says), "{}", said(&output));
    }
    let unknown = worker(["quantize", "--model", "x", "--out", "y", "--type", "int3"]);
    assert_eq!(unknown.status.code(), Some(78), "{}", said(&unknown));
}

#[test]
fn compare_chooses_the_smallest_that_is_good_enough_or_exits_2() {
    let reference = fixture("bert");
    let quantized = quantized(reference.clone());
    let (full, small) = (text(&reference), text(&quantized.file));
    let models = [
        "compare",
        "--json",
        "--reference",
        full,
        "--model",
        small,
        full,
    ];
    assert_eq!(json_of(&models)["chosen"], small);
    // Only the reference itself is that close.
    let strict = [&models[..], &["--min-cosine", "0.9999999"]].concat();
    assert_eq!(json_of(&strict)["chosen"], full);

    let impossible = [&models[..], &["--max-p99-ms", "0.000001"]].concat();
    let output = worker(impossible);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("p99"), "{}", said(&output));

    let table = worker(["compare", "--reference", full, "--model", small]);
    let table = said(&table);
    for part in [
        "is the reference",
        "cosine mean",
        "spearman",
        "smallest that meets",
    ] {
        assert!(table.contains(part), "expected {part:?} in: {table}");
    }
}

#[test]
fn a_quantized_reranker_keeps_its_order_in_every_structure() {
    for name in [
        "bert-cross-encoder",
        "electra-cross-encoder",
        "modernbert-cross-encoder",
    ] {
        let reference = fixture(name);
        let quantized = quantized(reference.clone());
        let (full, small) = (text(&reference), text(&quantized.file));
        let args = ["compare", "--json", "--reference", full, "--model", small];
        let args = [&args[..], &["--min-spearman", "0.99"]].concat();
        assert_eq!(json_of(&args)["chosen"], small, "{name}");
    }
}

#[test]
fn other_models_are_compared_by_neighbours_not_by_cosine() {
    let (reference, other) = (fixture("bert"), fixture("roberta"));
    let args = [
        "compare",
        "--json",
        "--reference",
        text(&reference),
        "--model",
        text(&other),
    ];
    let close = &json_of(&args)["models"][0]["closeness"];
    assert!(close["cosine"].is_null(), "{close}");
    assert!(
        close["spearman"].is_f64() && close["neighbours"].is_f64(),
        "{close}"
    );

    let gated = [&args[..], &["--min-cosine", "0.5"]].concat();
    let output = worker(gated);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(
        said(&output).contains("does not apply"),
        "{}",
        said(&output)
    );
}

#[test]
fn classifiers_and_rerankers_are_compared_by_what_they_say() {
    for (name, figure) in [
        ("roberta-classifier", "agreement"),
        ("distilbert-classifier", "agreement"),
        ("bert-cross-encoder", "spearman"),
    ] {
        let reference = fixture(name);
        let quantized = quantized(reference.clone());
        let (full, small) = (text(&reference), text(&quantized.file));
        let args = ["compare", "--json", "--reference", full, "--model", small];
        let close = json_of(&args)["models"][0]["closeness"].clone();
        assert!(close[figure].as_f64() > Some(0.9), "{name}: {close}");
        assert!(
            close["probability_change"].as_f64() < Some(0.1),
            "{name}: {close}"
        );
    }
    let (embedding, classifier) = (fixture("bert"), fixture("roberta-classifier"));
    let output = worker([
        "compare",
        "--reference",
        text(&embedding),
        "--model",
        text(&classifier),
    ]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(
        said(&output).contains("cannot be compared"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_record_goes_only_into_a_file_made_from_the_reference() {
    let (bert, roberta) = (fixture("bert"), fixture("roberta"));
    let foreign = quantized(roberta);
    for (model, says) in [
        (text(&foreign.file), "was not made from the reference"),
        (text(&bert), "is a directory"),
    ] {
        let output = worker([
            "compare",
            "--record",
            "--reference",
            text(&bert),
            "--model",
            model,
        ]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(says), "{}", said(&output));
    }
}

#[test]
fn bench_prints_one_object_that_adds_up() {
    let quantized = quantized(fixture("distilbert"));
    let home = tempfile::tempdir().unwrap();
    let inputs = home.path().join("inputs.txt");
    std::fs::write(&inputs, "one text\nand another one\n\n").unwrap();
    let figures = json_of(&[
        "bench",
        "--json",
        "--seconds",
        "0.1",
        "--threads",
        "2",
        "--lengths",
        "4",
        "--inputs",
        text(&inputs),
        "--model",
        text(&quantized.file),
    ]);
    for key in [
        "items_per_second",
        "tokens_per_second",
        "p50_ms",
        "p99_ms",
        "model_bytes",
        "weights_bytes",
        "resident_bytes",
        "load_ms",
    ] {
        assert!(figures[key].as_f64() > Some(0.0), "{key}: {figures}");
    }
    let expected = [("task", "embedding"), ("precision", "int8")];
    for (key, value) in expected {
        assert_eq!(figures[key], value, "{figures}");
    }
    assert_eq!(figures["threads"], 2);
    assert_eq!(figures["by_length"][0]["tokens"], 4);
}

#[test]
fn inputs_that_are_none_are_told_by_file() {
    let home = tempfile::tempdir().unwrap();
    let model = fixture("bert");
    for (content, says) in [
        ("", "there is no text in it"),
        ("[1, 2]", "expected a JSON array of texts"),
        ("[\"a\", ", "expected a JSON array of texts"),
    ] {
        let inputs = home.path().join("inputs");
        std::fs::write(&inputs, content).unwrap();
        let output = worker(["bench", "--model", text(&model), "--inputs", text(&inputs)]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        let said = said(&output);
        assert!(said.contains(says) && said.contains("inputs"), "{said}");
    }
    let long = worker(["bench", "--model", text(&model), "--lengths", "9999"]);
    assert_eq!(long.status.code(), Some(1), "{}", said(&long));
    assert!(said(&long).contains("9999"), "{}", said(&long));
}
