//! Directories that transformers or sentence-transformers load: served where the worker can, and
//! refused with what to do where it cannot.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_worker::models::{self, Overlong, Task, Text, Want};

use crate::support::{expected, fixture, said, worker};

/// A copy of a fixture that may be changed.
struct Copy {
    home: TempDir,
}

impl Copy {
    fn of(name: &str) -> Copy {
        let home = tempfile::tempdir().expect("a temporary directory");
        copy(&fixture(name), home.path());
        Copy { home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).expect("it is written");
    }

    fn edit(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let text = std::fs::read(self.path(name)).expect("it is there");
        let mut value = serde_json::from_slice(&text).expect("it is JSON");
        change(&mut value);
        self.write(name, value.to_string());
    }

    /// Why it is not loaded.
    fn refused(&self) -> String {
        match models::load(self.home.path()) {
            Ok(_) => panic!("it is loaded"),
            Err(error) => error.to_string(),
        }
    }

    /// Asserts that it gives the vectors of the fixture.
    fn is_served(&self, what: &str) {
        let model =
            models::load(self.home.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let expected = expected("bert");
        let texts: Vec<String> = serde_json::from_value(expected["texts"].clone()).expect("texts");
        let vectors: Vec<Vec<f32>> =
            serde_json::from_value(expected["embeddings"].clone()).expect("vectors");
        let mut workspace = [model.network.workspace()];
        for (text, vector) in texts.iter().zip(vectors) {
            let text = model.tokenizer.encode(Text::One(text), Overlong::Refuse);
            let text = text.expect("it is read");
            let rows = model
                .network
                .compute(&[&text], Want::Result, &mut workspace);
            let rows = rows.expect("it is computed");
            let off = rows[0].iter().zip(&vector).map(|(a, b)| (a - b).abs());
            assert!(off.fold(0.0, f32::max) < 1e-3, "{what}");
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).expect("it is copied")),
        }
    }
}

