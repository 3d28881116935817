//! The messages of a conversation, as the model's chat template gets them.

use serde_json::{Map, Value, json};
use tidegate_generation::{Conversation, TemplateError};

use crate::api::app::Generating;
use crate::api::error::{ApiError, Fault};
use crate::api::openai::generation::Tools;

/// The most messages of one conversation.
const MAX_MESSAGES: usize = 4096;

/// The conversation as the model's chat template writes it.
pub fn render(
    generating: &Generating,
    messages: Vec<Value>,
    tools: &Tools,
    variables: Option<Map<String, Value>>,
) -> Result<String, ApiError> {
    let wrong = |message: String| ApiError::param(Fault::Invalid, "messages", message);
    let Some(template) = &generating.template else {
        let message = "This model has no chat template: use /v1/completions";
        return Err(ApiError::new(Fault::WrongTask, message));
    };
    if messages.is_empty() || messages.len() > MAX_MESSAGES {
        return Err(wrong(format!(
            "messages holds {} messages; expected 1 to {MAX_MESSAGES}",
            messages.len()
        )));
    }
    let mut messages = (messages.into_iter().enumerate())
        .map(|(index, message)| plain(index, message).map_err(wrong))
        .collect::<Result<Vec<_>, _>>()?;
    let shown = tools.may_call() && template.shows_tools();
    if tools.may_call() && !shown {
        messages = with_system(messages, &tools.described());
    }
    let conversation = Conversation {
        messages: &messages,
        tools: shown.then_some(&tools.shown[..]),
        add_generation_prompt: true,
        variables: &variables.unwrap_or_default(),
    };
    template
        .render(&conversation, crate::api::openai::now())
        .map_err(|error| match error {
            TemplateError::Refused(_) => wrong(error.to_string()),
            error => ApiError::new(Fault::Invalid, error.to_string()),
        })
}

/// A message as templates expect it: parts of text joined, arguments of calls as objects.
fn plain(index: usize, mut message: Value) -> Result<Value, String> {
    if !message["role"].is_string() {
        return Err(format!("messages[{index}].role is missing"));
    }
    match &message["content"] {
        Value::String(_) => {}
        // Its calls of tools, or a refusal, stand in its place.
        Value::Null if message["role"] == "assistant" => {}
        Value::Array(parts) => {
            let mut text = Vec::new();
            for part in parts {
                match (&part["type"], part["text"].as_str()) {
                    (Value::String(kind), Some(part)) if kind == "text" => {
                        text.push(part.to_owned())
                    }
                    (kind, _) => {
                        return Err(format!(
                            "messages[{index}].content holds a part of type {kind}; this model reads text only"
                        ));
                    }
                }
            }
            message["content"] = Value::String(text.join("\n"));
        }
        other => {
            let found = match other {
                Value::Null => "missing",
                Value::Object(_) => "an object",
                _ => "no text",
            };
            return Err(format!(
                "messages[{index}].content is {found}; expected text or parts of it"
            ));
        }
    }
    if message["content"].is_null() {
        message["content"] = Value::String(String::new());
    }
    let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
    for call in calls.into_iter().flatten() {
        let arguments = call
            .get_mut("function")
            .and_then(|function| function.get_mut("arguments"));
        if let Some(arguments) = arguments
            && let Some(parsed) = arguments
                .as_str()
                .and_then(|text| serde_json::from_str(text).ok())
        {
            *arguments = parsed;
        }
    }
    Ok(message)
}

/// The messages with a text added to that of the system.
fn with_system(mut messages: Vec<Value>, text: &str) -> Vec<Value> {
    match messages
        .first_mut()
        .filter(|first| first["role"] == "system")
    {
        Some(first) => {
            let before = first["content"].as_str().unwrap_or_default();
            first["content"] = Value::String(format!("{before}\n\n{text}"));
        }
        None => messages.insert(0, json!({ "role": "system", "content": text })),
    }
    messages
}
