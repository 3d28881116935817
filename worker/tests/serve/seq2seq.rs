//! Texts made of texts, as clients of OpenAI, of text-generation-inference and of `/translate` meet
//! them, with the tiny T5s of the fixtures.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::worker::{self, Worker};

const COMPLETE: &str = "/v1/completions";

fn fixture(name: &str) -> PathBuf {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/seq2seq");
    all.join(name)
}

fn read(name: &str, file: &str) -> Value {
    let text = std::fs::read(fixture(name).join(file)).expect("the fixture is there");
    serde_json::from_slice(&text).expect("it is JSON")
}

async fn serving(name: &str, config: &str) -> Worker {
    let home = tempfile::tempdir().expect("a temporary directory");
    worker::plan(home, fixture(name).as_os_str())
        .config(config)
        .args(["--name", "tiny"])
        .threads(2)
        .ready()
        .await
}

async fn ask(worker: &Worker, path: &str, body: &Value) -> (u16, Value) {
    let reply = reqwest::Client::new()
        .post(format!("{}{path}", worker.url))
        .json(body)
        .send();
    let reply = reply.await.expect("an answer");
    let status = reply.status().as_u16();
    (status, reply.json().await.expect("JSON"))
}

async fn answer(worker: &Worker, path: &str, body: &Value) -> Value {
    let (status, reply) = ask(worker, path, body).await;
    assert_eq!(status, 200, "{path}: {reply}");
    reply
}

/// The events of a stream.
async fn events(worker: &Worker, path: &str, body: &Value) -> Vec<String> {
    let reply = reqwest::Client::new()
        .post(format!("{}{path}", worker.url))
        .json(body)
        .send();
    let reply = reply.await.expect("an answer");
    assert_eq!(reply.headers()["content-type"], "text/event-stream");
    let text = reply.text().await.expect("text");
    let lines = text.split("\n\n").filter(|event| !event.is_empty());
    lines
        .map(|event| event.trim_start_matches("data: ").to_owned())
        .collect()
}

fn parsed(events: &[String]) -> Vec<Value> {
    let parse = |event: &String| serde_json::from_str(event).expect(event);
    events.iter().map(parse).collect()
}

fn tokens(reply: &Value) -> Vec<u64> {
    let tokens = reply["details"]["tokens"].as_array().expect("tokens");
    let id = |token: &Value| token["id"].as_u64().expect("an id");
    tokens.iter().map(id).collect()
}

/// Four texts of unequal length at once, some of them searched for with four hypotheses.
#[tokio::test]
async fn greedy_texts_and_beams_are_those_of_transformers() {
    for name in ["t5", "flan-t5", "mt5"] {
        let worker = serving(name, "").await;
        let expected = read(name, "expected.json");
        let texts = expected["texts"].as_array().expect("texts");
        let ask = |parameters: Value| {
            let worker = &worker;
            move |text: &Value| {
                let body = json!({ "inputs": text, "parameters": parameters });
                async move { answer(worker, "/generate", &body).await }
            }
        };
        let greedy = ask(json!({ "max_new_tokens": 64, "ignore_eos": true, "details": true }));
        let beams = ask(json!({ "max_new_tokens": 24, "num_beams": 4, "details": true }));
        let (greedy, beams) = tokio::join!(
            join_all(texts.iter().map(greedy)),
            join_all(texts.iter().map(beams)),
        );
        for (text, reply) in greedy.iter().enumerate() {
            assert_eq!(
                json!(tokens(reply)),
                expected["greedy"][text],
                "{name} {text}"
            );
            assert_eq!(reply["details"]["finish_reason"], "length");
        }
        for (text, reply) in beams.iter().enumerate() {
            let expected = &expected["beams"][text];
            assert_eq!(json!(tokens(reply)), expected["tokens"], "{name} {text}");
            let (found, score) = (&reply["details"]["score"], &expected["score"]);
            let apart = found.as_f64().expect("a score") - score.as_f64().expect("a score");
            assert!(apart.abs() < 1e-3, "{name} {text}: {found} {score}");
        }
    }
}

