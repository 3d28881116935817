//! Files that are damaged, cut off, made up or of another kind: each is refused with its name,
//! and none brings the process down.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::json;
use sha2::{Digest, Sha256};
use tidegate_worker::models;

use crate::support::{Quantized, fixture, quantized};

/// The message of a file that must not load.
fn refusal(path: &Path) -> String {
    match models::load(path) {
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

/// Where the header ends and the first tensor begins.
fn data_at(whole: &[u8]) -> usize {
    8 + u64::from_le_bytes(whole[..8].try_into().expect("8 bytes")) as usize
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
    let data = data_at(&whole);
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
fn lies_about_a_modernbert_are_found_out() {
    let quantized = quantized(fixture("modernbert"));
    let file = std::fs::read(&quantized.file).expect("it is there");
    let config = std::fs::read(fixture("modernbert").join("config.json")).expect("it is there");
    let config: serde_json::Value = serde_json::from_slice(&config).expect("JSON");
    let huge = 1_u64 << 63;
    for (key, value, says) in [
        ("intermediate_size", json!(huge), "has shape"),
        (
            "num_hidden_layers",
            json!(huge),
            "layer_types has 4 entries",
        ),
        (
            "max_position_embeddings",
            json!(huge),
            "expected 1 to 65536",
        ),
        (
            "num_attention_heads",
            json!(16),
            "is 3; expected an even number",
        ),
        ("local_attention", json!(-1), "-1"),
        (
            "layer_types",
            json!(["a", "b", "c", "d"]),
            "layer_types has \"a\"",
        ),
        (
            "rope_parameters",
            json!({ "full_attention": { "rope_type": "yarn" } }),
            "rope_type \"yarn\" of full_attention",
        ),
        (
            "hidden_activation",
            json!("mish"),
            "hidden_activation \"mish\"",
        ),
        ("norm_eps", json!(-1), "norm_eps is -1"),
        ("attention_bias", json!(true), "attn.Wqkv.bias is missing"),
        ("norm_bias", json!(true), "norm.bias is missing"),
    ] {
        let mut lie = config.clone();
        lie[key] = value.clone();
        let mut parts = Parts::of(&file);
        parts.set_file("config.json", lie.to_string().as_bytes());
        let message = refusal(&beside(&quantized, "lie", &parts.sealed()));
        assert!(message.contains(says), "{key} = {value}: {message}");
    }
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
            lie["architectures"] = json!(["BertForSequenceClassification"]);
        }
        let mut parts = Parts::of(&file);
        parts.set_file("config.json", lie.to_string().as_bytes());
        let message = refusal(&beside(&quantized, "lie", &parts.sealed()));
        assert!(message.contains(says), "{key} = {value}: {message}");
    }
    for (name, content) in [
        ("tokenizer.json", &b"{}"[..]),
        // On these the tokenizers library panics.
        ("tokenizer.json", b"{\"decoder\": {\"type\": \"\xff\"}}"),
        ("tokenizer.json", b"{\"decoder\": {\"type\": \"\\ud800\"}}"),
        ("tokenizer.json", b"{\"decoder\": "),
        ("config.json", b"[[[[[["),
        (
            "modules.json",
            b"[{\"path\": \"\", \"type\": \"a.WeightedLayerPooling\"}]",
        ),
        // Neither leads to a file outside the model.
        ("modules.json", b"[{\"path\": \"\", \"type\": \"a.Dense\"}]"),
        (
            "modules.json",
            b"[{\"path\": \"../x\", \"type\": \"a.Pooling\"}]",
        ),
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

/// The file with another text as its header, and a length that fits it.
fn with_header(whole: &[u8], header: &str) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(&whole[data_at(whole)..]);
    file
}

#[test]
fn a_header_that_lies_about_its_tensors_is_refused() {
    let quantized = quantized(fixture("bert"));
    let whole = std::fs::read(&quantized.file).expect("it is there");
    let header = std::str::from_utf8(&whole[8..data_at(&whole)]).expect("it is UTF-8");
    let (true_length, size) = (header.len() as u64, whole.len() as u64);
    for length in [
        0,
        1,
        true_length - 1,
        true_length + 1,
        size,
        1 << 40,
        u64::MAX,
    ] {
        let mut lie = whole.clone();
        lie[..8].copy_from_slice(&length.to_le_bytes());
        refusal(&beside(&quantized, "length", &lie));
    }

    let parsed: serde_json::Value = serde_json::from_str(header).expect("it is JSON");
    let word = "embeddings.word_embeddings.weight";
    assert_eq!(parsed[word]["dtype"], "I8");
    let rows = &parsed[word]["shape"][0];
    for (key, lie) in [
        ("dtype", serde_json::json!("F32")),
        ("dtype", serde_json::json!("U8")),
        ("dtype", serde_json::json!("Q8")),
        ("dtype", serde_json::json!(7)),
        ("shape", serde_json::json!([])),
        ("shape", serde_json::json!([rows])),
        ("shape", serde_json::json!([0, 0])),
        ("shape", serde_json::json!([1_u64 << 33, 1_u64 << 33])),
        ("shape", serde_json::json!([u64::MAX, 2])),
        ("shape", serde_json::json!([-1, -1])),
        ("data_offsets", serde_json::json!([0, 1])),
        ("data_offsets", serde_json::json!([8, 0])),
        ("data_offsets", serde_json::json!([size, size + 64])),
        ("data_offsets", serde_json::json!([0, u64::MAX])),
        ("data_offsets", serde_json::json!([-8, 8])),
    ] {
        let mut changed = parsed.clone();
        changed[word][key] = lie;
        let lie = with_header(&whole, &changed.to_string());
        let message = refusal(&beside(&quantized, "lie", &lie));
        assert!(message.contains("lie: "), "{key}: {message}");
    }

    let deep = format!("{{\"a\":{}", "[".repeat(200_000));
    for header in [&deep, "{}", "[]", "", "null"] {
        refusal(&beside(&quantized, "lie", &with_header(&whole, header)));
    }
}

/// Bytes that are put in the place of others: where, as a share of the whole, and what.
fn changes() -> impl Strategy<Value = Vec<(f64, u8)>> {
    prop::collection::vec((0.0..1.0, any::<u8>()), 1..8)
}

/// The model file that is damaged over and over, and its bytes.
fn with_victim(check: impl FnOnce(&Quantized, &[u8])) {
    thread_local! {
        static VICTIM: (Quantized, Vec<u8>) = {
            let quantized = quantized(fixture("bert"));
            let bytes = std::fs::read(&quantized.file).expect("it is there");
            (quantized, bytes)
        };
    }
    VICTIM.with(|(quantized, bytes)| check(quantized, bytes));
}

/// What loads also computes; the numbers are whatever the weights make them.
fn compute(model: &models::Model) {
    let mut workspaces = [model.network.workspace()];
    if let Ok(sequence) = model.tokenizer.take(vec![2, 5, 3]) {
        let want = models::Want::Result;
        let _ = model.network.compute(&[&sequence], want, &mut workspaces);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// Damage anywhere, in the header or in the data, is never taken for the model.
    #[test]
    fn a_damaged_file_is_refused(
        changes in changes(),
        in_header: bool,
        length in 0.5..2.0_f64,
    ) {
        with_victim(|quantized, whole| {
            let mut bytes = whole.to_vec();
            let end = if in_header { data_at(whole) } else { bytes.len() };
            for (place, value) in &changes {
                bytes[(place * end as f64) as usize] = *value;
            }
            // One in three is cut off as well.
            bytes.truncate((length * bytes.len() as f64) as usize);
            if let Ok(model) = models::load(&beside(quantized, "damaged", &bytes)) {
                // What the header's parser passes over.
                assert!(bytes.ends_with(&whole[data_at(whole)..]), "damage was loaded");
                compute(&model);
            }
        });
    }

    /// A forger can seal what was changed: it loads or is refused, but it never panics, hangs or
    /// takes memory that it does not have.
    #[test]
    fn a_forged_file_never_panics(changes in changes(), only_small_files: bool) {
        with_victim(|quantized, whole| {
            let mut parts = Parts::of(whole);
            let mut victims: Vec<&mut Vec<u8>> = (parts.tensors.iter_mut())
                .filter(|tensor| !only_small_files || tensor.0.starts_with("file/"))
                .map(|tensor| &mut tensor.3)
                .filter(|data| !data.is_empty())
                .collect();
            for (place, value) in &changes {
                let victim = (place * victims.len() as f64) as usize;
                let at = (place * 7919.0).fract() * victims[victim].len() as f64;
                victims[victim][at as usize] = *value;
            }
            if let Ok(model) = models::load(&beside(quantized, "forged", &parts.sealed())) {
                compute(&model);
            }
        });
    }
}
