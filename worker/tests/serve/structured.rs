//! Answers of a given form, by a tiny decoder with random weights: it would say anything, so
//! whatever fits is held to.

use serde_json::{Value, json};

use crate::chat::{CHAT, ask, chat, decoder, events};

/// A chat that ends by itself, drawn with this seed.
fn drawn(seed: u64, more: &Value) -> Value {
    let mut body = chat(more);
    body["temperature"] = json!(1);
    body["seed"] = json!(seed);
    body["max_tokens"] = json!(300);
    body["ignore_eos"] = json!(false);
    body
}

fn schema() -> Value {
    json!({
        "$defs": { "place": { "enum": ["quay", "gate"] } },
        "type": "object",
        "properties": {
            "high": { "type": "boolean" },
            "place": { "$ref": "#/$defs/place" },
            "hours": { "type": "array", "items": { "type": "integer", "minimum": 0, "maximum": 23 }, "maxItems": 3 },
        },
        "required": ["high", "place", "hours"],
        "additionalProperties": false,
    })
}

fn format(schema: &Value) -> Value {
    json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "tide", "strict": true, "schema": schema } } })
}

fn fits(text: &str) -> bool {
    let value: Value = serde_json::from_str(text).expect(text);
    let hours = value["hours"].as_array().expect(text);
    value.as_object().expect(text).len() == 3
        && value["high"].is_boolean()
        && ["quay", "gate"].contains(&value["place"].as_str().expect(text))
        && hours.len() <= 3
        && hours.iter().all(|hour| hour.as_u64().expect(text) < 24)
}

/// Short ones: the prompt describes them, and the model reads 512 tokens.
fn tools() -> Value {
    let parameters = json!({
        "type": "object",
        "properties": { "at": { "enum": ["quay", "gate"] } },
        "required": ["at"],
        "additionalProperties": false,
    });
    json!([
        { "type": "function", "function": { "name": "tide", "parameters": parameters } },
        { "type": "function", "function": { "name": "now" } },
    ])
}

/// A chat with tools, whose answer has the room that they leave.
fn offered(seed: u64, more: &Value) -> Value {
    let mut body = drawn(seed, more);
    body["tools"] = tools();
    body["max_tokens"] = json!(150);
    body
}

/// JSON may have numbers that no double holds, such as 3e664.
fn is_object(text: &str) -> bool {
    match serde_json::from_str::<Value>(text) {
        Ok(value) => value.is_object(),
        Err(error) => error.to_string().contains("number out of range"),
    }
}

/// A call's arguments, checked by its name.
fn is_call(call: &Value) -> bool {
    let function = &call["function"];
    let arguments = function["arguments"].as_str().expect("text");
    match function["name"].as_str().expect("a name") {
        "tide" => {
            let value: Value = serde_json::from_str(arguments).expect(arguments);
            ["quay", "gate"].contains(&value["at"].as_str().expect(arguments))
        }
        "now" => is_object(arguments),
        _ => false,
    }
}

#[tokio::test]
async fn answers_fit_their_schema_whole_streamed_and_several() {
    let worker = decoder().await;
    let mut body = drawn(3, &format(&schema()));
    body["n"] = json!(3);
    body["logprobs"] = json!(true);
    let (status, whole) = ask(&worker, CHAT, &body).await;
    assert_eq!(status, 200, "{whole}");
    let mut texts = Vec::new();
    for choice in whole["choices"].as_array().expect("choices") {
        let text = choice["message"]["content"].as_str().expect("text");
        assert_eq!(choice["finish_reason"], "stop", "{text}");
        assert!(fits(text), "{text}");
        assert!(choice["logprobs"]["content"][0]["logprob"].is_number());
        texts.push(text.to_owned());
    }
    assert_eq!(texts.len(), 3);
    body["stream"] = json!(true);
    let mut streamed = vec![String::new(); 3];
    for chunk in events(&worker, CHAT, &body).await {
        let choice = &chunk["choices"][0];
        let index = choice["index"].as_u64().expect("an index") as usize;
        streamed[index] += choice["delta"]["content"].as_str().unwrap_or_default();
    }
    assert_eq!(streamed, texts, "a seed gives the same whole and streamed");
}

#[tokio::test]
async fn a_json_object_is_one_and_a_cut_one_says_so() {
    let worker = decoder().await;
    let object = json!({ "response_format": { "type": "json_object" } });
    let mut ended = 0;
    for seed in 0..20 {
        let (status, body) = ask(&worker, CHAT, &drawn(seed, &object)).await;
        assert_eq!(status, 200, "{body}");
        let choice = &body["choices"][0];
        let text = choice["message"]["content"].as_str().expect("text");
        assert!(text.trim_start().starts_with('{'), "{text}");
        if choice["finish_reason"] == "stop" {
            assert!(is_object(text), "{text}");
            ended += 1;
        }
    }
    assert!(ended > 0);
    let mut cut = drawn(1, &format(&schema()));
    cut["max_tokens"] = json!(3);
    let (_, body) = ask(&worker, CHAT, &cut).await;
    assert_eq!(body["choices"][0]["finish_reason"], "length", "{body}");
}

