//! `POST /embed`: a vector for each input; `POST /embed_all`: a vector for each of its tokens.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Truncation;
use crate::api::app::App;
use crate::api::error::{ApiError, Fault};
use crate::api::inference::{Asked, Done, Route};
use crate::api::input::Inputs;
use crate::api::numbers;
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

fn parse(app: &App, body: &[u8]) -> Result<Request, ApiError> {
    let request = serde_json::from_slice(body).map_err(|error| ApiError::unreadable(&error))?;
    app.served()?.scaling()?;
    Ok(request)
}

impl Request {
    fn texts(self, app: &App) -> Result<Texts, ApiError> {
        let manner = Manner {
            field: "inputs",
            prompt: self.prompt_name.as_deref(),
            overlong: self.truncation.overlong(),
        };
        texts::entries(app, self.inputs.0, &manner)
    }
}

fn read_embed(app: &App, body: &[u8]) -> Result<Asked<Form>, ApiError> {
    let request = parse(app, body)?;
    let form = Form {
        dimensions: numbers::dimensions(request.dimensions, app.served()?.width)?,
        scaling: match request.normalize {
            Some(false) => Scaling::None,
            _ => Scaling::Unit,
        },
    };
    Ok(Asked {
        texts: request.texts(app)?,
        want: Want::Result,
        form,
    })
}

fn reply_embed(_: &App, mut done: Done<Form>) -> Result<Response, ApiError> {
    for vector in &mut done.results {
        numbers::cut(vector, done.form.dimensions, done.form.scaling);
    }
    Ok(Json(done.results).into_response())
}

fn read_embed_all(app: &App, body: &[u8]) -> Result<Asked<()>, ApiError> {
    let texts = parse(app, body)?.texts(app)?;
    let (tokens, most) = (texts.tokens(), app.limits.max_rows.get());
    if tokens > most {
        let message = format!("`inputs` has {tokens} tokens, vectors are sent of at most {most}");
        return Err(ApiError::param(Fault::TooMany, "inputs", message));
    }
    Ok(Asked {
        texts,
        want: Want::Tokens,
        form: (),
    })
}

fn reply_embed_all(app: &App, done: Done<()>) -> Result<Response, ApiError> {
    let width = app.served()?.width;
    let rows = done.results.iter().map(|rows| rows.chunks(width).collect());
    let rows: Vec<Vec<&[f32]>> = rows.collect();
    Ok(Json(rows).into_response())
}
