//! Tools: how they are shown to a model, what form its answer must have, and the calls in it.
//!
//! Models write a call as JSON with a name and arguments, bare or between `<tool_call>` marks, as
//! the models of Hermes and Qwen do.

use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_generation::TemplateValue;

use super::id;
use crate::api::error::{ApiError, Fault};

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

/// The most tools of one request.
const MAX_TOOLS: usize = 128;

/// What a request offers.
#[derive(Debug, Default)]
pub struct Tools {
    /// As they were sent.
    pub shown: Vec<TemplateValue>,
    /// The same, to look into.
    pub offered: Vec<Value>,
    pub choice: Choice,
}

/// What a model may do with tools.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// It must not call any.
    None,
    #[default]
    Auto,
    /// It must call one of them.
    Required,
    /// It must call this one.
    Named(String),
}

/// A call that a model wrote.
#[derive(Debug, PartialEq, Eq)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    /// JSON, as text.
    pub arguments: String,
}

#[derive(Deserialize)]
struct Written {
    name: String,
    #[serde(alias = "parameters")]
    arguments: Value,
}

impl Tools {
    pub fn read(
        tools: Option<Vec<TemplateValue>>,
        choice: Option<Value>,
    ) -> Result<Tools, ApiError> {
        let shown = tools.unwrap_or_default();
        let offered: Vec<Value> = shown.iter().map(|tool| json!(tool)).collect();
        let wrong = |param, message: String| Err(ApiError::param(Fault::Invalid, param, message));
        if offered.len() > MAX_TOOLS {
            return wrong(
                "tools",
                format!("{} tools; at most {MAX_TOOLS} are taken", offered.len()),
            );
        }
        for (index, tool) in offered.iter().enumerate() {
            if tool["type"] != "function" {
                return wrong(
                    "tools",
                    format!(
                        "tools[{index}].type is {}; only \"function\" is supported",
                        tool["type"]
                    ),
                );
            }
            if name(tool).is_none() {
                return wrong("tools", format!("tools[{index}].function.name is missing"));
            }
        }
        let choice = match &choice {
            None | Some(Value::Null) => Choice::Auto,
            Some(Value::String(word)) => match &word[..] {
                "none" => Choice::None,
                "auto" => Choice::Auto,
                "required" => Choice::Required,
                other => {
                    return wrong(
                        "tool_choice",
                        format!(
                            "tool_choice is {other:?}; expected none, auto, required or a function"
                        ),
                    );
                }
            },
            Some(object) => match object["function"]["name"].as_str() {
                Some(wanted) if offered.iter().any(|tool| name(tool) == Some(wanted)) => {
                    Choice::Named(wanted.to_owned())
                }
                _ => {
                    return wrong(
                        "tool_choice",
                        "tool_choice names no function of tools".to_owned(),
                    );
                }
            },
        };
        if offered.is_empty() && matches!(choice, Choice::Required | Choice::Named(_)) {
            return wrong("tool_choice", "tool_choice needs tools".to_owned());
        }
        Ok(Tools {
            shown,
            offered,
            choice,
        })
    }

    /// Whether the model may call any.
    pub fn may_call(&self) -> bool {
        !self.offered.is_empty() && self.choice != Choice::None
    }

    /// The form of an answer that must be a call.
    pub fn schema(&self) -> Option<Value> {
        let wanted = |tool: &&Value| match &self.choice {
            Choice::Required => true,
            Choice::Named(wanted) => name(tool) == Some(wanted),
            Choice::None | Choice::Auto => false,
        };
        let calls: Vec<Value> = (self.offered.iter().filter(wanted))
            .map(|tool| {
                let parameters = match &tool["function"]["parameters"] {
                    Value::Null => json!({ "type": "object" }),
                    schema => schema.clone(),
                };
                json!({
                    "type": "object",
                    "properties": {
                        "name": { "const": name(tool) },
                        "arguments": parameters,
                    },
                    "required": ["name", "arguments"],
                    "additionalProperties": false,
                })
            })
            .collect();
        match calls.len() {
            0 => None,
            1 => calls.into_iter().next(),
            _ => Some(json!({ "anyOf": calls })),
        }
    }

