//! What it costs to hold answers to a form: microseconds a token, with the vocabulary of a model.
//!
//!     masks FILE.gguf

#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_generation::{
    Besides, Calls, Chunk, Form, Function, Grammar, Grammars, Limits, Marks, Network, Sampling,
    Scheduler, Schema, Task, Tokenizer,
};
use tidegate_gguf::Gguf;

/// All tokens are alike to it, and it takes no time.
struct Indifferent(usize);

impl Network for Indifferent {
    type Error = Infallible;

    fn vocabulary(&self) -> usize {
        self.0
    }

    fn step(&mut self, _: &[Chunk], logits: &mut [f32]) -> Result<(), Infallible> {
        logits.fill(0.0);
        Ok(())
    }
}

fn steps(tokenizer: &Tokenizer, grammar: Option<Grammar>, seed: u64) -> Vec<Duration> {
    let mut network = Indifferent(tokenizer.vocabulary().len());
    let mut scheduler = Scheduler::new(Limits {
        sequences: 1,
        step_tokens: 64,
        pages: 64,
        page_tokens: 32,
    });
    let task = Task {
        prompt: tokenizer.encode("The tide").unwrap(),
        max_tokens: 200,
        min_tokens: 0,
        ignore_end: grammar.is_none(),
        sampling: Sampling {
            seed,
            ..Sampling::default()
        },
        stops: Vec::new(),
        show_stop: false,
        alternatives: None,
        score_prompt: false,
        grammar,
        group: 0,
    };
    scheduler.add(0, task);
    let mut took = Vec::new();
    while !scheduler.is_idle() {
        scheduler.admit();
        let begun = Instant::now();
        let _ = scheduler.step(&mut network, tokenizer);
        took.push(begun.elapsed());
    }
    took
}

fn main() {
    let file = std::env::args().nth(1).expect("masks FILE.gguf");
    let bytes = std::fs::read(file).unwrap();
    let gguf = Gguf::read(&bytes[..], bytes.len() as u64).unwrap();
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let begun = Instant::now();
    let grammars = Grammars::new(&tokenizer).unwrap();
    println!(
        "{} tokens, made ready in {:?}",
        tokenizer.vocabulary().len(),
        begun.elapsed()
    );
    let schema = |schema| Schema {
        schema,
        strict: true,
    };
    let person = schema(json!({
        "type": "object",
        "properties": {
            "name": { "type": "string" },
            "age": { "type": "integer", "minimum": 0, "maximum": 150 },
            "tags": { "type": "array", "items": { "enum": ["red", "green", "blue"] } },
        },
        "required": ["name", "age", "tags"],
        "additionalProperties": false,
    }));
    let functions = vec![Function {
        name: "person".to_owned(),
        parameters: person.clone(),
    }];
    let auto = Calls {
        functions,
        marks: Some(Marks {
            open: "<tool_call>",
            close: "</tool_call>",
        }),
        besides: Besides::Text,
        several: true,
    };
    let forms = [
        ("none", None),
        (
            "any object",
            Some(Form::Json(schema(json!({ "type": "object" })))),
        ),
        ("a schema", Some(Form::Json(person))),
        ("calls or text", Some(Form::Calls(auto))),
    ];
    for (name, form) in forms {
        let begun = Instant::now();
        let grammar = form.map(|form| grammars.grammar(&form).unwrap());
        let made = begun.elapsed();
        let mut took = Vec::new();
        for seed in 0..10 {
            let grammar = grammar.as_ref().map(Grammar::apart);
            took.extend(steps(&tokenizer, grammar, seed).into_iter().skip(1));
        }
        took.sort_unstable();
        let at = |share: usize| took[(took.len() - 1) * share / 100];
        println!(
            "{name}: made in {made:?}; a token p50 {:?}, p99 {:?}, most {:?}, of {}",
            at(50),
            at(99),
            at(100),
            took.len()
        );
    }
}
