//! Decoders of every architecture against transformers: the fixtures' logits and greedy tokens,
//! from GGUF files of every type and from directories.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegate_kernels::{
    Chunk, Decoder, DecoderWorkspace, KvCache, KvType, PAGE_TOKENS, Team, Wanted,
};
use tidegate_worker::models::decoder;

/// Largest difference of a logit where weights are kept in floats.
const FLOAT: f32 = 1e-3;

/// Up to here Phi 3 takes the short one of its two sets of frequencies, as transformers does for a
/// sequence that is no longer.
const CONTEXT: usize = 256;

/// The same where activations are rounded to eight bits, which transformers does not do: the largest
/// of some hundred differences, as a share of the logits' standard deviation. Weights that are read
/// wrongly give more than 1.
const ROUNDED: f32 = 0.25;

fn fixtures() -> Vec<PathBuf> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/decoders");
    let entries = std::fs::read_dir(all)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut places: Vec<_> = entries
        .filter(|place| place.join("expected.json").is_file())
        .collect();
    places.sort();
    places
}

fn numbers(value: &Value) -> Vec<f32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_f64().unwrap() as f32)
        .collect()
}

fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_u64().unwrap() as u32)
        .collect()
}

struct Harness {
    decoder: Decoder,
    cache: KvCache,
    workspace: DecoderWorkspace,
    team: Team,
    pages: Vec<u32>,
}

impl Harness {
    fn new(model: &Path, kind: KvType) -> Harness {
        let opened = decoder::open(model).unwrap();
        let context = opened.context().min(CONTEXT);
        let decoder = opened.load(context).unwrap();
        let pages = context.div_ceil(PAGE_TOKENS);
        Harness {
            cache: KvCache::new(decoder.kv_shape(), pages, kind),
            workspace: DecoderWorkspace::new(&decoder, 256, context, 1),
            team: Team::new(1).unwrap(),
            pages: (0..pages as u32).collect(),
            decoder,
        }
    }

    fn logits(&mut self, tokens: &[u32], start: usize, wanted: Wanted) -> Vec<f32> {
        let rows = if wanted == Wanted::All {
            tokens.len()
        } else {
            1
        };
        let mut logits = vec![0.0; rows * self.decoder.shape().vocab];
        let chunk = Chunk {
            tokens,
            start,
            pages: &self.pages,
            logits: wanted,
        };
        let step = self.decoder.step(
            &mut self.team,
            &mut self.cache,
            &mut self.workspace,
            &[chunk],
            &mut logits,
        );
        step.unwrap();
        logits
    }

    fn greedy(&mut self, prompt: &[u32], count: usize) -> (Vec<f32>, Vec<u32>) {
        let first = self.logits(prompt, 0, Wanted::Last);
        let mut answer = vec![likeliest(&first)];
        while answer.len() < count {
            let last = answer[answer.len() - 1];
            let logits = self.logits(&[last], prompt.len() + answer.len() - 1, Wanted::Last);
            answer.push(likeliest(&logits));
        }
        (first, answer)
    }
}

fn likeliest(logits: &[f32]) -> u32 {
    (0..logits.len())
        .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
        .unwrap() as u32
}

fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

fn deviation(values: &[f32]) -> f32 {
    let count = values.len() as f32;
    let mean = values.iter().sum::<f32>() / count;
    let squares = values.iter().map(|value| (value - mean).powi(2));
    (squares.sum::<f32>() / count).sqrt()
}

#[test]
fn floats_give_the_logits_and_the_greedy_tokens_of_transformers() {
    for place in fixtures() {
        let expected: Value =
            serde_json::from_slice(&std::fs::read(place.join("expected.json")).unwrap()).unwrap();
        let Some(model) = expected["files"].get("model") else {
            continue;
        };
        let files = ["f16.gguf", "f32.gguf", "bf16.gguf"].map(|name| place.join(name));
        let files = files
            .into_iter()
            .filter(|file| file.is_file())
            .chain([place.clone()]);
        for file in files {
            let mut harness = Harness::new(&file, KvType::F32);
            for (prompt, case) in expected["prompts"]
                .as_array()
                .unwrap()
                .iter()
                .zip(model.as_array().unwrap())
            {
                let prompt = ids(prompt);
                let (logits, greedy) = harness.greedy(&prompt, 64);
                let apart = difference(&logits, &numbers(&case["logits"]));
                assert!(apart < FLOAT, "{}: {apart}", file.display());
                assert_eq!(greedy, ids(&case["greedy"]), "{}", file.display());
                if let Some(all) = case["all_logits"].as_array() {
                    let expected: Vec<f32> = all.iter().flat_map(numbers).collect();
                    let apart = difference(&harness.logits(&prompt, 0, Wanted::All), &expected);
                    assert!(apart < FLOAT, "{}: {apart}", file.display());
                }
            }
        }
    }
}

#[test]
fn blocks_of_every_type_give_logits_close_to_what_they_stand_for() {
    for place in fixtures() {
        let expected: Value =
            serde_json::from_slice(&std::fs::read(place.join("expected.json")).unwrap()).unwrap();
        let files = expected["files"].as_object().unwrap();
        for (name, cases) in files.iter().filter(|(name, _)| *name != "model") {
            let file = place.join(format!("{name}.gguf"));
            let mut harness = Harness::new(&file, KvType::F16);
            for (prompt, case) in expected["prompts"]
                .as_array()
                .unwrap()
                .iter()
                .zip(cases.as_array().unwrap())
            {
                let logits = harness.logits(&ids(prompt), 0, Wanted::Last);
                let expected = numbers(&case["logits"]);
                let apart = difference(&logits, &expected) / deviation(&expected);
                assert!(apart < ROUNDED, "{}: {apart}", file.display());
            }
        }
    }
}
