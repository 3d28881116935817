//! Mistakes on the command line, in the config and in the model's directory, and what is said.

use crate::tiny_model::{self, TINY};
use crate::worker;

const BAD_CONFIG: Option<i32> = Some(78);
const FAILED: Option<i32> = Some(1);

#[tokio::test]
async fn mistakes_in_the_configuration_exit_78_and_say_where() {
    let tiny = || worker::with_model(TINY);
    for (plan, says) in [
        (
            tiny().config("slot = 3"),
            "worker.toml:1: slot: unknown key",
        ),
        (
            tiny().config("[batch]\nmax_wait = 2"),
            "worker.toml:2: batch.max_wait",
        ),
        (
            tiny().args(["--proxy", "localhost:9090"]),
            "expected http://HOST:PORT",
        ),
        (
            tiny().args(["--token-file", "/nowhere/token"]),
            "/nowhere/token",
        ),
        (
            tiny().args(["--slots", "3"]),
            "unexpected argument '--slots'",
        ),
    ] {
        let (code, output) = plan.fails().await;
        assert_eq!(code, BAD_CONFIG, "{output}");
        assert!(output.contains(says), "expected {says:?} in: {output}");
    }
}

#[tokio::test]
async fn a_model_is_needed() {
    let output = worker::command().arg("serve").output().expect("it runs");
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), BAD_CONFIG, "{log}");
    assert!(log.contains("--model PATH"), "{log}");
}

#[tokio::test]
async fn a_check_says_what_would_be_served_and_serves_nothing() {
    let decoders = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/decoders");
    let texts = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/seq2seq/t5");
    let place = || tempfile::tempdir().expect("a temporary directory");
    for (plan, says) in [
        (
            worker::with_model(TINY).config("slots = 3"),
            ["worker.toml is valid", "an embedding model, needs about"],
        ),
        (
            worker::plan(place(), format!("{decoders}/llama/q4_0.gguf")),
            ["q4_0.gguf is valid", "a model that generates text, needs"],
        ),
        (
            worker::plan(place(), texts),
            ["t5 is valid", "a sequence-to-sequence model, needs about"],
        ),
        (
            worker::plan(place(), "hf://org/name@main"),
            ["the model is not checked", "downloaded"],
        ),
    ] {
        let (code, output) = plan.args(["--check"]).fails().await;
        assert_eq!(code, Some(0), "{output}");
        assert!(says.iter().all(|says| output.contains(says)), "{output}");
        assert!(!output.contains("listening"), "{output}");
    }
}

#[tokio::test]
async fn a_check_fails_as_serving_would() {
    let tiny = || worker::with_model(TINY).args(["--check"]);
    let place = || tempfile::tempdir().expect("a temporary directory");
    for (plan, exit, says) in [
        (tiny().config("slot = 3"), BAD_CONFIG, "slot: unknown key"),
        (
            tiny().args(["--token-file", "/nowhere/token"]),
            BAD_CONFIG,
            "/nowhere/token",
        ),
        (
            tiny().args(["--memory-limit", "1MB"]),
            BAD_CONFIG,
            "the memory limit is",
        ),
        (
            worker::without_model(place()).args(["--check"]),
            BAD_CONFIG,
            "--model PATH",
        ),
        (
            worker::plan(place(), "/none").args(["--check"]),
            FAILED,
            "/none",
        ),
    ] {
        let (code, output) = plan.fails().await;
        assert_eq!(code, exit, "{output}");
        assert!(output.contains(says), "expected {says:?} in: {output}");
    }
}

/// Something to spoil in a model's directory, and what is said of it.
struct Spoiled {
    file: &'static str,
    content: Option<&'static str>,
    says: &'static [&'static str],
}

#[tokio::test]
async fn a_model_that_does_not_load_is_said_with_the_file_and_exits_1() {
    for case in [
        Spoiled {
            file: "config.json",
            content: None,
            says: &["config.json is missing"],
        },
        Spoiled {
            file: "tokenizer.json",
            content: None,
            says: &["tokenizer.json is missing"],
        },
        Spoiled {
            file: "model.safetensors",
            content: None,
            says: &["model.safetensors is missing"],
        },
        Spoiled {
            file: "model.safetensors",
            content: Some("short"),
            says: &["model.safetensors: "],
        },
        Spoiled {
            file: "tokenizer.json",
            content: Some("{}"),
            says: &["tokenizer.json: "],
        },
        Spoiled {
            file: "config.json",
            content: Some(r#"{"model_type": "gpt2"}"#),
            says: &["config.json: model_type \"gpt2\"", "expected one of bert"],
        },
        Spoiled {
            file: "1_Pooling/config.json",
            content: Some(r#"{"pooling_mode_lasttoken": true}"#),
            says: &[
                "1_Pooling/config.json: pooling by lasttoken",
                "mean, cls or max",
            ],
        },
        Spoiled {
            file: "modules.json",
            content: Some(r#"[{"path": "2_LSTM", "type": "sentence_transformers.models.LSTM"}]"#),
            says: &["modules.json: module type", "LSTM"],
        },
    ] {
        let home = tiny_model::directory(TINY);
        let file = home.path().join(case.file);
        match case.content {
            Some(content) => std::fs::write(&file, content).expect("the file is written"),
            None => std::fs::remove_file(&file).expect("the file is removed"),
        }
        let model = home.path().to_owned();
        let (code, output) = worker::plan(home, model).fails().await;
        assert_eq!(code, FAILED, "{output}");
        for says in case.says {
            assert!(output.contains(says), "expected {says:?} in: {output}");
        }
    }
}

#[tokio::test]
async fn other_failures_exit_1_and_say_what_failed() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let home = tiny_model::directory(TINY);
    let output = worker::command()
        .args(["serve", "--listen", &address, "--model"])
        .arg(home.path())
        .output();
    let output = output.expect("it runs");
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), FAILED, "{log}");
    assert!(
        log.contains(&format!("cannot listen on {address}")),
        "{log}"
    );

    let (code, output) = worker::plan(home, "/nowhere/model").fails().await;
    assert_eq!(code, FAILED, "{output}");
    assert!(
        output.contains("/nowhere/model: there is no such model"),
        "{output}"
    );
}

#[tokio::test]
async fn probe_tells_ready_from_not() {
    let worker = worker::with_model(TINY).ready().await;
    let address = worker.url.trim_start_matches("http://");
    let probe = |address: &str| {
        worker::command()
            .args(["probe", "--address", address])
            .output()
            .expect("it runs")
    };
    assert_eq!(probe(address).status.code(), Some(0));
    let silent = probe("127.0.0.1:9");
    assert_eq!(silent.status.code(), FAILED);
    assert!(String::from_utf8_lossy(&silent.stderr).contains("127.0.0.1:9"));
}
