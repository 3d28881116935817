//! `/generate`, `/generate_stream` and `/` of a decoder, as text-generation-inference's clients meet
//! them.

use serde_json::{Value, json};

use crate::chat::{ask, decoder};
use crate::worker::Worker;

const GENERATE: &str = "/generate";
const STREAM: &str = "/generate_stream";

fn inputs(parameters: &Value) -> Value {
    json!({ "inputs": "The tide", "parameters": parameters })
}

async fn generate(worker: &Worker, parameters: &Value) -> Value {
    let (status, reply) = ask(worker, GENERATE, &inputs(parameters)).await;
    assert_eq!(status, 200, "{reply}");
    reply
}

/// The lines of a stream.
async fn lines(worker: &Worker, path: &str, body: &Value) -> Vec<Value> {
    let reply = reqwest::Client::new()
        .post(format!("{}{path}", worker.url))
        .json(body)
        .send();
    let reply = reply.await.expect("an answer");
    assert_eq!(reply.headers()["content-type"], "text/event-stream");
    let text = reply.text().await.expect("text");
    let lines = text.split_terminator("\n\n");
    lines
        .map(|line| line.strip_prefix("data:").expect(line))
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

fn text(reply: &Value) -> &str {
    reply["generated_text"].as_str().expect("a text")
}

/// What the tokens say one after the other, the marks that end a text left out.
fn joined<'a>(tokens: impl Iterator<Item = &'a Value>) -> String {
    let texts = tokens.filter(|token| token["special"] == false);
    texts
        .map(|token| token["text"].as_str().expect("a text"))
        .collect()
}

#[tokio::test]
async fn a_stream_says_what_the_whole_text_says_and_both_what_completions_say() {
    let worker = decoder().await;
    let asked = json!({ "max_new_tokens": 12, "ignore_eos": true, "details": true });
    let whole = generate(&worker, &asked).await;
    let details = &whole["details"];
    assert_eq!(details["finish_reason"], "length");
    assert_eq!(details["generated_tokens"], 12);
    assert_eq!(details["seed"], Value::Null);
    assert_eq!(details["prefill"], json!([]));
    let tokens = details["tokens"].as_array().expect("tokens");
    assert_eq!(tokens.len(), 12);
    assert!(
        tokens
            .iter()
            .all(|token| token["logprob"].as_f64() <= Some(0.0))
    );
    assert_eq!(joined(tokens.iter()), text(&whole));

    let streamed = lines(&worker, STREAM, &inputs(&asked)).await;
    assert_eq!(streamed.len(), 12);
    let (last, before) = streamed.split_last().expect("lines");
    assert!(before.iter().all(|line| line["generated_text"].is_null()));
    assert!(before.iter().all(|line| line["details"].is_null()));
    assert_eq!(text(last), text(&whole));
    assert_eq!(last["details"]["finish_reason"], "length");
    assert_eq!(last["details"]["generated_tokens"], 12);
    let ids = |tokens: &mut dyn Iterator<Item = &Value>| -> Vec<Value> {
        tokens.map(|token| token["id"].clone()).collect()
    };
    assert_eq!(
        ids(&mut streamed.iter().map(|line| &line["token"])),
        ids(&mut tokens.iter())
    );

    let completion =
        json!({ "prompt": "The tide", "max_tokens": 12, "temperature": 0, "ignore_eos": true });
    let (_, completion) = ask(&worker, "/v1/completions", &completion).await;
    assert_eq!(completion["choices"][0]["text"], text(&whole));
    assert_eq!(
        last["details"]["input_length"],
        completion["usage"]["prompt_tokens"]
    );

    let mut root = inputs(&asked);
    let (status, list) = ask(&worker, "/", &root).await;
    assert_eq!((status, &list[0]), (200, &whole));
    root["stream"] = json!(true);
    assert_eq!(lines(&worker, "/", &root).await, streamed);
    let plain = generate(
        &worker,
        &json!({ "max_new_tokens": 12, "ignore_eos": true }),
    )
    .await;
    assert_eq!(plain, json!({ "generated_text": text(&whole) }));
}

