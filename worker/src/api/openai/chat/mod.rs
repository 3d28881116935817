//! `POST /v1/chat/completions`.

mod messages;
mod reply;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tidegate_generation::{self as forms, Schema, TemplateValue};

use self::messages::render;
use self::reply::Manner;
use super::check_model;
use super::generation::{self, Asked, Form, Options, Prompt, Tools, id};
use crate::api::app::App;
use crate::api::error::{ApiError, Fault};
use crate::api::inference::Arrived;

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
    parallel_tool_calls: Option<bool>,
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
    strict: Option<bool>,
}

/// A conversation, read.
pub struct Chat {
    asked: Asked,
    manner: Manner,
}

pub fn read(app: &App, body: &Arrived) -> Result<Chat, ApiError> {
    let request: Request = body.json()?;
    check_model(app, request.model.as_deref())?;
    let generating = app.generating()?;
    request.refuse_unsupported()?;
    request.options.at_least_one_token()?;
    let streaming = request.options.streaming()?;
    let alternatives = request.alternatives()?;
    let format = request.format()?;
    let template = generating.template.as_ref();
    let tools = Tools::read(
        request.tools,
        request.tool_choice,
        request.parallel_tool_calls,
        template,
    )?;
    let form = tools.form(format.as_ref()).or(format);
    if let Some(form) = &form {
        generation::check(form)?;
    }
    let text = render(
        generating,
        request.messages,
        &tools,
        request.chat_template_kwargs,
    )?;
    let tokens = generation::tokens(generating, body, &text)?;
    let prompt_tokens = tokens.len();
    let prompt = Prompt {
        tokens,
        otherwise: generating.answer_tokens,
        alternatives,
        score_prompt: false,
    };
    let tasks = generation::tasks(app, &request.options, prompt)?;
    Ok(Chat {
        manner: Manner {
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
            streaming,
            form,
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

    /// The form that `response_format` asks for.
    fn format(&self) -> Result<Option<Form>, ApiError> {
        const FIELD: &str = "response_format";
        let wrong = |message: String| Err(ApiError::param(Fault::Invalid, FIELD, message));
        let Some(format) = &self.response_format else {
            return Ok(None);
        };
        let json = |schema, strict| {
            Ok(Some(Form {
                form: forms::Form::Json(Schema { schema, strict }),
                field: FIELD,
                enforced: true,
            }))
        };
        match &format.kind[..] {
            "text" => Ok(None),
            "json_object" => json(json!({ "type": "object" }), true),
            "json_schema" => {
                let given = format.json_schema.as_ref();
                let Some((schema, strict)) =
                    given.and_then(|given| Some((given.schema.clone()?, given.strict)))
                else {
                    return wrong("response_format.json_schema.schema is missing".to_owned());
                };
                if !schema.is_object() {
                    return wrong(format!(
                        "response_format.json_schema.schema is {}; expected an object",
                        generation::shown(&schema)
                    ));
                }
                // Whatever cannot be held is refused, unless the client says that it may be.
                json(schema, strict != Some(false))
            }
            other => wrong(format!(
                "response_format.type is {other:?}; expected text, json_object or json_schema"
            )),
        }
    }
}
