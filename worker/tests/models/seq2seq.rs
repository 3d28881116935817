//! T5, its version 1.1 and mT5 against transformers: tokens and logits.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidegate_kernels::{
    KvCache, KvType, PAGE_TOKENS, Seq2Seq, Seq2SeqWorkspace, Source, Target, Team,
};
use tidegate_worker::models::seq2seq;
use tidegate_worker::models::{Overlong, Text, TextTokenizer};

use crate::support::quantized;

/// Largest difference of a logit, in f32.
const FLOAT: f32 = 1e-3;

const SOURCE: usize = 256;
const TARGET: usize = 80;

pub fn fixture(name: &str) -> PathBuf {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/seq2seq");
    all.join(name)
}

pub fn read(file: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn rows(value: &Value) -> Vec<Vec<f32>> {
    serde_json::from_value(value.clone()).unwrap()
}

fn texts(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).unwrap()
}

struct Stand {
    model: Seq2Seq,
    tokenizer: TextTokenizer,
    start: u32,
    team: Team,
    workspace: Seq2SeqWorkspace,
    sources: KvCache,
    targets: KvCache,
}

impl Stand {
    /// With room for `texts` at once, on a team of `members`.
    fn new(model: &Path, texts: usize, members: usize) -> Stand {
        let opened = seq2seq::open(model).unwrap();
        let start = opened.marks().start;
        let loaded = opened.load(SOURCE, TARGET).unwrap();
        let (model, kind) = (loaded.network, KvType::F32);
        let pages = |tokens: usize| texts * tokens.div_ceil(PAGE_TOKENS);
        Stand {
            tokenizer: loaded.tokenizer,
            start,
            team: Team::new(members).unwrap(),
            workspace: Seq2SeqWorkspace::new(&model, texts * SOURCE, members),
            sources: KvCache::new(model.kv_shape(), pages(SOURCE), kind),
            targets: KvCache::new(model.kv_shape(), pages(TARGET), kind),
            model,
        }
    }

    /// Logits after each token of each target; all sources are encoded together, and each step
    /// computes one token of every target.
    fn forced(&mut self, sources: &[Vec<u32>], targets: &[Vec<u32>]) -> Vec<Vec<Vec<f32>>> {
        let table = |text: usize, tokens: usize| -> Vec<u32> {
            let pages = tokens.div_ceil(PAGE_TOKENS) as u32;
            (text as u32 * pages..(text as u32 + 1) * pages).collect()
        };
        let source_pages: Vec<_> = (0..sources.len()).map(|text| table(text, SOURCE)).collect();
        let target_pages: Vec<_> = (0..sources.len()).map(|text| table(text, TARGET)).collect();
        let read: Vec<_> = (sources.iter().zip(&source_pages))
            .map(|(tokens, pages)| Source { tokens, pages })
            .collect();
        let encoded = self.model.encode(
            &mut self.team,
            &mut self.sources,
            &mut self.workspace,
            &read,
        );
        encoded.unwrap();
        let vocabulary = self.model.shape().vocab;
        let mut logits = vec![Vec::new(); targets.len()];
        for position in 0..targets.iter().map(Vec::len).max().unwrap_or(0) {
            let now: Vec<usize> = (0..targets.len())
                .filter(|&text| position < targets[text].len())
                .collect();
            let step: Vec<_> = (now.iter())
                .map(|&text| Target {
                    token: targets[text][position],
                    position,
                    pages: &target_pages[text],
                    source: &source_pages[text],
                    source_len: sources[text].len(),
                })
                .collect();
            let mut out = vec![0.0; step.len() * vocabulary];
            let stepped = self.model.step(
                &mut self.team,
                &mut self.targets,
                &self.sources,
                &mut self.workspace,
                &step,
                &mut out,
            );
            stepped.unwrap();
            for (text, row) in now.into_iter().zip(out.chunks_exact(vocabulary)) {
                logits[text].push(row.to_vec());
            }
        }
        logits
    }
}

fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn likeliest(logits: &[f32]) -> u32 {
    let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
    best.unwrap() as u32
}

