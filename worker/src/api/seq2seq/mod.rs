//! Routes of sequence-to-sequence models: [`completions`] as OpenAI's clients speak it, and
//! [`translate`], with languages by name. [`super::tgi`] has those of text-generation-inference.

mod completions;
mod growing;
mod options;
mod translate;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::response::Response;
use axum::routing::post;
use tidegate_agent::Slot;
use tidegate_seq2seq::{Finish, Scheduler, Task};
use tokio::sync::mpsc::Receiver;

pub use self::completions::{Completion, read as read_completion};
pub use self::growing::Growing;
pub use self::options::{Asked, Options};
use super::app::{App, Writing};
use super::error::{ApiError, Fault};
use super::inference::Call;
use super::{slash, tei};
use crate::engine::seq2seq::Piece;
use crate::engine::{Engine as _, Event, Failure, Request};
use crate::models::{Overlong, Text, TokenizeError};

pub fn routes() -> Router<Arc<App>> {
    slash::with([("/translate", post(translate))])
}

async fn translate(call: Call) -> Response {
    let reply = async |asked: translate::Translate, app, slot, deadline| {
        asked.reply(app, slot, deadline).await
    };
    call.generate("translate", tei::refuse, translate::read, reply)
        .await
}

/// A text's tokens, its end included.
fn encode(writing: &Writing, field: &'static str, text: &str) -> Result<Vec<u32>, ApiError> {
    if text.is_empty() {
        return Err(empty(field));
    }
    let read = writing.tokenizer.encode(Text::One(text), Overlong::Refuse);
    match read {
        Ok(sequence) => Ok(sequence.ids),
        Err(error @ TokenizeError::TooLong { .. }) => {
            Err(ApiError::param(Fault::TooLong, field, error.to_string()))
        }
        Err(error @ TokenizeError::Empty) => {
            Err(ApiError::param(Fault::Empty, field, error.to_string()))
        }
        Err(error) => Err(ApiError::param(Fault::Tokenizer, field, error.to_string())),
    }
}

fn empty(field: &'static str) -> ApiError {
    let message = format!("`{field}` has an empty string: there is nothing to read");
    ApiError::param(Fault::Empty, field, message)
}

/// Submits what was asked, and waits until it is begun.
pub async fn begin(
    app: &App,
    tasks: Vec<Task>,
    slot: Slot,
    deadline: Option<Instant>,
) -> Result<Receiver<Event<Piece>>, ApiError> {
    let writing = app.writing()?;
    let cost: usize = tasks.iter().map(cost).sum();
    let capacity = app.admission.capacity();
    if !tasks
        .iter()
        .all(|task| Scheduler::fits(&writing.limits, task))
        || capacity.tokens.is_some_and(|tokens| cost as u64 > tokens)
    {
        let message = format!(
            "The request may take {cost} tokens of hypotheses; this worker holds {} at once",
            capacity.tokens.unwrap_or(0)
        );
        return Err(ApiError::new(Fault::TooLong, message));
    }
    slot.charge(cost as u64)
        .map_err(|_| ApiError::full(capacity))?;
    let mut events = writing.engine.submit(Request {
        input: tasks,
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

/// Tokens that a task may take.
fn cost(task: &Task) -> usize {
    task.source.len() + task.max_tokens * task.search.width()
}

pub fn failed(failure: &Failure) -> ApiError {
    match failure {
        Failure::Expired => ApiError::expired(),
        failure => ApiError::internal(failure.to_string()),
    }
}

/// Waits for all texts.
pub async fn whole(
    app: &App,
    mut events: Receiver<Event<Piece>>,
    mut texts: Vec<Growing>,
) -> Result<Vec<Growing>, ApiError> {
    let tokenizer = &app.writing()?.tokenizer;
    while texts.iter().any(|text| text.finish().is_none()) {
        match events.recv().await {
            Some(Event::Started | Event::Finished(_)) => {}
            Some(Event::Output(Piece { choice, delta, .. })) => {
                if let Some(text) = texts.get_mut(choice) {
                    text.push(delta, tokenizer)?;
                }
            }
            Some(Event::Failed(failure)) => return Err(failed(&failure)),
            None => return Err(ApiError::internal("the engine has ended")),
        }
    }
    Ok(texts)
}

/// Why a text ended, for those who answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    End,
    Length,
    Stop,
}

impl From<Finish> for Reason {
    fn from(finish: Finish) -> Reason {
        match finish {
            Finish::End => Reason::End,
            Finish::Length => Reason::Length,
        }
    }
}