#[tokio::test]
async fn parameters_do_what_they_are_named_for() {
    let worker = decoder().await;
    let asked = json!({ "max_new_tokens": 24, "ignore_eos": true });
    let plain = generate(&worker, &asked).await;
    let with = async |more: Value| {
        let mut parameters = asked.clone();
        for (key, value) in more.as_object().expect("an object") {
            parameters[key] = value.clone();
        }
        generate(&worker, &parameters).await
    };

    let full = with(json!({ "return_full_text": true })).await;
    assert_eq!(text(&full), format!("The tide{}", text(&plain)));

    let scored = with(json!({
        "details": true, "decoder_input_details": true, "top_n_tokens": 3,
    }));
    let scored = scored.await["details"].clone();
    let prefill = scored["prefill"].as_array().expect("tokens");
    assert!(prefill.len() > 1);
    assert!(prefill[0]["logprob"].is_null(), "{prefill:?}");
    assert!(
        prefill[1..]
            .iter()
            .all(|token| token["logprob"].is_number())
    );
    assert_eq!(scored["top_tokens"].as_array().expect("tokens").len(), 24);
    assert_eq!(scored["top_tokens"][0][0]["id"], scored["tokens"][0]["id"]);
    assert_eq!(scored["top_tokens"][0].as_array().expect("tokens").len(), 3);

    // The same seed draws the same, and it is told.
    let drawn = json!({ "do_sample": true, "temperature": 1.5, "seed": 7, "details": true });
    let (one, other) = (with(drawn.clone()).await, with(drawn).await);
    assert_eq!(one, other);
    assert_eq!(one["details"]["seed"], 7);
    assert_ne!(text(&one), text(&plain));

    // Truncated to its last tokens, a long prompt is as good as those alone.
    let long = format!("{} tide", "The sea ".repeat(4000));
    let body = json!({ "inputs": long, "parameters": { "truncate": 4, "max_new_tokens": 4, "details": true, "decoder_input_details": true } });
    let (status, cut) = ask(&worker, GENERATE, &body).await;
    assert_eq!(status, 200, "{cut}");
    assert_eq!(
        cut["details"]["prefill"].as_array().expect("tokens").len(),
        4
    );
    let body = json!({ "inputs": long });
    let (status, refused) = ask(&worker, GENERATE, &body).await;
    assert_eq!(
        (status, &refused["error_type"]),
        (422, &json!("validation"))
    );
}

#[tokio::test]
async fn a_grammar_holds_a_text_to_json_or_to_an_expression() {
    let worker = decoder().await;
    let held = async |grammar: Value| {
        let parameters = json!({
            "max_new_tokens": 200, "temperature": 1.0, "seed": 3, "grammar": grammar,
        });
        text(&generate(&worker, &parameters).await).to_owned()
    };
    let schema = json!({
        "type": "object",
        "properties": { "high": { "type": "boolean" } },
        "required": ["high"],
        "additionalProperties": false,
    });
    for grammar in [
        json!({ "type": "json", "value": schema }),
        json!({ "type": "json_schema", "value": { "name": "tide", "schema": schema } }),
    ] {
        let said: Value = serde_json::from_str(&held(grammar).await).expect("JSON");
        assert!(said["high"].is_boolean(), "{said}");
    }
    let said =
        held(json!({ "type": "regex", "value": "(high|low) at [0-2][0-9]:[0-5][0-9]" })).await;
    let (tide, time) = said.split_once(" at ").expect(&said);
    assert!(["high", "low"].contains(&tide), "{said}");
    assert_eq!((time.len(), time.as_bytes()[2]), (5, b':'), "{said}");
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_by_name() {
    let worker = decoder().await;
    for (parameters, name) in [
        (json!({ "best_of": 2 }), "best_of"),
        (json!({ "watermark": true }), "watermark"),
        (json!({ "typical_p": 0.5 }), "typical_p"),
        (json!({ "truncate": 0 }), "truncate"),
        (json!({ "top_n_tokens": 100 }), "top_n_tokens"),
        (json!({ "temperature": -1 }), "temperature"),
        (
            json!({ "grammar": { "type": "ebnf", "value": "a" } }),
            "grammar",
        ),
        (
            json!({ "grammar": { "type": "regex", "value": "(" } }),
            "grammar: the regular expression",
        ),
        (
            json!({ "grammar": { "type": "regex", "value": "a".repeat(5000) } }),
            "grammar: the regular expression",
        ),
        (
            json!({ "grammar": { "type": "json", "value": { "type": "tide" } } }),
            "grammar: the schema",
        ),
    ] {
        let (status, reply) = ask(&worker, GENERATE, &inputs(&parameters)).await;
        assert_eq!(status, 422, "{name}: {reply}");
        assert_eq!(reply["error_type"], "validation");
        let said = reply["error"].as_str().expect("a message");
        assert!(said.contains(name), "{name}: {said}");
    }
    let told = inputs(&json!({ "details": true, "decoder_input_details": true }));
    let (status, reply) = ask(&worker, STREAM, &told).await;
    assert_eq!(status, 422, "{reply}");
    for wrong in [
        json!({ "inputs": "" }),
        json!({ "parameters": {} }),
        json!({ "inputs": "The tide", "parameters": { "max_new_tokens": "many" } }),
    ] {
        for path in [GENERATE, STREAM, "/"] {
            let (status, reply) = ask(&worker, path, &wrong).await;
            let found = (status, &reply["error_type"]);
            assert_eq!(found, (422, &json!("validation")), "{path}: {reply}");
        }
    }
    // A pattern whose automaton as a whole would have billions of states: refused or held, and the worker
    // goes on.
    let nested = json!({ "type": "regex", "value": "((a{1,900}){1,900}){1,900}" });
    let (status, reply) = ask(&worker, GENERATE, &inputs(&json!({ "grammar": nested }))).await;
    let held = reply["generated_text"].as_str();
    let held = held.is_some_and(|text| text.bytes().all(|byte| byte == b'a'));
    assert!(
        status == 422 || (status == 200 && held),
        "{status}: {reply}"
    );
    let (status, _) = ask(&worker, GENERATE, &inputs(&json!({}))).await;
    assert_eq!(status, 200);
}
