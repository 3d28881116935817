//! Decoders.

use std::sync::Arc;
use std::time::Instant;

use axum::response::Response;
use serde_json::{Value, json};
use tidegate_agent::Slot;
use tidegate_generation::{Delta, Finish, Scored, Tokenizer};

use super::parameters::Parameters;
use super::shapes::{self, Reason};
use super::{ANSWER_TOKENS, Request};
use crate::api::app::{App, Generating};
use crate::api::error::{ApiError, Fault};
use crate::api::inference::Arrived;
use crate::api::openai::generation::{self, Asked, Prompt, begin, failed};
use crate::api::sse::{self, Lines, Script};
use crate::engine::Event;
use crate::engine::decoder::Piece;

/// Bytes of a text that are read for each token that is kept of it; tokens of texts have four to five
/// on average.
const TOKEN_BYTES: usize = 16;

/// A request, read.
pub struct Generate {
    asked: Asked,
    form: Form,
    pub stream: bool,
}

/// How it is answered.
struct Form {
    details: bool,
    /// Alternatives to each token.
    top: usize,
    /// The tokens of the prompt, where they are told.
    prompt: Option<Vec<u32>>,
    /// What stands before the text.
    before: String,
    seed: Option<u64>,
}

pub fn read(app: &App, body: &Arrived) -> Result<Generate, ApiError> {
    let request: Request<Parameters> = body.json()?;
    let parameters = request.parameters.unwrap_or_default();
    parameters.check()?;
    let generating = app.generating()?;
    let tokens = match parameters.truncate {
        None => generation::tokens(generating, body, &request.inputs)?,
        Some(most) => last_tokens(generating, &request.inputs, most)?,
    };
    let details = parameters.details == Some(true);
    let told = details && parameters.decoder_input_details == Some(true);
    let top = parameters.top_n_tokens.unwrap_or(0) as usize;
    let seed = parameters.seed();
    let form = Form {
        details,
        top,
        prompt: told.then(|| tokens.clone()),
        before: match parameters.return_full_text {
            Some(true) => request.inputs,
            _ => String::new(),
        },
        seed,
    };
    let prompt_tokens = tokens.len();
    let prompt = Prompt {
        tokens,
        otherwise: ANSWER_TOKENS,
        alternatives: Some(top),
        score_prompt: told,
    };
    let tasks = generation::tasks(app, &parameters.options(seed), prompt)?;
    Ok(Generate {
        asked: Asked {
            tasks,
            prompt_tokens,
            streaming: None,
            form: parameters.form()?,
        },
        form,
        stream: request.stream == Some(true),
    })
}

/// The last tokens of a text, at most `most`, behind the token that begins a prompt if there is one.
///
/// Only as much of a long text is read as can have so many.
fn last_tokens(generating: &Generating, text: &str, most: usize) -> Result<Vec<u32>, ApiError> {
    let most = most.min(generating.context);
    let mut start = text.len().saturating_sub(most * TOKEN_BYTES);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let tokens = generating.tokenizer.encode(&text[start..]);
    let mut tokens = tokens.map_err(|error| ApiError::new(Fault::Tokenizer, error.to_string()))?;
    let begin = generating.tokenizer.begin();
    let kept = usize::from(begin.is_some() && tokens.first().copied() == begin).min(most);
    tokens.drain(kept..kept.max(tokens.len().saturating_sub(most - kept)));
    Ok(tokens)
}

impl Generate {
    pub async fn whole(
        self,
        app: &App,
        slot: Slot,
        deadline: Option<Instant>,
    ) -> Result<Value, ApiError> {
        let Generate {
            mut asked, form, ..
        } = self;
        if !form.details {
            // Nobody reads the probabilities.
            asked
                .tasks
                .iter_mut()
                .for_each(|task| task.alternatives = None);
        }
        let tokenizer = app.generating()?.tokenizer.clone();
        let mut events = begin(app, asked, slot, deadline).await?;
        let mut text = Written::new(form, tokenizer);
        loop {
            match events.recv().await {
                Some(Event::Started) => {}
                Some(Event::Output(piece)) => text.take(piece.delta)?,
                Some(Event::Finished(_)) => return Ok(text.whole()),
                Some(Event::Failed(failure)) => return Err(failed(&failure)),
                None => return Err(ApiError::internal("the engine has ended")),
            }
        }
    }

    pub async fn stream(
        self,
        app: Arc<App>,
        slot: Slot,
        deadline: Option<Instant>,
    ) -> Result<Response, ApiError> {
        if self.form.prompt.is_some() {
            let message = "decoder_input_details is not supported in a stream";
            let param = "decoder_input_details";
            return Err(ApiError::param(Fault::Invalid, param, message));
        }
        let tokenizer = app.generating()?.tokenizer.clone();
        let read = self.asked.prompt_tokens;
        let events = begin(&app, self.asked, slot, deadline).await?;
        let script = Tokens {
            text: Written::new(self.form, tokenizer),
            read,
            sent: 0,
        };
        Ok(sse::stream(events, Vec::new(), script))
    }
}