#[tokio::test]
async fn a_stream_says_what_the_whole_text_says() {
    let worker = serving("mt5", "").await;
    let prompt = "one";
    let body = json!({ "model": "tiny", "prompt": prompt, "max_tokens": 40, "temperature": 0, "ignore_eos": true });
    let whole = answer(&worker, COMPLETE, &body).await;
    assert_eq!(whole["object"], "text_completion");
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    assert_eq!(whole["usage"]["completion_tokens"], 40);
    let said = whole["choices"][0]["text"].as_str().expect("a text");

    let mut streamed = body.clone();
    streamed["stream"] = json!(true);
    streamed["stream_options"] = json!({ "include_usage": true });
    let mut lines = events(&worker, COMPLETE, &streamed).await;
    assert_eq!(lines.pop().as_deref(), Some("[DONE]"));
    let chunks = parsed(&lines);
    let (usage, texts) = chunks.split_last().expect("chunks");
    assert_eq!(usage["usage"], whole["usage"]);
    let part = |chunk: &Value| chunk["choices"][0]["text"].as_str().map(str::to_owned);
    assert_eq!(texts.iter().filter_map(part).collect::<String>(), said);
    assert!(texts.len() > 10, "{texts:?}");
    let last = &texts[texts.len() - 1]["choices"][0];
    assert_eq!(last["finish_reason"], "length");

    let middle = said
        .char_indices()
        .nth(said.chars().count() / 2)
        .expect("letters")
        .0;
    let end = said[middle..].char_indices().nth(4).expect("letters").0;
    let stop = &said[middle..middle + end];
    let mut stopped = body.clone();
    stopped["stop"] = json!([stop]);
    let stopped = answer(&worker, COMPLETE, &stopped).await;
    let before = said.find(stop).expect("it is there");
    assert_eq!(stopped["choices"][0]["text"], said[..before]);
    assert_eq!(stopped["choices"][0]["finish_reason"], "stop");

    let several =
        json!({ "prompt": [prompt, "two", prompt], "max_tokens": 40, "ignore_eos": true });
    let several = answer(&worker, COMPLETE, &several).await;
    for choice in [0, 2] {
        assert_eq!(several["choices"][choice]["text"], said);
    }

    let parameters = json!({ "max_new_tokens": 40, "ignore_eos": true, "details": true });
    let generate = json!({ "inputs": prompt, "parameters": parameters });
    let whole = answer(&worker, "/generate", &generate).await;
    assert_eq!(whole["generated_text"], said);
    let root = json!({ "inputs": prompt, "parameters": parameters, "stream": true });
    for (path, body) in [("/generate_stream", &generate), ("/", &root)] {
        let lines = parsed(&events(&worker, path, body).await);
        let last = &lines[lines.len() - 1];
        assert_eq!(last["generated_text"], said, "{path}");
        assert_eq!(last["details"]["input_length"], 3);
        let id = |line: &Value| line["token"]["id"].as_u64().expect("an id");
        assert_eq!(
            lines.iter().map(id).collect::<Vec<_>>(),
            tokens(&whole),
            "{path}"
        );
        let part = |line: &Value| line["token"]["text"].as_str().map(str::to_owned);
        assert_eq!(lines.iter().filter_map(part).collect::<String>(), said);
    }
    let root = answer(&worker, "/", &generate).await;
    assert_eq!(root[0]["generated_text"], said);
}

