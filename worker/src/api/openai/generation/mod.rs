//! What chats and completions have in common: from options and prompts to answers that were begun,
//! and from their parts to a body, whole or as a stream.

mod calls;
mod logprobs;
mod options;
mod prompt;
mod stream;
mod tools;

use std::time::Instant;

use serde::Serialize;
use serde_json::Value;
use tidegate_agent::Slot;
use tidegate_generation::{self as forms, Finish, GrammarError, Scored, Task, choice_seed};
use tokio::sync::mpsc::Receiver;

pub use calls::{CallReader, Part};
pub use logprobs::{chat_logprobs, completion_logprobs};
pub use options::{Options, Stop, Streaming, any_seed};
pub use prompt::tokens;
pub use stream::{Shape, stream};
pub use tools::Tools;

use crate::api::app::{App, Generating};
use crate::api::error::{ApiError, Fault};
use crate::api::grammars::MakeError;
use crate::engine::decoder::Piece;
use crate::engine::{Engine as _, Event, Failure, Request};

/// Answers that were asked for, checked and not begun.
pub struct Asked {
    pub tasks: Vec<Task>,
    /// Tokens of all prompts, each counted once.
    pub prompt_tokens: usize,
    pub streaming: Option<Streaming>,
    pub form: Option<Form>,
}

/// What an answer must look like, and the field that says so.
pub struct Form {
    pub form: forms::Form,
    pub field: &'static str,
    /// Whether it is enforced. One that is not is only checked: whether it could be.
    pub enforced: bool,
}

/// What a task is made of beside [`Options`].
pub struct Prompt {
    pub tokens: Vec<u32>,
    /// The longest answer if the request does not say.
    pub otherwise: usize,
    pub alternatives: Option<usize>,
    pub score_prompt: bool,
}

/// As OpenAI counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    pub prompt_tokens: usize,
    pub completion_tokens: usize,
    pub total_tokens: usize,
    pub prompt_tokens_details: Details,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Details {
    /// Tokens of prompts that an earlier request had.
    pub cached_tokens: usize,
}

impl Usage {
    pub fn of_prompt(tokens: usize) -> Usage {
        Usage {
            prompt_tokens: tokens,
            total_tokens: tokens,
            ..Usage::default()
        }
    }

    pub fn add(&mut self, piece: &Piece) {
        self.completion_tokens += piece.delta.tokens.len();
        self.total_tokens = self.prompt_tokens + self.completion_tokens;
        let cached = &mut self.prompt_tokens_details.cached_tokens;
        *cached = (*cached).max(piece.reused);
    }
}

/// Tasks for one prompt: as many as the request wants answers.
pub fn tasks(app: &App, options: &Options, prompt: Prompt) -> Result<Vec<Task>, ApiError> {
    let generating = app.generating()?;
    let tokenizer = &generating.tokenizer;
    let vocabulary = tokenizer.vocabulary().len();
    if prompt.tokens.is_empty() {
        return Err(ApiError::new(Fault::Empty, "The prompt has no tokens"));
    }
    let room = generating.context.saturating_sub(prompt.tokens.len());
    let stated = options.max_tokens()?;
    let max_tokens = stated.unwrap_or(prompt.otherwise.min(room));
    if max_tokens > room || room == 0 {
        let found = prompt.tokens.len().to_string();
        return Err(too_long(generating, &found, Some(max_tokens)));
    }
    let sampling = options.sampling(vocabulary)?;
    let (min_tokens, stops) = (options.min_tokens()?, options.stops()?);
    if min_tokens > max_tokens {
        let message = format!("min_tokens is {min_tokens}, the answer has at most {max_tokens}");
        return Err(ApiError::param(Fault::Invalid, "min_tokens", message));
    }
    let choices = options.choices()?;
    let group = any_seed();
    let tasks = (0..choices)
        .map(|choice| {
            let mut sampling = sampling.clone();
            sampling.seed = choice_seed(sampling.seed, choice as u64);
            Task {
                prompt: prompt.tokens.clone(),
                max_tokens,
                min_tokens,
                ignore_end: options.ignore_eos == Some(true),
                sampling,
                stops: stops.clone(),
                show_stop: options.include_stop_str_in_output == Some(true),
                alternatives: prompt.alternatives,
                score_prompt: prompt.score_prompt,
                grammar: None,
                group,
            }
        })
        .collect();
    Ok(tasks)
}

/// Has the answers held to a form.
async fn hold(generating: &Generating, tasks: &mut [Task], form: Form) -> Result<(), ApiError> {
    let Form {
        form,
        field,
        enforced,
    } = form;
    let made = generating.grammars.grammar(form).await;
    let grammar = made.map_err(|error| refused(field, error))?;
    if enforced {
        for task in tasks {
            task.grammar = Some(grammar.clone());
        }
    }
    Ok(())
}