/// A text while its tokens come.
struct Written {
    form: Form,
    tokenizer: Arc<Tokenizer>,
    text: String,
    tokens: Vec<Value>,
    /// The alternatives to each token.
    tops: Vec<Value>,
    prompt_scored: Vec<Scored>,
    reason: Option<Reason>,
}

impl Written {
    fn new(form: Form, tokenizer: Arc<Tokenizer>) -> Written {
        Written {
            text: form.before.clone(),
            form,
            tokenizer,
            tokens: Vec::new(),
            tops: Vec::new(),
            prompt_scored: Vec::new(),
            reason: None,
        }
    }

    /// # Errors
    /// The text cannot go on.
    fn take(&mut self, delta: Delta) -> Result<(), ApiError> {
        self.text += &delta.text;
        self.prompt_scored.extend(delta.prompt_scored);
        let mut text = &delta.text[..];
        for (index, &token) in delta.tokens.iter().enumerate() {
            let scored = delta.scored.get(index);
            let special = !self.tokenizer.is_text(token);
            let logprob = scored.map(|scored| scored.logprob);
            self.tokens
                .push(shapes::token(token, text, logprob, special));
            // What several tokens add together is told once.
            text = "";
            let top = scored.map_or(&[][..], |scored| &scored.top);
            let top: Vec<Value> = top
                .iter()
                .map(|&(token, logprob)| self.token(token, Some(logprob)))
                .collect();
            self.tops.push(json!(top));
        }
        self.reason = match delta.finish {
            None => None,
            Some(Finish::End) => Some(Reason::End),
            Some(Finish::Stop(_)) => Some(Reason::Stop),
            Some(Finish::Length) => Some(Reason::Length),
            Some(Finish::Failed(problem)) => return Err(ApiError::internal(problem)),
        };
        Ok(())
    }

    /// A token apart from others.
    fn token(&self, token: u32, logprob: Option<f32>) -> Value {
        let text = String::from_utf8_lossy(self.tokenizer.vocabulary().bytes(token));
        shapes::token(token, &text, logprob, !self.tokenizer.is_text(token))
    }

    fn details(&self) -> Value {
        shapes::details(self.reason, self.tokens.len(), self.form.seed)
    }

    fn whole(self) -> Value {
        let details = self.form.details.then(|| {
            let mut details = self.details();
            details["prefill"] = json!(self.prefill());
            details["tokens"] = json!(self.tokens);
            if self.form.top > 0 {
                details["top_tokens"] = json!(self.tops);
            }
            details
        });
        shapes::whole(&self.text, details)
    }

    /// The tokens of the prompt; the first has no probability.
    fn prefill(&self) -> Vec<Value> {
        let Some(prompt) = &self.form.prompt else {
            return Vec::new();
        };
        let logprobs = self.prompt_scored.iter().map(|scored| Some(scored.logprob));
        let logprobs = std::iter::once(None).chain(logprobs);
        let tokens = prompt.iter().zip(logprobs);
        let token = |(&token, logprob): (&u32, Option<f32>)| {
            let mut told = self.token(token, logprob);
            if let Some(told) = told.as_object_mut() {
                told.remove("special");
            }
            told
        };
        tokens.map(token).collect()
    }
}

/// A line for each token.
struct Tokens {
    text: Written,
    /// Tokens of the prompt.
    read: usize,
    sent: usize,
}

impl Tokens {
    fn piece(&mut self, piece: Piece) -> Result<Lines, ApiError> {
        self.text.take(piece.delta)?;
        let count = self.text.tokens.len();
        let mut lines = Vec::new();
        for at in self.sent..count {
            let ended = self.text.reason.is_some() && at + 1 == count;
            let end = ended.then(|| {
                let mut details = self.text.details();
                details["input_length"] = json!(self.read);
                (&self.text.text[..], details)
            });
            let mut line = shapes::line(at + 1, self.text.tokens[at].clone(), end);
            if self.text.form.top > 0 {
                line["top_tokens"] = self.text.tops[at].clone();
            }
            lines.push(sse::data(&line));
        }
        self.sent = count;
        Ok(Lines {
            lines,
            ..Lines::default()
        })
    }
}

impl Script for Tokens {
    type Output = Piece;

    fn lines(&mut self, event: Option<Event<Piece>>) -> Lines {
        match event {
            Some(Event::Started) => Lines::default(),
            Some(Event::Output(piece)) => self.piece(piece).unwrap_or_else(shapes::failed),
            Some(Event::Finished(_)) => Lines {
                last: true,
                ..Lines::default()
            },
            Some(Event::Failed(failure)) => shapes::failed(failed(&failure)),
            None => shapes::failed(ApiError::internal("the engine has ended")),
        }
    }
}
