//! Tokenizers and chat templates of the fixtures' models, against what transformers made of them.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value};
use tidegate_generation::{ChatTemplate, Conversation, Named, TemplateValue, Tokenizer};
use tidegate_gguf::Gguf;

struct Fixture {
    name: String,
    place: PathBuf,
    expected: Value,
}

fn fixtures() -> Vec<Fixture> {
    let all = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/decoders");
    let entries = std::fs::read_dir(all)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut fixtures: Vec<Fixture> = entries
        .filter(|place| place.join("expected.json").is_file())
        .map(|place| Fixture {
            name: place.file_name().unwrap().to_string_lossy().into_owned(),
            expected: serde_json::from_slice(&std::fs::read(place.join("expected.json")).unwrap())
                .unwrap(),
            place,
        })
        .collect();
    fixtures.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(fixtures.len() >= 5);
    fixtures
}

impl Fixture {
    fn gguf(&self) -> Gguf {
        let files = std::fs::read_dir(&self.place)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let mut files = files.filter(|path| path.extension().is_some_and(|end| end == "gguf"));
        let bytes = std::fs::read(files.next().unwrap()).unwrap();
        Gguf::read(&bytes[..], bytes.len() as u64).unwrap()
    }

    fn chats(&self) -> Vec<Chat> {
        #[derive(Deserialize)]
        struct Expected {
            chats: Vec<Chat>,
        }
        let bytes = std::fs::read(self.place.join("expected.json")).unwrap();
        let expected: Expected = serde_json::from_slice(&bytes).unwrap();
        expected.chats
    }

    fn config(&self) -> Value {
        let bytes = std::fs::read(self.place.join("tokenizer_config.json")).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    fn tokenizers(&self) -> [(&'static str, Tokenizer); 2] {
        let gguf = self.gguf();
        let entries = gguf
            .attribute("tokenizer.ggml.tokens")
            .unwrap()
            .as_strings()
            .unwrap()
            .len();
        let config = self.config();
        let text = |key: &str| config[key].as_str().map(str::to_owned);
        let named = Named {
            begin: text("bos_token"),
            ends: text("eos_token").into_iter().collect(),
        };
        let json = std::fs::read(self.place.join("tokenizer.json")).unwrap();
        [
            ("gguf", Tokenizer::from_gguf(&gguf).unwrap()),
            (
                "json",
                Tokenizer::from_json(&json, entries, &named).unwrap(),
            ),
        ]
    }
}

/// A conversation and what transformers made of it.
#[derive(Deserialize)]
struct Chat {
    messages: Vec<Value>,
    tools: Option<Vec<TemplateValue>>,
    add_generation_prompt: bool,
    /// None if the template refuses the conversation.
    text: Option<String>,
    #[serde(default)]
    token_ids: Vec<u32>,
    /// What it says then.
    refused: Option<String>,
}

fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_u64().unwrap() as u32)
        .collect()
}

#[test]
fn texts_become_the_tokens_that_transformers_makes() {
    for fixture in fixtures() {
        for (kind, tokenizer) in fixture.tokenizers() {
            for case in fixture.expected["texts"].as_array().unwrap() {
                let text = case["text"].as_str().unwrap();
                let expected = ids(&case["token_ids"]);
                let found = tokenizer.encode(text).unwrap();
                assert_eq!(found, expected, "{} by {kind}: {text:?}", fixture.name);
                let decoded = tokenizer.decode(&expected);
                let decoded = String::from_utf8(decoded).unwrap();
                // A space of its own before the text belongs to SentencePiece, not to the text.
                let expected = case["decoded"].as_str().unwrap().trim_start();
                assert_eq!(decoded.trim_start(), expected, "{} by {kind}", fixture.name);
            }
        }
    }
}

#[test]
fn conversations_are_written_as_transformers_writes_them() {
    for fixture in fixtures() {
        let config = fixture.config();
        let text = |key: &str| config[key].as_str().unwrap_or_default().to_owned();
        let source = config["chat_template"].as_str().unwrap();
        let template = ChatTemplate::parse(source, &text("bos_token"), &text("eos_token")).unwrap();
        let [(_, tokenizer), _] = fixture.tokenizers();
        for case in fixture.chats() {
            let empty = Map::new();
            let conversation = Conversation {
                messages: &case.messages,
                tools: case.tools.as_deref(),
                add_generation_prompt: case.add_generation_prompt,
                variables: &empty,
            };
            let rendered = template.render(&conversation, 0);
            if let Some(refused) = case.refused {
                let said = rendered.unwrap_err().to_string();
                assert!(said.contains(&refused), "{}: {said}", fixture.name);
                continue;
            }
            let text = rendered.unwrap();
            assert_eq!(Some(&text), case.text.as_ref(), "{}", fixture.name);
            let tokens = tokenizer.pieces(&text).unwrap();
            assert_eq!(tokens, case.token_ids, "{}: {text:?}", fixture.name);
        }
    }
}