#[test]
fn what_changes_nothing_in_serving_is_served() {
    let prompts = "config_sentence_transformers.json";
    /// What is said of a change, and the change.
    type Case = (&'static str, fn(&Copy));
    let cases: [Case; 6] = [
        (
            "prompts that are empty, and left out of the pooling",
            |copy| {
                let prompts = "config_sentence_transformers.json";
                copy.edit("1_Pooling/config.json", |config| {
                    config["include_prompt"] = json!(false)
                });
                copy.edit(prompts, |config| {
                    config["prompts"] = json!({ "query": "", "document": "" })
                });
            },
        ),
        ("a Dropout module", |copy| {
            copy.edit("modules.json", |modules| {
                let dropout = "sentence_transformers.models.Dropout";
                let module = json!({ "idx": 2, "name": "2", "path": "2_Dropout", "type": dropout });
                modules.as_array_mut().expect("a list").push(module);
            });
        }),
        ("architectures that are null", |copy| {
            copy.edit("config.json", |config| {
                config["architectures"] = Value::Null
            });
        }),
        ("the exact GELU by another name", |copy| {
            copy.edit("config.json", |config| {
                config["hidden_act"] = json!("gelu_python")
            });
        }),
        (
            "a number of kinds that is left out, as 2 is the default",
            |copy| {
                copy.edit("config.json", |config| {
                    let keys = config.as_object_mut().expect("keys");
                    keys.remove("type_vocab_size");
                });
            },
        ),
        ("no prompts", |_| {}),
    ];
    for (what, change) in cases {
        let copy = Copy::of("bert");
        change(&copy);
        copy.is_served(what);
    }
    let copy = Copy::of("bert");
    copy.edit(prompts, |config| config["prompts"] = Value::Null);
    copy.is_served("prompts that are null");
}

/// Puts the weights of a copy into two files and an index.
fn split(copy: &Copy) {
    let whole = std::fs::read(copy.path("model.safetensors")).expect("it is there");
    let tensors = safetensors::SafeTensors::deserialize(&whole).expect("tensors");
    let mut all = tensors.tensors();
    let second = all.split_off(all.len() / 2);
    let mut places = serde_json::Map::new();
    for (file, part) in [
        ("model-1.safetensors", all),
        ("model-2.safetensors", second),
    ] {
        for (name, _) in &part {
            places.insert(name.clone(), json!(file));
        }
        copy.write(
            file,
            safetensors::serialize(part, None).expect("it is written"),
        );
    }
    std::fs::remove_file(copy.path("model.safetensors")).expect("it is removed");
    let index = json!({ "metadata": { "total_size": 1 }, "weight_map": places });
    copy.write("model.safetensors.index.json", index.to_string());
}

#[test]
fn weights_may_be_in_several_files() {
    let copy = Copy::of("bert");
    split(&copy);
    copy.is_served("two files");
    let model = copy.home.path().to_str().expect("a path");
    let out = copy.path("small.safetensors");
    let quantized = worker([
        "quantize",
        "--model",
        model,
        "--out",
        out.to_str().expect("a path"),
    ]);
    assert!(quantized.status.success(), "{}", said(&quantized));
    assert!(models::load(&out).is_ok());

    std::fs::remove_file(copy.path("model-2.safetensors")).expect("it is removed");
    assert!(copy.refused().contains("model-2.safetensors is missing"));

    let copy = Copy::of("bert");
    split(&copy);
    std::fs::copy(
        copy.path("model-1.safetensors"),
        copy.path("model-2.safetensors"),
    )
    .expect("it is copied");
    assert!(copy.refused().contains("is in"), "a tensor is there twice");

    for name in [
        "../model-1.safetensors",
        "/etc/passwd",
        "a/b.safetensors",
        "..",
    ] {
        copy.edit("model.safetensors.index.json", |index| {
            index["weight_map"]["embeddings.LayerNorm.bias"] = json!(name);
        });
        let said = copy.refused();
        assert!(said.contains("beside it"), "{name}: {said}");
    }
}

#[test]
fn labels_may_be_numbers() {
    let copy = Copy::of("roberta-classifier");
    copy.edit("config.json", |config| {
        config["id2label"] = json!({ "0": 0, "1": 1, "2": "two" });
    });
    let model = models::load(copy.home.path()).expect("it is loaded");
    let Task::Classification { labels, .. } = model.card.task else {
        panic!("{:?}", model.card.task);
    };
    assert_eq!(labels, ["0", "1", "two"]);
}

#[test]
fn a_model_with_one_kind_of_token_reads_single_texts() {
    let copy = Copy::of("bert");
    copy.edit("config.json", |config| config["type_vocab_size"] = json!(1));
    let table = "embeddings.token_type_embeddings.weight";
    let file = copy.path("model.safetensors");
    let whole = std::fs::read(&file).expect("it is there");
    let tensors = safetensors::SafeTensors::deserialize(&whole).expect("tensors");
    let shortened = tensors.tensors().into_iter().map(|(name, view)| {
        let view = match name == table {
            true => {
                let width = view.shape()[1];
                let row = &view.data()[..4 * width];
                safetensors::tensor::TensorView::new(view.dtype(), vec![1, width], row)
                    .expect("a row")
            }
            false => view,
        };
        (name, view)
    });
    let written = safetensors::serialize(shortened, None).expect("it is written");
    copy.write("model.safetensors", written);
    let model = models::load(copy.home.path()).expect("it is loaded");
    let one = model.tokenizer.encode(Text::One("a"), Overlong::Refuse);
    assert!(one.is_ok());
    let pair = model
        .tokenizer
        .encode(Text::Pair("a", "b"), Overlong::Refuse);
    let refused = pair.expect_err("a second text has no kind").to_string();
    assert!(refused.contains("single texts only"), "{refused}");
}

#[test]
fn a_refusal_says_what_to_do() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 305992\n";
    for name in ["model.safetensors", "tokenizer.json", "config.json"] {
        let copy = Copy::of("bert");
        copy.write(name, pointer);
        let said = copy.refused();
        assert!(
            said.contains("git lfs pull") && said.contains(name),
            "{said}"
        );
    }

    let copy = Copy::of("bert");
    std::fs::rename(copy.path("tokenizer.json"), copy.path("vocab.txt")).expect("it is renamed");
    let said = copy.refused();
    assert!(said.contains("save_pretrained"), "{said}");

    let copy = Copy::of("bert");
    std::fs::create_dir(copy.path("0_BERT")).expect("a directory");
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        let moved = std::fs::rename(copy.path(name), copy.path("0_BERT").join(name));
        moved.expect("it is moved");
    }
    copy.edit("modules.json", |modules| {
        modules[0]["path"] = json!("0_BERT")
    });
    let said = copy.refused();
    assert!(
        said.contains("0_BERT") && said.contains("modules.json"),
        "{said}"
    );

    for (name, words) in [
        ("pytorch_model.bin", "save_pretrained"),
        ("adapter_config.json", "merge"),
    ] {
        let copy = Copy::of("bert");
        let moved = std::fs::rename(copy.path("model.safetensors"), copy.path(name));
        moved.expect("it is renamed");
        let said = copy.refused();
        assert!(said.contains(words), "{said}");
    }

    for (name, content, words) in [
        ("modules.json", json!([]), "no module"),
        (
            "sentence_bert_config.json",
            json!({ "max_seq_length": 0 }),
            "max_seq_length is 0",
        ),
    ] {
        let copy = Copy::of("bert");
        copy.write(name, content.to_string());
        let said = copy.refused();
        assert!(said.contains(words) && said.contains(name), "{said}");
    }

    let copy = Copy::of("bert");
    let file = copy.path("model.safetensors");
    let whole = std::fs::read(&file).expect("it is there");
    let tensors = safetensors::SafeTensors::deserialize(&whole).expect("tensors");
    let renamed = tensors.tensors().into_iter();
    let renamed = renamed.map(|(name, view)| (format!("model.{name}"), view));
    let written = safetensors::serialize(renamed, None).expect("it is written");
    copy.write("model.safetensors", written);
    let said = copy.refused();
    assert!(
        said.contains("prefix") && said.contains("model.embeddings"),
        "{said}"
    );
}

