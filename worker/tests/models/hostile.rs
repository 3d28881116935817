//! Files that are damaged, cut off, made up or of another kind: each is refused with its name,
//! and none brings the process down.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use sha2::{Digest, Sha256};
use tidegate_worker::model;

use crate::stand::{Quantized, fixture, quantized};

/// The message of a file that must not load.
fn refusal(path: &Path) -> String {
    match model::load(path) {
        Ok(_) => panic!("{} was loaded", path.display()),
        Err(error) => error.to_string(),
    }
}

/// Writes `bytes` beside the model file.
fn beside(quantized: &Quantized, name: &str, bytes: &[u8]) -> PathBuf {
    let path = quantized.file.with_file_name(name);
    std::fs::write(&path, bytes).expect("it is written");
    path
}

/// A model file taken apart.
struct Parts {
    attributes: HashMap<String, String>,
    tensors: Vec<(String, safetensors::Dtype, Vec<usize>, Vec<u8>)>,
}

impl Parts {
    fn of(file: &[u8]) -> Parts {
        let (_, header) = SafeTensors::read_metadata(file).expect("a header");
        let tensors = SafeTensors::deserialize(file).expect("tensors");
        let all = tensors.tensors().into_iter();
        Parts {
            attributes: header.metadata().clone().expect("attributes"),
            tensors: all
                .map(|(name, t)| (name, t.dtype(), t.shape().to_vec(), t.data().to_vec()))
                .collect(),
        }
    }

    /// Replaces a small file's content.
    fn set_file(&mut self, name: &str, content: &[u8]) {
        let name = format!("file/{name}");
        let slot = self.tensors.iter_mut().find(|tensor| tensor.0 == name);
        let slot = slot.unwrap_or_else(|| panic!("{name} is not in the file"));
        slot.2 = vec![content.len()];
        slot.3 = content.to_vec();
    }

    /// Puts it together again, with a seal that holds: a forger can seal as well.
    fn sealed(&self) -> Vec<u8> {
        let write = |attributes| {
            let views = self.tensors.iter().map(|(name, dtype, shape, bytes)| {
                let view = TensorView::new(*dtype, shape.clone(), bytes).expect("they agree");
                (name.clone(), view)
            });
            safetensors::serialize(views, Some(attributes)).expect("it is serialized")
        };
        let draft = write(self.attributes.clone());
        let (length, header) = SafeTensors::read_metadata(&draft).expect("a header");
        let mut hash = Sha256::new_with_prefix(&self.attributes["provenance"]);
        for name in header.offset_keys() {
            let info = header.info(&name).map(|info| (info.dtype, &info.shape));
            hash.update(format!("\n{name} {info:?}"));
        }
        hash.update(&draft[8 + length..]);
        let digits = hash.finalize();
        let digits = digits.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut attributes = self.attributes.clone();
        attributes.insert("sha256".to_owned(), digits);
        write(attributes)
    }
}

#[test]
fn what_is_no_model_file_is_said_so() {
    let quantized = quantized(fixture("bert"));
    for (name, bytes, says) in [
        ("empty", &b""[..], "not a safetensors file"),
        (
            "text",
            b"{\"model_type\": \"bert\"}",
            "not a safetensors file",
        ),
        (
            "gguf",
            b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0",
            "not a safetensors file",
        ),
        ("huge", &[0xff; 64], "not a safetensors file"),
    ] {
        let message = refusal(&beside(&quantized, name, bytes));
        assert!(
            message.contains(says) && message.contains(name),
            "{message}"
        );
    }
    let bare = fixture("bert").join("model.safetensors");
    assert!(refusal(&bare).contains("expected one written by `tidegate-worker quantize`"));
}

#[test]
fn a_file_cut_anywhere_or_with_one_bit_changed_is_refused() {
    let quantized = quantized(fixture("bert"));
    let whole = std::fs::read(&quantized.file).expect("it is there");
    for share in 0..40 {
        let cut = &whole[..whole.len() * share / 40];
        refusal(&beside(&quantized, "cut", cut));
    }
    let word = b"\"rule\\\":";
    let place = whole.windows(word.len()).position(|bytes| bytes == word);
    let place = place.unwrap_or_else(|| panic!("the provenance is in the header"));
    let mut changed = whole.clone();
    changed[place + word.len() + 5] ^= 1;
    let message = refusal(&beside(&quantized, "changed", &changed));
    assert!(message.contains("damaged"), "{message}");
    let header = u64::from_le_bytes(whole[..8].try_into().expect("8 bytes")) as usize;
    let data = 8 + header;
    for share in 0..40 {
        let mut changed = whole.clone();
        changed[data + (whole.len() - data) * share / 40] ^= 0x10;
        let message = refusal(&beside(&quantized, "changed", &changed));
        assert!(message.contains("damaged"), "{message}");
    }
}

