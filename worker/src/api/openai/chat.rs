//! `POST /v1/chat/completions`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tidegate_generation::{Conversation, Finish, TemplateError, TemplateValue};

use super::check_model;
use super::generation::{
    self, Asked, Options, Prompt, Shape, Tools, Usage, Whole, chat_logprobs, finish_reason, id,
};
use crate::api::app::{App, Generating};
use crate::api::error::{ApiError, Fault};
use crate::api::inference::Arrived;
use crate::engine::decoder::Piece;

/// The most messages of one conversation.
const MAX_MESSAGES: usize = 4096;

/// The most alternatives to a token.
const MAX_TOP: i64 = 20;

#[derive(Debug, Deserialize)]
struct Request {
    model: Option<String>,
    messages: Vec<Value>,
    #[serde(flatten)]
    options: Options,
    logprobs: Option<bool>,
    top_logprobs: Option<i64>,
    response_format: Option<Format>,
    tools: Option<Vec<TemplateValue>>,
    tool_choice: Option<Value>,
    chat_template_kwargs: Option<Map<String, Value>>,
    // Refused by name.
    functions: Option<Value>,
    function_call: Option<Value>,
    modalities: Option<Vec<String>>,
    audio: Option<Value>,
    prediction: Option<Value>,
    web_search_options: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Format {
    #[serde(rename = "type")]
    kind: String,
    json_schema: Option<JsonSchema>,
}

#[derive(Debug, Deserialize)]
struct JsonSchema {
    schema: Option<Value>,
}

/// A conversation, read.
pub struct Chat {
    pub asked: Asked,
    form: Form,
}

/// How its answer is sent.
struct Form {
    id: String,
    created: u64,
    model: String,
    logprobs: bool,
    tools: Tools,
    choices: usize,
}

pub fn read(app: &App, body: &Arrived) -> Result<Chat, ApiError> {
    let request: Request = body.json()?;
    check_model(app, request.model.as_deref())?;
    let generating = app.generating()?;
    request.refuse_unsupported()?;
    let alternatives = request.alternatives()?;
    let schema = request.schema()?;
    let tools = Tools::read(request.tools, request.tool_choice)?;
    let text = render(
        generating,
        request.messages,
        &tools,
        request.chat_template_kwargs,
    )?;
    let tokens = generating.tokenizer.encode(&text);
    let tokens = tokens.map_err(|error| ApiError::new(Fault::Tokenizer, error.to_string()))?;
    let prompt_tokens = tokens.len();
    let prompt = Prompt {
        tokens,
        otherwise: generating.answer_tokens,
        alternatives,
        score_prompt: false,
        schema: tools.schema().or(schema),
    };
    let tasks = generation::tasks(app, &request.options, prompt)?;
    Ok(Chat {
        form: Form {
            id: id("chatcmpl"),
            created: super::now(),
            model: app.name.clone(),
            logprobs: alternatives.is_some(),
            tools,
            choices: tasks.len(),
        },
        asked: Asked {
            tasks,
            prompt_tokens,
            streaming: request.options.streaming(),
        },
    })
}

impl Request {
    fn refuse_unsupported(&self) -> Result<(), ApiError> {
        let is_audio = |kinds: &Vec<String>| kinds.iter().any(|kind| kind != "text");
        let found = [
            ("functions", self.functions.is_some(), "use tools"),
            (
                "function_call",
                self.function_call.is_some(),
                "use tool_choice",
            ),
            (
                "modalities",
                self.modalities.as_ref().is_some_and(is_audio),
                "this model writes text",
            ),
            ("audio", self.audio.is_some(), "this model writes text"),
            ("prediction", self.prediction.is_some(), "leave it out"),
            (
                "web_search_options",
                self.web_search_options.is_some(),
                "leave it out",
            ),
        ];
        match found.iter().find(|(_, is_there, _)| *is_there) {
            Some((name, _, instead)) => Err(ApiError::param(
                Fault::Invalid,
                name,
                format!("{name} is not supported: {instead}"),
            )),
            None => Ok(()),
        }
    }

    fn alternatives(&self) -> Result<Option<usize>, ApiError> {
        let top = self.top_logprobs.unwrap_or(0);
        if !(0..=MAX_TOP).contains(&top) {
            let message = format!("top_logprobs is {top}; expected 0 to {MAX_TOP}");
            return Err(ApiError::param(Fault::Invalid, "top_logprobs", message));
        }
        match (self.logprobs, top) {
            (Some(true), _) => Ok(Some(top as usize)),
            (_, 0) => Ok(None),
            _ => Err(ApiError::param(
                Fault::Invalid,
                "top_logprobs",
                "top_logprobs needs logprobs to be true",
            )),
        }
    }

