//! Answers that are held to a JSON schema, by a network that would say anything.

#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::path::PathBuf;

use serde_json::{Value, json};
use tidegate_generation::{
    Chunk, Finish, Grammars, Limits, Network, Sampling, Scheduler, Task, Tokenizer, Wanted,
};
use tidegate_gguf::Gguf;

fn tokenizer() -> Tokenizer {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/decoders/llama/q4_0.gguf");
    let bytes = std::fs::read(file).unwrap();
    Tokenizer::from_gguf(&Gguf::read(&bytes[..], bytes.len() as u64).unwrap()).unwrap()
}

/// All tokens are alike to it.
struct Indifferent(usize);

impl Network for Indifferent {
    type Error = Infallible;

    fn vocabulary(&self) -> usize {
        self.0
    }

    fn step(&mut self, chunks: &[Chunk], logits: &mut [f32]) -> Result<(), Infallible> {
        assert!(chunks.iter().all(|chunk| chunk.wanted != Wanted::All));
        logits.fill(0.0);
        Ok(())
    }
}

fn answer(schema: &Value, seed: u64) -> (String, Option<Finish>) {
    let tokenizer = tokenizer();
    let grammar = Grammars::new(&tokenizer).unwrap().json(schema).unwrap();
    let mut network = Indifferent(tokenizer.vocabulary().len());
    let limits = Limits {
        sequences: 1,
        step_tokens: 64,
        pages: 64,
        page_tokens: 32,
    };
    let mut scheduler = Scheduler::new(limits);
    let task = Task {
        prompt: tokenizer.encode("The tide").unwrap(),
        max_tokens: 1000,
        min_tokens: 0,
        ignore_end: false,
        sampling: Sampling {
            seed,
            ..Sampling::default()
        },
        stops: Vec::new(),
        show_stop: false,
        alternatives: None,
        score_prompt: false,
        grammar: Some(grammar),
        group: 0,
    };
    scheduler.add(0, task);
    let (mut text, mut finish) = (String::new(), None);
    while !scheduler.is_idle() {
        scheduler.admit();
        for (_, delta) in scheduler.step(&mut network, &tokenizer).unwrap() {
            text += &delta.text;
            finish = delta.finish.or(finish);
        }
    }
    (text, finish)
}

#[test]
fn whatever_the_network_says_the_answer_fits_the_schema() {
    let schema = json!({
        "type": "object",
        "properties": {
            "high": { "type": "boolean" },
            "place": { "enum": ["quay", "gate"] },
            "hours": { "type": "array", "items": { "type": "integer", "minimum": 0, "maximum": 23 }, "maxItems": 3 },
        },
        "required": ["high", "place", "hours"],
        "additionalProperties": false,
    });
    for seed in 0..20 {
        let (text, finish) = answer(&schema, seed);
        assert_eq!(finish, Some(Finish::End), "{text}");
        let value: Value = serde_json::from_str(&text).expect(&text);
        assert!(value["high"].is_boolean(), "{text}");
        assert!(
            ["quay", "gate"].contains(&value["place"].as_str().unwrap()),
            "{text}"
        );
        let hours = value["hours"].as_array().unwrap();
        assert!(
            hours.len() <= 3 && hours.iter().all(|hour| hour.as_u64().unwrap() < 24),
            "{text}"
        );
    }
}

#[test]
fn a_schema_that_is_none_is_refused() {
    let grammars = Grammars::new(&tokenizer()).unwrap();
    assert!(grammars.json(&json!({ "type": "nonsense" })).is_err());
}
