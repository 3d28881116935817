//! `POST /v1/completions`.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_agent::Slot;
use tidegate_generation::{Finish, Scored};

use super::check_model;
use super::generation::{
    self, Asked, Options, Prompt, Shape, Usage, Whole, completion_logprobs, finish_reason, id,
};
use crate::api::app::{App, Generating};
use crate::api::error::{ApiError, Fault};
use crate::api::inference::Arrived;
use crate::api::input::{Entry, Inputs};
use crate::engine::decoder::Piece;

/// OpenAI's default.
const ANSWER_TOKENS: usize = 16;

/// The most alternatives to a token; OpenAI takes five.
const MAX_TOP: i64 = 20;

#[derive(Debug, Deserialize)]
struct Request {
    model: Option<String>,
    prompt: Inputs,
    #[serde(flatten)]
    options: Options,
    echo: Option<bool>,
    logprobs: Option<i64>,
    suffix: Option<String>,
    response_format: Option<Value>,
}

/// Prompts, read.
pub struct Completion {
    pub asked: Asked,
    form: Form,
}

struct Form {
    id: String,
    created: u64,
    model: String,
    logprobs: bool,
    /// For each choice its prompt, if that is part of the answer.
    echoed: Vec<Option<Echoed>>,
}

#[derive(Clone)]
struct Echoed {
    text: String,
    first: u32,
}

pub fn read(app: &App, body: &Arrived) -> Result<Completion, ApiError> {
    let request: Request = body.json()?;
    check_model(app, request.model.as_deref())?;
    let generating = app.generating()?;
    for (name, is_there) in [
        (
            "suffix",
            request
                .suffix
                .as_ref()
                .is_some_and(|suffix| !suffix.is_empty()),
        ),
        (
            "response_format",
            request
                .response_format
                .as_ref()
                .is_some_and(|format| format["type"] != "text"),
        ),
    ] {
        if is_there {
            return Err(ApiError::param(
                Fault::Invalid,
                name,
                format!("{name} is not supported by this route"),
            ));
        }
    }
    let alternatives = match request.logprobs {
        None => None,
        Some(top @ 0..=MAX_TOP) => Some(top as usize),
        Some(top) => {
            let message = format!("logprobs is {top}; expected 0 to {MAX_TOP}");
            return Err(ApiError::param(Fault::Invalid, "logprobs", message));
        }
    };
    let prompts = request.prompt.0;
    if prompts.is_empty() || prompts.len() > app.limits.max_texts.get() {
        let message = format!(
            "prompt holds {} prompts; expected 1 to {}",
            prompts.len(),
            app.limits.max_texts
        );
        return Err(ApiError::param(Fault::Invalid, "prompt", message));
    }
    let streaming = request.options.streaming()?;
    let echo = request.echo == Some(true);
    let (mut tasks, mut echoed, mut prompt_tokens) = (Vec::new(), Vec::new(), 0);
    for entry in prompts {
        let tokens = tokens(generating, body, entry)?;
        prompt_tokens += tokens.len();
        let shown = (echo && !tokens.is_empty()).then(|| Echoed {
            text: String::from_utf8_lossy(&generating.tokenizer.decode(&tokens)).into_owned(),
            first: tokens[0],
        });
        let prompt = Prompt {
            tokens,
            otherwise: ANSWER_TOKENS,
            alternatives,
            score_prompt: echo && alternatives.is_some(),
        };
        let more = generation::tasks(app, &request.options, prompt)?;
        echoed.extend(more.iter().map(|_| shown.clone()));
        tasks.extend(more);
    }
    Ok(Completion {
        form: Form {
            id: id("cmpl"),
            created: super::now(),
            model: app.name.clone(),
            logprobs: alternatives.is_some(),
            echoed,
        },
        asked: Asked {
            tasks,
            prompt_tokens,
            streaming,
            form: None,
        },
    })
}