#[tokio::test]
async fn a_translation_is_the_text_after_its_prompt() {
    let worker = serving("mt5", "").await;
    let more = json!({ "max_tokens": 20, "ignore_eos": true });
    let with = |mut body: Value| {
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        body
    };
    let completed = with(json!({ "prompt": "translate English to German: one" }));
    let completed = answer(&worker, COMPLETE, &completed).await;
    let said = completed["choices"][0]["text"].as_str().expect("a text");
    let one = with(json!({ "text": "one", "source": "en", "target": "German" }));
    let reply = answer(&worker, "/translate", &one).await;
    assert_eq!(reply["translation"], said);
    assert_eq!(reply["usage"], completed["usage"]);
    let list = with(json!({ "text": ["one", "two"], "source": "English", "target": "de" }));
    let reply = answer(&worker, "/translate", &list).await;
    assert_eq!(reply["translation"][0], said);
    assert!(reply["translation"][1].is_string(), "{reply}");
    let mut streamed = one.clone();
    streamed["stream"] = json!(true);
    let mut lines = events(&worker, "/translate", &streamed).await;
    assert_eq!(lines.pop().as_deref(), Some("[DONE]"));
    let part = |line: &Value| line["translation"].as_str().map(str::to_owned);
    assert_eq!(
        parsed(&lines).iter().filter_map(part).collect::<String>(),
        said
    );
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_by_name() {
    let worker = serving("t5", "[generate]\ncontext = 64\ncache_tokens = 512").await;
    let long = "1 ".repeat(100);
    for (more, says) in [
        (json!({ "temperature": 0.7 }), "temperature = 0.7"),
        (json!({ "n": 2 }), "n = 2"),
        (json!({ "logprobs": 3 }), "logprobs = 3"),
        (json!({ "echo": true }), "echo = true"),
        (json!({ "num_beams": 0 }), "num_beams is 0"),
        (json!({ "num_beams": 1_000_000 }), "num_beams is 1000000"),
        (
            json!({ "num_beams": 4, "length_penalty": 1e39 }),
            "length_penalty",
        ),
        (json!({ "early_stopping": "soon" }), "early_stopping"),
        (json!({ "max_tokens": 0 }), "max_tokens is 0"),
        (json!({ "prompt": "" }), "empty string"),
        (json!({ "stream_options": {} }), "needs stream"),
        (json!({ "max_tokens": 65 }), "expected 1 to 64"),
        (json!({ "max_tokens": -1 }), "invalid"),
        (
            json!({ "stop": ["a", "b", "c", "d", "e"] }),
            "5 stop strings",
        ),
        (json!({ "prompt": [] }), "prompt"),
        (json!({ "prompt": [1, 2] }), "token ids"),
        (json!({ "prompt": long }), "at most 64"),
        (json!({ "prompt": null }), "invalid"),
        (json!({ "model": "other" }), "does not exist"),
    ] {
        let mut body = json!({ "prompt": "one", "max_tokens": 4 });
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        let (status, reply) = ask(&worker, COMPLETE, &body).await;
        let message = reply["error"]["message"].as_str().unwrap_or_default();
        let refused = status == 400 || status == 404;
        assert!(
            refused && message.contains(says),
            "{more}: {status} {reply}"
        );
    }
    for (path, body, says) in [
        ("/generate", json!({ "inputs": ["a"] }), "invalid type"),
        (
            "/generate",
            json!({ "inputs": "a", "parameters": { "do_sample": true } }),
            "do_sample",
        ),
        (
            "/generate",
            json!({ "inputs": "a", "parameters": { "truncate": 4 } }),
            "truncate = 4",
        ),
        ("/generate", json!({}), "inputs"),
        (
            "/translate",
            json!({ "text": "a", "source": "xx", "target": "de" }),
            "xx",
        ),
        (
            "/translate",
            json!({ "text": 4, "source": "en", "target": "de" }),
            "a string or a list",
        ),
        (
            "/translate",
            json!({ "text": ["a"], "source": "en", "target": "de", "stream": true }),
            "one text",
        ),
        (
            "/embed",
            json!({ "inputs": "a" }),
            "/v1/completions, /generate or /translate",
        ),
        ("/info", json!({}), ""),
    ] {
        let (status, reply) = ask(&worker, path, &body).await;
        let message = reply["error"].as_str().unwrap_or_default();
        assert!(
            status >= 400 && message.contains(says),
            "{path} {body}: {status} {reply}"
        );
    }
    let chat = json!({ "messages": [{ "role": "user", "content": "Hello" }] });
    let (status, reply) = ask(&worker, "/v1/chat/completions", &chat).await;
    assert_eq!(
        (status, &reply["error"]["code"]),
        (400, &json!("wrong_model_type"))
    );
    // Four hypotheses of 64 tokens and more are over what half of the cache holds.
    let wide = json!({ "prompt": "one", "max_tokens": 64, "num_beams": 8 });
    let (status, reply) = ask(&worker, COMPLETE, &wide).await;
    assert_eq!(
        (status, &reply["error"]["code"]),
        (400, &json!("context_length_exceeded"))
    );
    // None of it has done any harm.
    answer(&worker, COMPLETE, &json!({ "prompt": "one" })).await;
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_slot() {
    let worker = serving(
        "t5",
        "slots = 1\n[generate]\ncontext = 8000\ncache_tokens = 20000",
    )
    .await;
    let long = json!({ "prompt": "one", "max_tokens": 8000, "ignore_eos": true, "stream": true });
    let client = reqwest::Client::new();
    let mut reply = client
        .post(format!("{}{COMPLETE}", worker.url))
        .json(&long)
        .send()
        .await
        .expect("an answer");
    reply.chunk().await.expect("a chunk");
    let short = json!({ "prompt": "one", "max_tokens": 1 });
    assert_eq!(ask(&worker, COMPLETE, &short).await.0, 503);
    drop(reply);
    drop(client);
    let left = Instant::now();
    loop {
        match ask(&worker, COMPLETE, &short).await {
            (200, _) => break,
            (503, _) => assert!(left.elapsed() < Duration::from_secs(5), "the slot is held"),
            (status, reply) => panic!("{status} {reply}"),
        }
    }
}

#[tokio::test]
async fn what_does_not_fit_into_memory_is_refused_with_what_would() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let plan = worker::plan(home, fixture("t5").as_os_str()).args(["--memory-limit", "20MB"]);
    let (code, said) = plan.fails().await;
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("cache_tokens = "), "{said}");
    assert!(said.contains("quantized to int8"), "{said}");
}

