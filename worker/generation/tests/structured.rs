//! Answers of a given form, by a network that would say anything.

#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_generation::{
    Besides, Calls, Chunk, Finish, Form, Function, Grammar, GrammarError, Grammars, Limits, Marks,
    Network, Sampling, Scheduler, Schema, Task, Tokenizer, Wanted,
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

/// Makes a grammar as it is made where it is served: with the stack that it needs.
fn made(form: Form) -> Result<Grammar, GrammarError> {
    let make = move || Grammars::new(&tokenizer()).unwrap().grammar(&form);
    let thread = std::thread::Builder::new().stack_size(Grammars::STACK_BYTES);
    thread.spawn(make).unwrap().join().unwrap()
}

fn strict(schema: Value) -> Schema {
    Schema {
        schema,
        strict: true,
    }
}

fn answer(grammar: &Grammar, seed: u64, max_tokens: usize) -> (String, Option<Finish>) {
    let tokenizer = tokenizer();
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
        max_tokens,
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
        grammar: Some(grammar.apart()),
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
    let grammar = made(Form::Json(strict(schema))).unwrap();
    for seed in 0..20 {
        let (text, finish) = answer(&grammar, seed, 1000);
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

fn function(name: &str, parameters: Value) -> Function {
    Function {
        name: name.to_owned(),
        parameters: Schema {
            schema: parameters,
            strict: false,
        },
    }
}

const MARKS: Marks = Marks {
    open: "<tool_call>",
    close: "</tool_call>",
};

fn two_functions() -> Vec<Function> {
    let place = json!({
        "$defs": { "place": { "enum": ["quay", "gate"] } },
        "type": "object",
        "properties": { "at": { "$ref": "#/$defs/place" } },
        "required": ["at"],
        "additionalProperties": false,
    });
    vec![
        function("tide", place),
        function(
            "now",
            json!({ "type": "object", "additionalProperties": false }),
        ),
    ]
}

/// Whether this is a call of one of [`two_functions`].
fn is_call(text: &str) -> bool {
    let call: Value = serde_json::from_str(text).expect(text);
    match call["name"].as_str().expect(text) {
        "tide" => ["quay", "gate"].contains(&call["arguments"]["at"].as_str().expect(text)),
        "now" => call["arguments"] == json!({}),
        _ => false,
    }
}

#[test]
fn a_call_that_must_be_made_is_made() {
    let calls = |marks, several| {
        made(Form::Calls(Calls {
            functions: two_functions(),
            marks,
            besides: Besides::Nothing,
            several,
        }))
    };
    let (one, marked) = (
        calls(None, false).unwrap(),
        calls(Some(MARKS), true).unwrap(),
    );
    for seed in 0..10 {
        let (text, finish) = answer(&one, seed, 1000);
        assert!(is_call(&text), "{text}");
        assert_eq!(finish, Some(Finish::End));
        let (text, _) = answer(&marked, seed, 1000);
        let calls = text.split("</tool_call>").map(str::trim);
        let calls: Vec<&str> = calls.filter(|call| !call.is_empty()).collect();
        assert!(!calls.is_empty());
        for call in calls {
            assert!(
                is_call(call.strip_prefix("<tool_call>").expect(&text)),
                "{text}"
            );
        }
    }
}

#[test]
fn a_schema_that_is_none_is_refused() {
    assert!(made(Form::Json(strict(json!({ "type": "nonsense" })))).is_err());
    // What cannot be held is refused where that is asked for, and left out otherwise.
    let unheld = json!({ "type": "object", "dependentRequired": { "a": ["b"] } });
    let error = made(Form::Json(strict(unheld.clone()))).err().unwrap();
    assert!(error.to_string().contains("dependentRequired"), "{error}");
    let lenient = Schema {
        schema: unheld,
        strict: false,
    };
    assert!(made(Form::Json(lenient)).is_ok());
}

#[test]
fn the_function_whose_parameters_are_wrong_is_named() {
    let mut functions = two_functions();
    functions.push(function("wrong", json!({ "type": "nonsense" })));
    let calls = Calls {
        functions,
        marks: Some(MARKS),
        besides: Besides::Text,
        several: true,
    };
    let error = made(Form::Calls(calls)).err().unwrap();
    assert!(
        matches!(&error, GrammarError::Schema { function: Some(name), .. } if name == "wrong"),
        "{error:?}"
    );
}

/// Schemas that ask for much work by few words.
fn hostile() -> Vec<(&'static str, Value)> {
    let chain = |length: usize| {
        let link = |at| {
            (
                format!("a{at}"),
                json!({ "$ref": format!("#/$defs/a{}", at + 1) }),
            )
        };
        let mut links: serde_json::Map<String, Value> = (0..length).map(link).collect();
        links.insert(format!("a{length}"), json!({ "type": "string" }));
        json!({ "$defs": links, "$ref": "#/$defs/a0" })
    };
    let twice = |at| {
        let next = json!({ "$ref": format!("#/$defs/a{}", at + 1) });
        let both = json!({ "type": "object", "properties": { "l": next, "r": next } });
        (format!("a{at}"), json!({ "allOf": [both, both] }))
    };
    let mut doubled: serde_json::Map<String, Value> = (0..40).map(twice).collect();
    doubled.insert("a40".to_owned(), json!({ "type": "string" }));
    let branches: Vec<Value> = (0..10)
        .map(|value| json!({ "properties": { format!("p{value}"): { "const": value } } }))
        .collect();
    let names: Vec<String> = (0..900).map(|index| format!("name{index}")).collect();
    let options: Vec<Value> = (0..900)
        .map(|value| json!({ "required": [format!("o{value}")] }))
        .collect();
    let recursive = |other: &str| {
        let inner = json!({ "$ref": format!("#/$defs/{other}") });
        json!({ "type": "object", "properties": { "l": inner, "r": inner }, "required": ["l", "r"] })
    };
    let tree = (0..50).fold(json!({ "type": "string" }), |inner, _| {
        json!({ "anyOf": [{ "type": "object", "properties": { "a": inner }, "required": ["a"] }, { "type": "null" }] })
    });
    vec![
        ("a chain of references", chain(4900)),
        (
            "references that double",
            json!({ "$defs": doubled, "$ref": "#/$defs/a0" }),
        ),
        (
            "products of alternatives",
            json!({ "allOf": vec![json!({ "anyOf": branches }); 12] }),
        ),
        (
            "many names in many alternatives",
            json!({ "required": names, "anyOf": options }),
        ),
        (
            "two recursions at once",
            json!({ "$defs": { "a": recursive("a"), "b": recursive("b") }, "allOf": [{ "$ref": "#/$defs/a" }, { "$ref": "#/$defs/b" }] }),
        ),
        ("itself", json!({ "$ref": "#" })),
        ("a deep tree", tree),
        (
            "a counted pattern",
            json!({ "type": "string", "pattern": "^(((a{1,99}){1,99}){1,99}){1,99}$" }),
        ),
        (
            "a pattern that looks back far",
            json!({ "type": "string", "pattern": "(.*a.{200})+$" }),
        ),
        (
            "a pattern of a counted length",
            json!({ "type": "string", "pattern": "(.*a.{200})+$", "maxLength": 5000 }),
        ),
        (
            "a deep pattern",
            json!({ "type": "string", "pattern": format!("{}a{}", "(".repeat(500), ")".repeat(500)) }),
        ),
        (
            "patterns at once",
            json!({ "allOf": (1..30).map(|n| json!({ "type": "string", "pattern": format!("(.{{{n}}}a)*.*b.{{{n}}}") })).collect::<Vec<_>>() }),
        ),
        (
            "long texts",
            json!({ "type": "string", "minLength": 9_999, "maxLength": 10_000 }),
        ),
        (
            "many items",
            json!({ "type": "array", "minItems": 9_999, "maxItems": 10_000, "items": { "type": "array", "minItems": 9_999, "maxItems": 10_000 } }),
        ),
        (
            "a multiple",
            json!({ "type": "integer", "multipleOf": 999_983, "minimum": 1, "maximum": 1e15 }),
        ),
        (
            "many properties",
            json!({ "type": "object", "properties": (0..3000).map(|index| (format!("p{index}"), json!({ "type": "string" }))).collect::<serde_json::Map<_, _>>() }),
        ),
        (
            "a large enumeration",
            json!({ "enum": (0..1000).map(|index| format!("{index}{}", "x".repeat(100))).collect::<Vec<_>>() }),
        ),
        (
            "a reference to elsewhere",
            json!({ "$ref": "http://127.0.0.1:1/schema.json" }),
        ),
        (
            "a name that is a rule",
            json!({ "x-guidance": { "whitespace_pattern": "(.*a.{200})+" }, "type": "object" }),
        ),
    ]
}

/// Longest for making a grammar, and for one token of an answer.
const MAKING: Duration = Duration::from_secs(10);
const TOKEN: Duration = Duration::from_millis(250);

#[test]
fn hostile_schemas_are_refused_or_held_in_bounded_time() {
    for (what, schema) in hostile() {
        let begun = Instant::now();
        let grammar = made(Form::Json(strict(schema)));
        let took = begun.elapsed();
        assert!(took < MAKING, "{what}: made in {took:?}");
        let grammar = match grammar {
            Ok(grammar) => grammar,
            Err(error) => {
                println!("{what}: refused in {took:?}: {error}");
                continue;
            }
        };
        let begun = Instant::now();
        let (text, finish) = answer(&grammar, 1, 50);
        let each = begun.elapsed() / 50;
        println!("{what}: made in {took:?}, {each:?} a token, {finish:?}");
        assert!(each < TOKEN, "{what}: {each:?} a token, {finish:?}, {text}");
    }
}

#[test]
fn a_text_matches_its_expression_as_a_whole() {
    let grammar = made(Form::Pattern("(high|low) at [0-2][0-9]h".to_owned())).unwrap();
    for seed in 0..20 {
        let (text, finish) = answer(&grammar, seed, 60);
        assert_eq!(finish, Some(Finish::End), "{text}");
        let (tide, hour) = text.split_once(" at ").expect(&text);
        assert!(["high", "low"].contains(&tide), "{text}");
        assert!(hour.len() == 3 && hour.ends_with('h'), "{text}");
    }
}

#[test]
fn hostile_expressions_are_refused_or_held_in_bounded_time() {
    for pattern in [
        "(".to_owned(),
        "a".repeat(2000),
        "((((a{1,99}){1,99}){1,99}){1,99}){1,99}".to_owned(),
        "(a|b|ab)*".repeat(100) + "c",
        "[\\s\\S]*a[\\s\\S]{900}".to_owned(),
        "(\\w+\\s?)+$".to_owned(),
        "a{999999999}".to_owned(),
    ] {
        let begun = Instant::now();
        let grammar = made(Form::Pattern(pattern.clone()));
        let took = begun.elapsed();
        assert!(took < MAKING, "{pattern}: made in {took:?}");
        let Ok(grammar) = grammar else {
            println!("{pattern}: refused in {took:?}");
            continue;
        };
        let begun = Instant::now();
        answer(&grammar, 1, 50);
        let each = begun.elapsed() / 50;
        println!("{pattern}: made in {took:?}, {each:?} a token");
        assert!(each < TOKEN, "{pattern}: {each:?} a token");
    }
}