fn tokens(generating: &Generating, body: &Arrived, entry: Entry) -> Result<Vec<u32>, ApiError> {
    let vocabulary = generating.tokenizer.vocabulary().len();
    match entry {
        Entry::Text(text) => generation::tokens(generating, body, &text),
        Entry::Ids(ids) => (ids.into_iter())
            .map(|id| match u32::try_from(id) {
                Ok(token) if (token as usize) < vocabulary => Ok(token),
                _ => {
                    let message =
                        format!("token id {id} does not exist, the model has {vocabulary}");
                    Err(ApiError::param(Fault::Tokenizer, "prompt", message))
                }
            })
            .collect(),
    }
}

impl Completion {
    /// Sends the answers, whole or as they come.
    pub async fn reply(
        self,
        app: Arc<App>,
        slot: Slot,
        deadline: Option<Instant>,
    ) -> Result<Response, ApiError> {
        let Completion { asked, form } = self;
        let usage = Usage::of_prompt(asked.prompt_tokens);
        let streaming = asked.streaming;
        let events = generation::begin(&app, asked, slot, deadline).await?;
        match streaming {
            Some(streaming) => {
                let letters = form.echoed.iter().map(|_| 0).collect();
                Ok(generation::stream(
                    events,
                    Chunks { app, form, letters },
                    streaming,
                    usage,
                ))
            }
            None => {
                let (answers, usage) = generation::whole(events, form.echoed.len(), usage).await?;
                let choices: Vec<Value> = (answers.into_iter().enumerate())
                    .map(|(index, answer)| form.choice(&app, index, answer))
                    .collect();
                let mut reply = form.chunk(json!(choices));
                reply["usage"] = json!(usage);
                Ok(Json(reply).into_response())
            }
        }
    }
}

impl Form {
    fn choice(&self, app: &App, index: usize, answer: Whole) -> Value {
        let echoed = self.echoed.get(index).and_then(Option::as_ref);
        let scored: Vec<Scored> = answer
            .prompt_scored
            .into_iter()
            .chain(answer.scored)
            .collect();
        let text = echoed.map_or(String::new(), |echoed| echoed.text.clone()) + &answer.text;
        let reason = answer.finish.as_ref().map_or("stop", finish_reason);
        let logprobs = self.logprobs(app, echoed.map(|echoed| echoed.first), &scored, 0);
        json!({ "index": index, "text": text, "logprobs": logprobs, "finish_reason": reason })
    }

    fn logprobs(&self, app: &App, first: Option<u32>, scored: &[Scored], offset: usize) -> Value {
        match (self.logprobs, app.generating()) {
            (true, Ok(generating)) => {
                completion_logprobs(&generating.tokenizer, first, scored, offset)
            }
            _ => Value::Null,
        }
    }

    fn chunk(&self, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": null,
            "choices": choices,
        })
    }
}

/// The chunks of a streamed completion.
struct Chunks {
    app: Arc<App>,
    form: Form,
    /// Letters of each choice that were sent.
    letters: Vec<usize>,
}

impl Shape for Chunks {
    fn first(&mut self) -> Vec<Value> {
        let echoed = self.form.echoed.iter().enumerate();
        let mut chunks = Vec::new();
        for (index, echoed) in echoed {
            let Some(echoed) = echoed else { continue };
            self.letters[index] = echoed.text.chars().count();
            chunks.push(self.form.chunk(json!([
                { "index": index, "text": echoed.text, "logprobs": null, "finish_reason": null }
            ])));
        }
        chunks
    }

    fn chunks(&mut self, piece: Piece) -> Vec<Value> {
        let Piece { choice, delta, .. } = piece;
        let finish = delta
            .finish
            .as_ref()
            .filter(|finish| !matches!(finish, Finish::Failed(_)));
        let scored: Vec<Scored> = delta
            .prompt_scored
            .into_iter()
            .chain(delta.scored)
            .collect();
        if delta.text.is_empty() && finish.is_none() && scored.is_empty() {
            return Vec::new();
        }
        let logprobs = match scored.is_empty() {
            true => Value::Null,
            false => self
                .form
                .logprobs(&self.app, None, &scored, self.letters[choice]),
        };
        self.letters[choice] += delta.text.chars().count();
        vec![self.form.chunk(json!([{
            "index": choice,
            "text": delta.text,
            "logprobs": logprobs,
            "finish_reason": finish.map(finish_reason),
        }]))]
    }

    fn usage(&self) -> Value {
        self.form.chunk(json!([]))
    }
}