/// 65 places: distances reach far beyond 8, from which on the buckets of a decoder are other ones
/// than those of an encoder.
#[test]
fn logits_and_greedy_tokens_are_those_of_transformers() {
    for name in ["t5", "flan-t5", "mt5"] {
        let expected = read(&fixture(name).join("expected.json"));
        let sources: Vec<Vec<u32>> = serde_json::from_value(expected["token_ids"].clone()).unwrap();
        let greedy: Vec<Vec<u32>> = serde_json::from_value(expected["greedy"].clone()).unwrap();
        let mut stand = Stand::new(&fixture(name), sources.len(), 2);
        for (text, source) in texts(&expected["texts"]).iter().zip(&sources) {
            let read = stand.tokenizer.encode(Text::One(text), Overlong::Refuse);
            assert_eq!(&read.unwrap().ids, source, "{name}: {text:?}");
        }
        let forced: Vec<Vec<u32>> = (greedy.iter())
            .map(|tokens| [&[stand.start], &tokens[..]].concat())
            .collect();
        assert_eq!(forced[0], ids(&expected["forced"]));
        let logits = stand.forced(&sources, &forced);
        let all = rows(&expected["all_logits"]);
        assert_eq!(all.len(), logits[0].len());
        for (place, (found, expected)) in logits[0].iter().zip(&all).enumerate() {
            let apart = difference(found, expected);
            assert!(apart < FLOAT, "{name} at {place}: {apart}");
        }
        for (text, expected) in logits.iter().zip(&greedy) {
            let found: Vec<u32> = text.iter().map(|row| likeliest(row)).collect();
            assert_eq!(found[..expected.len()], expected[..], "{name}");
        }
    }
}

/// Whatever else is in a call and however many threads share it: bit for bit.
#[test]
fn a_texts_logits_do_not_depend_on_others() {
    for name in ["t5", "flan-t5"] {
        let expected = read(&fixture(name).join("expected.json"));
        let sources: Vec<Vec<u32>> = serde_json::from_value(expected["token_ids"].clone()).unwrap();
        let targets: Vec<Vec<u32>> = (sources.iter().enumerate())
            .map(|(text, _)| ids(&expected["forced"])[..20 - 3 * text].to_vec())
            .collect();
        let quantized = quantized(fixture(name));
        for model in [&fixture(name), &quantized.file] {
            let together = Stand::new(model, sources.len(), 2).forced(&sources, &targets);
            for (text, found) in together.iter().enumerate() {
                let mut alone = Stand::new(model, 1, 1);
                let alone = alone.forced(&sources[text..=text], &targets[text..=text]);
                assert_eq!(&alone[0], found, "{} text {text}", model.display());
            }
        }
    }
}

/// What must not load, and its message.
fn refusal(directory: &Path) -> String {
    let loaded = seq2seq::open(directory).and_then(|opened| opened.load(SOURCE, TARGET));
    match loaded {
        Ok(_) => panic!("{} was loaded", directory.display()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_a_config_says_is_held_against_the_weights() {
    let home = tempfile::tempdir().unwrap();
    let model = fixture("t5");
    for file in ["model.safetensors", "tokenizer.json"] {
        std::fs::copy(model.join(file), home.path().join(file)).unwrap();
    }
    let config = read(&model.join("config.json"));
    let huge = 1_u64 << 60;
    for (key, lie, says) in [
        ("d_model", json!(0), "d_model is 0"),
        ("d_model", json!(128), "has shape"),
        ("d_ff", json!(huge), "d_ff is"),
        ("vocab_size", json!(1 << 20), "has shape"),
        ("vocab_size", json!(3), "vocab_size of 3"),
        ("num_heads", json!(8), "has shape"),
        ("num_layers", json!(1 << 20), "missing"),
        ("num_decoder_layers", json!(3), "missing"),
        ("feed_forward_proj", json!("gated-gelu"), "missing"),
        ("feed_forward_proj", json!("tanh"), "is not supported"),
        ("eos_token_id", json!(huge), "config.json"),
        ("eos_token_id", json!(1 << 20), "none of the"),
        ("relative_attention_num_buckets", json!(64), "has shape"),
        (
            "relative_attention_max_distance",
            json!(8),
            "largest distance",
        ),
        ("layer_norm_epsilon", json!(-1.0), "layer_norm_epsilon"),
        ("model_type", json!("bart"), "is not one of t5, mt5"),
    ] {
        let mut changed = config.clone();
        changed[key] = lie.clone();
        std::fs::write(home.path().join("config.json"), changed.to_string()).unwrap();
        let message = refusal(home.path());
        assert!(message.contains(says), "{key} = {lie}: {message}");
    }
}
