//! `POST /embed`: a vector for each input; `POST /embed_all`: a vector for each of its tokens.

use serde::Deserialize;

use super::Truncation;
use crate::api::app::App;
use crate::api::error::{ApiError, Fault};
use crate::api::inference::{Arrived, Asked, Done, Route};
use crate::api::input::Inputs;
use crate::api::numbers;
use crate::api::reply::{Reply, json};
use crate::api::texts::{self, Manner, Texts};
use crate::models::{Scaling, Want};

pub const EMBED: Route<Form> = Route {
    method: "embed",
    refuse: super::refuse,
    read: read_embed,
    reply: reply_embed,
};

pub const EMBED_ALL: Route<()> = Route {
    method: "embed_all",
    refuse: super::refuse,
    read: read_embed_all,
    reply: reply_embed_all,
};

#[derive(Deserialize)]
struct Request {
    inputs: Inputs,
    #[serde(flatten)]
    truncation: Truncation,
    prompt_name: Option<String>,
    /// Of `/embed` alone.
    normalize: Option<bool>,
    /// Of `/embed` alone.
    dimensions: Option<i64>,
}

/// How vectors are sent.
pub struct Form {
    dimensions: usize,
    scaling: Scaling,
}

fn parse(app: &App, body: &Arrived) -> Result<Request, ApiError> {
    let request = body.json()?;
    app.served()?.scaling()?;
    Ok(request)
}

impl Request {
    fn texts(self, app: &App, body: &Arrived) -> Result<Texts, ApiError> {
        let manner = Manner {
            field: "inputs",
            prompt: self.prompt_name.as_deref(),
            overlong: self.truncation.overlong(),
        };
        texts::entries(app, body, self.inputs.0, &manner)
    }
}

fn read_embed(app: &App, body: &Arrived) -> Result<Asked<Form>, ApiError> {
    let request = parse(app, body)?;
    let form = Form {
        dimensions: numbers::dimensions(request.dimensions, app.served()?.dimensions)?,
        scaling: match request.normalize {
            Some(false) => Scaling::None,
            _ => Scaling::Unit,
        },
    };
    Ok(Asked {
        texts: request.texts(app, body)?,
        want: Want::Result,
        form,
    })
}

fn reply_embed(_: &App, done: Done<Form>) -> Result<Reply, ApiError> {
    let Form {
        dimensions,
        scaling,
    } = done.form;
    let numbers = done.results.len() * dimensions;
    let vectors = done.results.into_iter().map(move |mut vector| {
        numbers::cut(&mut vector, dimensions, scaling);
        vector
    });
    Ok(Reply::list("[", vectors, "]", numbers))
}

fn read_embed_all(app: &App, body: &Arrived) -> Result<Asked<()>, ApiError> {
    let texts = parse(app, body)?.texts(app, body)?;
    let (tokens, most) = (texts.tokens(), app.limits.max_rows.get());
    if tokens > most {
        let message = format!("`inputs` has {tokens} tokens; at most {most} vectors are sent");
        return Err(ApiError::param(Fault::TooMany, "inputs", message));
    }
    Ok(Asked {
        texts,
        want: Want::Tokens,
        form: (),
    })
}

fn reply_embed_all(app: &App, done: Done<()>) -> Result<Reply, ApiError> {
    let width = app.served()?.width;
    let numbers = done.results.iter().map(Vec::len).sum();
    let texts = done.results.into_iter().enumerate();
    let rows = texts.flat_map(move |(text, numbers)| {
        let count = numbers.len() / width;
        (0..count).map(move |row| {
            let mut out = Vec::new();
            match (text, row) {
                (0, 0) => out.extend(b"[["),
                (_, 0) => out.extend(b",["),
                _ => out.push(b','),
            }
            out.append(&mut json(&&numbers[row * width..][..width]));
            if row + 1 == count {
                out.push(b']');
            }
            out
        })
    });
    Ok(Reply::fragments(
        numbers,
        rows.chain(std::iter::once(b"]".to_vec())),
    ))
}