#[test]
fn a_newer_version_is_refused_by_number() {
    let quantized = quantized(fixture("bert"));
    let mut parts = Parts::of(&std::fs::read(&quantized.file).expect("it is there"));
    parts.attributes.insert("version".into(), "2".into());
    let message = refusal(&beside(&quantized, "newer", &parts.sealed()));
    assert!(
        message.contains("version 2") && message.contains("up to 1"),
        "{message}"
    );
}

#[test]
fn sealed_lies_are_found_out() {
    let quantized = quantized(fixture("bert"));
    let file = std::fs::read(&quantized.file).expect("it is there");
    let config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(fixture("bert").join("config.json")).expect("there"))
            .expect("JSON");
    let huge = 1_u64 << 60;
    for (key, value, says) in [
        ("hidden_size", 0, "hidden_size is 0"),
        ("num_attention_heads", 0, "num_attention_heads is 0"),
        ("num_attention_heads", 7, "multiple"),
        ("hidden_size", 96, "has shape"),
        ("num_hidden_layers", huge, "missing"),
        ("vocab_size", huge, "has shape"),
        ("intermediate_size", huge, "has shape"),
        ("max_position_embeddings", huge, "max_position_embeddings"),
        ("max_position_embeddings", 0, "max_position_embeddings"),
        ("type_vocab_size", 7, "has shape"),
        ("vocab_size", 3, "vocab_size of 3"),
        ("num_labels", huge, "num_labels"),
        ("num_labels", 0, "num_labels"),
    ] {
        let mut lie = config.clone();
        lie[key] = value.into();
        if key == "num_labels" {
            lie["architectures"] = serde_json::json!(["BertForSequenceClassification"]);
        }
        let mut parts = Parts::of(&file);
        parts.set_file("config.json", lie.to_string().as_bytes());
        let message = refusal(&beside(&quantized, "lie", &parts.sealed()));
        assert!(message.contains(says), "{key} = {value}: {message}");
    }
    for (name, content) in [
        ("tokenizer.json", &b"{}"[..]),
        ("config.json", b"[[[[[["),
        ("modules.json", b"[{\"path\": \"\", \"type\": \"a.Dense\"}]"),
    ] {
        let mut parts = Parts::of(&file);
        parts.set_file(name, content);
        let message = refusal(&beside(&quantized, "lie", &parts.sealed()));
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn values_that_are_no_numbers_are_refused_by_tensor() {
    let quantized = quantized(fixture("bert"));
    let mut parts = Parts::of(&std::fs::read(&quantized.file).expect("it is there"));
    let scale = parts
        .tensors
        .iter_mut()
        .find(|tensor| tensor.0.ends_with(".scale"));
    let scale = scale.expect("an int8 matrix has scales");
    scale.3[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let name = scale.0.clone();
    let message = refusal(&beside(&quantized, "nan", &parts.sealed()));
    assert!(
        message.contains(&name) && message.contains("NaN"),
        "{message}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever bytes are changed, the file loads as it was, or is refused: it never panics, hangs
    /// or takes memory that it does not have.
    #[test]
    fn changed_bytes_never_panic(
        changes in prop::collection::vec((0.0..1.0_f64, any::<u8>()), 1..8),
        in_header: bool,
        sealed: bool,
    ) {
        thread_local! {
            static MODEL: (Quantized, Vec<u8>) = {
                let quantized = quantized(fixture("bert"));
                let bytes = std::fs::read(&quantized.file).expect("it is there");
                (quantized, bytes)
            };
        }
        MODEL.with(|(quantized, whole)| {
            let mut bytes = whole.clone();
            if sealed {
                let mut parts = Parts::of(&bytes);
                for (place, value) in &changes {
                    let tensor = (place * parts.tensors.len() as f64) as usize;
                    let data = &mut parts.tensors[tensor].3;
                    let at = (place * 7919.0).fract() * data.len() as f64;
                    if let Some(byte) = data.get_mut(at as usize) {
                        *byte = *value;
                    }
                }
                bytes = parts.sealed();
            } else {
                let end = match in_header {
                    true => 8 + u64::from_le_bytes(bytes[..8].try_into().expect("8")) as usize,
                    false => bytes.len(),
                };
                for (place, value) in &changes {
                    bytes[(place * end as f64) as usize] = *value;
                }
            }
            let path = beside(quantized, "fuzzed", &bytes);
            if let Ok(model) = model::load(&path) {
                let mut arenas = [model.network.arena()];
                if let Ok(sequence) = model.tokenizer.take(vec![2, 5, 3]) {
                    let want = model::Want::Result;
                    // Refused or computed; the numbers are whatever the weights make them.
                    let _ = model.network.compute(&[&sequence], want, &mut arenas);
                }
            }
        });
    }
}