/// Refuses a form that is too large, before the prompt is made in which it may stand.
pub fn check(form: &Form) -> Result<(), ApiError> {
    let checked = form.form.check();
    checked.map_err(|error| refused(form.field, MakeError::Grammar(error)))
}

fn refused(field: &'static str, error: MakeError) -> ApiError {
    match error {
        MakeError::Busy => ApiError::new(Fault::Expired, error.to_string()),
        MakeError::Grammar(GrammarError::Schema {
            function: Some(function),
            problem,
        }) => {
            let message =
                format!("{field}: the parameters of {function:?} cannot be used: {problem}");
            ApiError::param(Fault::Invalid, field, message)
        }
        error => ApiError::param(Fault::Invalid, field, format!("{field}: {error}")),
    }
}

/// A value in an error, cut where it is long.
pub fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// `prompt` is how many tokens it has, as far as they were counted.
fn too_long(generating: &Generating, prompt: &str, answer: Option<usize>) -> ApiError {
    let answer = answer.map_or(String::new(), |answer| {
        format!(", and {answer} were asked for the answer")
    });
    let message = format!(
        "This model's maximum context length is {} tokens; the prompt has {prompt}{answer}",
        generating.context
    );
    ApiError::new(Fault::TooLong, message)
}

/// Submits what was asked, and waits until it is begun.
pub async fn begin(
    app: &App,
    mut asked: Asked,
    slot: Slot,
    deadline: Option<Instant>,
) -> Result<Receiver<Event<Piece>>, ApiError> {
    let generating = app.generating()?;
    if let Some(form) = asked.form.take() {
        hold(generating, &mut asked.tasks, form).await?;
    }
    let cost: usize = asked
        .tasks
        .iter()
        .map(|task| task.prompt.len() + task.max_tokens)
        .sum();
    let capacity = app.admission.capacity();
    if capacity.tokens.is_some_and(|tokens| cost as u64 > tokens) {
        let message = format!(
            "The request may take {cost} tokens; this worker holds {} at once",
            capacity.tokens.unwrap_or(0)
        );
        return Err(ApiError::new(Fault::TooLong, message));
    }
    slot.charge(cost as u64)
        .map_err(|_| ApiError::full(capacity))?;
    let mut events = generating.engine.submit(Request {
        input: asked.tasks,
        cost: cost as u64,
        deadline,
        slot,
    });
    match events.recv().await {
        Some(Event::Started) => Ok(events),
        Some(Event::Failed(failure)) => Err(failed(&failure)),
        Some(_) => Err(ApiError::internal(
            "the engine's first event is not the first",
        )),
        None => Err(ApiError::internal("the engine has ended")),
    }
}

pub fn failed(failure: &Failure) -> ApiError {
    match failure {
        Failure::Expired => ApiError::expired(),
        failure => ApiError::internal(failure.to_string()),
    }
}

/// One answer, whole.
#[derive(Debug, Default)]
pub struct Whole {
    pub text: String,
    pub scored: Vec<Scored>,
    pub prompt_scored: Vec<Scored>,
    pub finish: Option<Finish>,
}

/// Waits for all answers.
pub async fn whole(
    mut events: Receiver<Event<Piece>>,
    choices: usize,
    mut usage: Usage,
) -> Result<(Vec<Whole>, Usage), ApiError> {
    let mut answers: Vec<Whole> = (0..choices).map(|_| Whole::default()).collect();
    loop {
        match events.recv().await {
            Some(Event::Started) => {}
            Some(Event::Output(piece)) => {
                usage.add(&piece);
                if let Some(answer) = answers.get_mut(piece.choice) {
                    answer.text += &piece.delta.text;
                    answer.scored.extend(piece.delta.scored);
                    answer.prompt_scored.extend(piece.delta.prompt_scored);
                    answer.finish = piece.delta.finish.or(answer.finish.take());
                }
            }
            Some(Event::Finished(_)) => return Ok((answers, usage)),
            Some(Event::Failed(failure)) => return Err(failed(&failure)),
            None => return Err(ApiError::internal("the engine has ended")),
        }
    }
}

/// As OpenAI names it.
pub fn finish_reason(finish: &Finish) -> &'static str {
    match finish {
        Finish::End | Finish::Stop(_) => "stop",
        Finish::Length => "length",
        Finish::Failed(_) => "error",
    }
}

/// An id such as `chatcmpl-0123456789abcdef01234567`.
pub fn id(prefix: &str) -> String {
    format!("{prefix}-{:016x}{:08x}", any_seed(), any_seed() as u32)
}