#[test]
fn a_config_that_makes_no_numbers_is_refused() {
    let copy = Copy::of("bert");
    copy.edit("config.json", |config| config["layer_norm_eps"] = json!(-1));
    assert!(copy.refused().contains("layer_norm_eps"));

    let copy = Copy::of("../decoders/llama");
    copy.edit("config.json", |config| config["rms_norm_eps"] = json!(-1));
    let model = copy.home.path().to_str().expect("a path");
    let output = worker(["serve", "--listen", "127.0.0.1:0", "--model", model]);
    assert!(said(&output).contains("epsilon"), "{}", said(&output));

    let copy = Copy::of("bert-multi-label");
    copy.edit("config.json", |config| {
        config["problem_type"] = json!("guessing")
    });
    assert!(copy.refused().contains("multi_label_classification"));
}

#[test]
fn weights_that_overflow_are_refused_at_warm_up() {
    let copy = Copy::of("bert");
    let file = copy.path("model.safetensors");
    let whole = std::fs::read(&file).expect("it is there");
    let tensors = safetensors::SafeTensors::deserialize(&whole).expect("tensors");
    let huge = f32::MAX.to_le_bytes().repeat(48);
    let changed = tensors.tensors().into_iter().map(|(name, view)| {
        let last = name.ends_with("layer.2.output.LayerNorm.weight");
        let view = match last {
            true => safetensors::tensor::TensorView::new(view.dtype(), vec![48], &huge)
                .expect("it fits"),
            false => view,
        };
        (name, view)
    });
    let written = safetensors::serialize(changed, None).expect("it is written");
    copy.write("model.safetensors", written);
    let model = copy.home.path().to_str().expect("a path");
    let output = worker(["serve", "--listen", "127.0.0.1:0", "--model", model]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("not finite"), "{}", said(&output));
}

#[test]
fn a_file_that_is_none_is_refused_and_not_waited_for() {
    let copy = Copy::of("bert");
    std::fs::remove_file(copy.path("tokenizer_config.json")).expect("it is removed");
    std::os::unix::fs::symlink("/dev/zero", copy.path("tokenizer_config.json")).expect("a link");
    std::fs::write(copy.path("sentence_bert_config.json"), "{}").expect("it is written");
    let said = copy.refused();
    assert!(said.contains("no regular file"), "{said}");

    let copy = Copy::of("bert");
    let pipe = copy.path("config.json");
    std::fs::remove_file(&pipe).expect("it is removed");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    let said = copy.refused();
    assert!(said.contains("config.json"), "{said}");
}

#[test]
fn a_tokenizer_that_makes_texts_swell_is_refused_before_it_is_parsed() {
    let copy = Copy::of("bert");
    copy.edit("tokenizer.json", |tokenizer| {
        let content = "a".repeat(100);
        let replace =
            json!({ "type": "Replace", "pattern": { "String": "a" }, "content": content });
        tokenizer["normalizer"] = json!({ "type": "Sequence", "normalizers": vec![replace; 5] });
    });
    let said = copy.refused();
    assert!(said.contains("times as long"), "{said}");
    copy.edit("tokenizer.json", |tokenizer| {
        tokenizer["normalizer"] = json!({ "type": "Precompiled", "precompiled_charsmap": "" });
    });
    let said = copy.refused();
    assert!(said.contains("precompiled_charsmap"), "{said}");
}

#[test]
fn a_dense_module_that_does_not_fit_is_refused() {
    let copy = Copy::of("bert-dense");
    copy.edit("2_Dense/config.json", |config| {
        config["in_features"] = json!(47)
    });
    assert!(copy.refused().contains("in_features is 47"));
    let copy = Copy::of("bert-dense");
    std::fs::remove_file(copy.path("2_Dense/model.safetensors")).expect("it is removed");
    copy.write("2_Dense/pytorch_model.bin", "");
    assert!(copy.refused().contains("convert it to safetensors"));
}