#[tokio::test]
async fn a_trained_model_says_what_is_right() {
    let worker = serving("words", "").await;
    let held_out = read("words", "held-out.json");
    let list = |key: &str| -> Vec<String> {
        serde_json::from_value(held_out[key].clone()).expect("a list of texts")
    };
    let (inputs, expected, right) = (list("inputs"), list("transformers"), list("answers"));
    let mut said = Vec::new();
    for some in inputs.chunks(100) {
        let body = json!({ "prompt": some, "max_tokens": 40 });
        let reply = answer(&worker, COMPLETE, &body).await;
        for choice in reply["choices"].as_array().expect("choices") {
            said.push(choice["text"].as_str().expect("a text").to_owned());
        }
    }
    assert_eq!(said, expected);
    let share = said
        .iter()
        .zip(&right)
        .filter(|(said, right)| said == right);
    assert!(share.count() as f64 >= 0.9 * right.len() as f64);

    let date = json!({ "text": "1912-04-15", "source": "dates", "target": "en" });
    let (status, wrong) = ask(&worker, "/translate", &date).await;
    // Trained with "Dates", and a name is taken as it is: another text, but an answer.
    assert_eq!(status, 200, "{wrong}");
    let date = json!({ "text": "1912-04-15", "source": "Dates", "target": "en" });
    let reply = answer(&worker, "/translate", &date).await;
    assert_eq!(
        reply["translation"],
        "the fifteenth of April nineteen twelve"
    );
    let list =
        json!({ "text": ["17", "4317"], "source": "Figures", "target": "english", "num_beams": 3 });
    let reply = answer(&worker, "/translate", &list).await;
    let translations = json!(["seventeen", "four thousand three hundred and seventeen"]);
    assert_eq!(reply["translation"], translations);
}