    /// What a model whose chat template shows no tools is told of them.
    pub fn described(&self) -> String {
        let tools: Vec<String> = (self.offered.iter())
            .map(|tool| tool["function"].to_string())
            .collect();
        format!(
            "You may call functions. They are, in JSON:\n{}\nTo call one, answer with nothing but {OPEN}{{\"name\": NAME, \"arguments\": OBJECT}}{CLOSE}",
            tools.join("\n")
        )
    }

    /// Whether an answer that begins like this may be a call; None while that is open.
    pub fn begins_call(&self, text: &str) -> Option<bool> {
        let text = text.trim_start();
        if text.starts_with(OPEN) || text.starts_with('{') {
            return Some(true);
        }
        match OPEN.starts_with(text) {
            true => None,
            false => Some(false),
        }
    }

    /// The calls in an answer, and the text that is none.
    pub fn calls(&self, answer: &str) -> (String, Vec<ToolCall>) {
        let trimmed = answer.trim();
        if let Some(call) = self.call(trimmed) {
            return (String::new(), vec![call]);
        }
        let mut calls = Vec::new();
        let mut text = String::new();
        let mut rest = answer;
        while let Some((before, after)) = rest.split_once(OPEN) {
            let (inside, behind) = after.split_once(CLOSE).unwrap_or((after, ""));
            match self.call(inside.trim()) {
                Some(call) => {
                    text += before;
                    calls.push(call);
                }
                None => text += &rest[..rest.len() - behind.len()],
            }
            rest = behind;
        }
        text += rest;
        match calls.is_empty() {
            true => (answer.to_owned(), calls),
            false => (text.trim().to_owned(), calls),
        }
    }

    fn call(&self, json: &str) -> Option<ToolCall> {
        let written: Written = serde_json::from_str(json).ok()?;
        let known = self
            .offered
            .iter()
            .any(|tool| name(tool) == Some(&written.name));
        known.then(|| ToolCall {
            id: id("call"),
            name: written.name,
            arguments: written.arguments.to_string(),
        })
    }
}

impl ToolCall {
    pub fn json(&self) -> Value {
        json!({
            "id": self.id,
            "type": "function",
            "function": { "name": self.name, "arguments": self.arguments },
        })
    }
}

fn name(tool: &Value) -> Option<&str> {
    tool["function"]["name"].as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools(choice: Value) -> Tools {
        let tools = r#"[{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}},
            {"type": "function", "function": {"name": "sub"}}]"#;
        let tools = serde_json::from_str(tools).expect("JSON");
        Tools::read(Some(tools), Some(choice)).expect("valid")
    }

    #[test]
    fn calls_are_found_bare_and_marked() {
        let tools = tools(json!("auto"));
        let (text, calls) = tools.calls(" {\"name\": \"add\", \"arguments\": {\"a\": 1}}\n");
        assert_eq!(
            (&text[..], &calls[0].name[..], &calls[0].arguments[..]),
            ("", "add", "{\"a\":1}")
        );
        let (text, calls) = tools.calls("Sure. <tool_call>\n{\"name\": \"sub\", \"arguments\": {}}\n</tool_call><tool_call>{\"name\": \"add\", \"parameters\": {}}");
        assert_eq!((&text[..], calls.len()), ("Sure.", 2));
        for plain in [
            "{\"name\": \"other\", \"arguments\": {}}",
            "no call",
            "<tool_call>broken</tool_call>",
        ] {
            assert_eq!(tools.calls(plain), (plain.to_owned(), vec![]));
        }
    }

    #[test]
    fn a_choice_becomes_a_schema() {
        assert!(tools(json!("auto")).schema().is_none());
        assert_eq!(
            tools(json!("required")).schema().expect("some")["anyOf"]
                .as_array()
                .map(Vec::len),
            Some(2)
        );
        let named = json!({ "type": "function", "function": { "name": "sub" } });
        assert_eq!(
            tools(named).schema().expect("some")["properties"]["name"]["const"],
            "sub"
        );
        let missing = json!({ "type": "function", "function": { "name": "mul" } });
        assert!(Tools::read(None, Some(missing)).is_err());
    }

    #[test]
    fn the_beginning_tells_a_call() {
        let tools = tools(json!("auto"));
        let known =
            ["", " <tool", "<tool_call>{", "{\"", "Hello"].map(|text| tools.begins_call(text));
        assert_eq!(known, [None, None, Some(true), Some(true), Some(false)]);
    }
}