    fn schema(&self) -> Result<Option<Value>, ApiError> {
        let wrong =
            |message: String| Err(ApiError::param(Fault::Invalid, "response_format", message));
        let Some(format) = &self.response_format else {
            return Ok(None);
        };
        match &format.kind[..] {
            "text" => Ok(None),
            "json_object" => Ok(Some(json!({ "type": "object" }))),
            "json_schema" => match format
                .json_schema
                .as_ref()
                .and_then(|given| given.schema.clone())
            {
                Some(schema) => Ok(Some(schema)),
                None => wrong("response_format.json_schema.schema is missing".to_owned()),
            },
            other => wrong(format!(
                "response_format.type is {other:?}; expected text, json_object or json_schema"
            )),
        }
    }
}

/// The conversation as the model's chat template writes it.
fn render(
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
        .render(&conversation, super::now())
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
        Value::String(_) | Value::Null => {}
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
            return Err(format!(
                "messages[{index}].content is {other}; expected text or parts of it"
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

impl Chat {
    /// Sends the answers, whole or as they come.
    pub async fn reply(
        self,
        app: std::sync::Arc<App>,
        slot: tidegate_agent::Slot,
        deadline: Option<std::time::Instant>,
    ) -> Result<Response, ApiError> {
        let Chat { asked, form } = self;
        let usage = Usage::of_prompt(asked.prompt_tokens);
        let streaming = asked.streaming;
        let events = generation::begin(&app, asked, slot, deadline).await?;
        match streaming {
            Some(streaming) => {
                let answers = (0..form.choices).map(|_| Answer::default()).collect();
                Ok(generation::stream(
                    events,
                    Chunks { app, form, answers },
                    streaming,
                    usage,
                ))
            }
            None => {
                let (answers, usage) = generation::whole(events, form.choices, usage).await?;
                let choices = answers.into_iter().enumerate();
                let choices: Result<Vec<_>, _> = choices
                    .map(|(index, answer)| form.choice(&app, index, &answer))
                    .collect();
                Ok(Json(json!({
                    "id": form.id,
                    "object": "chat.completion",
                    "created": form.created,
                    "model": form.model,
                    "choices": choices?,
                    "usage": usage,
                    "system_fingerprint": null,
                }))
                .into_response())
            }
        }
    }
}

impl Form {
    fn choice(&self, app: &App, index: usize, answer: &Whole) -> Result<Value, ApiError> {
        let (text, calls) = match self.tools.may_call() {
            true => self.tools.calls(&answer.text),
            false => (answer.text.clone(), Vec::new()),
        };
        let mut message = json!({ "role": "assistant", "content": text, "refusal": null });
        let mut reason = answer.finish.as_ref().map_or("stop", finish_reason);
        if !calls.is_empty() {
            reason = "tool_calls";
            message["tool_calls"] = calls.iter().map(|call| call.json()).collect();
            if text.is_empty() {
                message["content"] = Value::Null;
            }
        }
        let logprobs = match self.logprobs {
            true => chat_logprobs(&app.generating()?.tokenizer, &answer.scored),
            false => Value::Null,
        };
        Ok(
            json!({ "index": index, "message": message, "logprobs": logprobs, "finish_reason": reason }),
        )
    }

    fn chunk(&self, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": null,
            "choices": choices,
        })
    }

    fn delta(&self, index: usize, delta: Value, logprobs: Value, finish: Option<&str>) -> Value {
        self.chunk(json!([{ "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish }]))
    }
}

/// The chunks of a streamed chat.
struct Chunks {
    app: std::sync::Arc<App>,
    form: Form,
    answers: Vec<Answer>,
}

/// What is known of one streamed answer.
#[derive(Default)]
struct Answer {
    /// What may be a call of a tool, and is not sent before that is known.
    held: String,
    /// Whether it is one.
    calls: Option<bool>,
}

impl Chunks {
    fn text(
        &mut self,
        choice: usize,
        text: String,
        finish: Option<&Finish>,
    ) -> (String, Vec<Value>) {
        if !self.form.tools.may_call() {
            return (text, Vec::new());
        }
        let answer = &mut self.answers[choice];
        answer.held += &text;
        if answer.calls.is_none() {
            answer.calls = self.form.tools.begins_call(&answer.held);
        }
        match (answer.calls, finish) {
            (Some(false), _) => (std::mem::take(&mut answer.held), Vec::new()),
            (_, None) => (String::new(), Vec::new()),
            (_, Some(_)) => {
                let (text, calls) = self.form.tools.calls(&answer.held);
                let calls = calls.iter().enumerate().map(|(index, call)| {
                    let mut json = call.json();
                    json["index"] = json!(index);
                    json
                });
                (text, calls.collect())
            }
        }
    }
}

impl Shape for Chunks {
    fn first(&mut self) -> Vec<Value> {
        let role = |index| {
            let delta = json!({ "role": "assistant", "content": "", "refusal": null });
            self.form.delta(index, delta, Value::Null, None)
        };
        (0..self.form.choices).map(role).collect()
    }

    fn chunks(&mut self, piece: Piece) -> Vec<Value> {
        let Piece { choice, delta, .. } = piece;
        let (text, calls) = self.text(choice, delta.text, delta.finish.as_ref());
        let logprobs = match (&self.form.logprobs, self.app.generating()) {
            (true, Ok(generating)) if !delta.scored.is_empty() => {
                chat_logprobs(&generating.tokenizer, &delta.scored)
            }
            _ => Value::Null,
        };
        let mut chunks = Vec::new();
        if !text.is_empty() || !logprobs.is_null() {
            chunks.push(
                self.form
                    .delta(choice, json!({ "content": text }), logprobs, None),
            );
        }
        if !calls.is_empty() {
            chunks.push(
                self.form
                    .delta(choice, json!({ "tool_calls": calls }), Value::Null, None),
            );
        }
        if let Some(finish) = &delta.finish
            && !matches!(finish, Finish::Failed(_))
        {
            let reason = if calls.is_empty() {
                finish_reason(finish)
            } else {
                "tool_calls"
            };
            chunks.push(
                self.form
                    .delta(choice, json!({}), Value::Null, Some(reason)),
            );
        }
        chunks
    }

    fn usage(&self) -> Value {
        self.form.chunk(json!([]))
    }
}