#[tokio::test]
async fn a_function_that_must_be_called_is_called() {
    let worker = decoder().await;
    let named = json!({ "type": "function", "function": { "name": "tide" } });
    for (choice, most) in [(json!("required"), usize::MAX), (named, 1)] {
        let chosen = json!({ "tool_choice": choice });
        for seed in 0..4 {
            let (status, body) = ask(&worker, CHAT, &offered(seed, &chosen)).await;
            assert_eq!(status, 200, "{body}");
            let choice = &body["choices"][0];
            let calls = choice["message"]["tool_calls"].as_array().expect("calls");
            assert!((1..=most).contains(&calls.len()), "{body}");
            if choice["finish_reason"] == "tool_calls" {
                assert!(calls.iter().all(is_call), "{body}");
                assert_eq!(choice["message"]["content"], Value::Null);
            } else {
                assert_eq!(choice["finish_reason"], "length", "{body}");
            }
        }
    }
}

#[tokio::test]
async fn streamed_calls_are_the_whole_ones_piece_by_piece() {
    let worker = decoder().await;
    let named = json!({ "type": "function", "function": { "name": "tide" } });
    let mut body = offered(7, &json!({ "tool_choice": named }));
    let (_, whole) = ask(&worker, CHAT, &body).await;
    let whole = &whole["choices"][0]["message"]["tool_calls"];
    assert_eq!(whole.as_array().expect("calls").len(), 1);
    body["stream"] = json!(true);
    let chunks = events(&worker, CHAT, &body).await;
    let pieces: Vec<&Value> = (chunks.iter())
        .map(|chunk| &chunk["choices"][0]["delta"]["tool_calls"][0])
        .filter(|piece| piece.is_object())
        .collect();
    assert_eq!(pieces[0]["type"], "function");
    assert!(
        pieces[0]["id"]
            .as_str()
            .expect("an id")
            .starts_with("call-")
    );
    assert_eq!(pieces[0]["function"]["name"], whole[0]["function"]["name"]);
    assert!(pieces.len() > 2, "{pieces:?}");
    assert!(pieces.iter().all(|piece| piece["index"] == 0));
    let arguments: String = (pieces.iter())
        .filter_map(|piece| piece["function"]["arguments"].as_str())
        .collect();
    assert_eq!(arguments, whole[0]["function"]["arguments"]);
    let last = &chunks[chunks.len() - 1]["choices"][0];
    assert_eq!(last["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn a_call_that_may_be_made_fits_when_it_is_begun() {
    let worker = decoder().await;
    // The mark is made likely; what stands behind it is up to the grammar.
    let may = json!({ "tool_choice": "auto", "stop": ["</tool_call>"] });
    let (status, body) = ask(&worker, CHAT, &offered(1, &may)).await;
    assert_eq!(status, 200, "{body}");
    let none = offered(1, &json!({ "tool_choice": "none" }));
    let (status, body) = ask(&worker, CHAT, &none).await;
    assert_eq!(status, 200, "{body}");
    assert!(body["choices"][0]["message"].get("tool_calls").is_none());
    // Where calls or JSON of a schema are allowed, the answer is one of them.
    let both = format(&schema());
    for seed in 0..4 {
        let (status, body) = ask(&worker, CHAT, &offered(seed, &both)).await;
        assert_eq!(status, 200, "{body}");
        let choice = &body["choices"][0];
        match choice["finish_reason"].as_str().expect("a reason") {
            "stop" => assert!(fits(choice["message"]["content"].as_str().expect("text"))),
            "tool_calls" => assert!(is_call(&choice["message"]["tool_calls"][0])),
            other => assert_eq!(other, "length"),
        }
    }
}

#[tokio::test]
async fn schemas_that_cannot_be_held_are_refused_by_field_and_others_go_on() {
    let worker = decoder().await;
    let huge =
        json!({ "enum": (0..100_000).map(|index| format!("word{index}")).collect::<Vec<_>>() });
    let unknown = json!({ "type": "nonsense" });
    let unheld = json!({ "type": "object", "if": { "required": ["a"] } });
    let pattern = json!({ "type": "string", "pattern": "(.*a.{200})+$".repeat(100) });
    for schema in [huge, unknown, unheld, pattern, json!(3)] {
        let (status, body) = ask(&worker, CHAT, &drawn(0, &format(&schema))).await;
        assert_eq!(
            (status, &body["error"]["param"]),
            (400, &json!("response_format")),
            "{body}"
        );
        let tool = json!({ "type": "function", "function": { "name": "wrong", "strict": true, "parameters": schema } });
        let (status, body) = ask(&worker, CHAT, &drawn(0, &json!({ "tools": [tool] }))).await;
        assert_eq!(
            (status, &body["error"]["param"]),
            (400, &json!("tools")),
            "{body}"
        );
    }
    let (status, body) = ask(&worker, CHAT, &drawn(0, &format(&schema()))).await;
    assert_eq!(status, 200, "{body}");
}
