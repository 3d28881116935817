//! `POST /v1/embeddings`.
//!
//! Two extensions: `"truncate": true` leaves out what is too much of a long text at its end,
//! without it such a text is refused; `"prompt_name"` takes another prompt than the default one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::{Usage, check_model};
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::inference::{Arrived, Asked, Done, Route};
use crate::api::input::Inputs;
use crate::api::numbers;
use crate::api::reply::{Reply, json};
use crate::api::texts::{self, Manner};
use crate::models::{Overlong, Scaling, Want};

pub const EMBEDDINGS: Route<Form> = Route {
    method: "embeddings",
    refuse: super::refuse,
    read,
    reply,
};

#[derive(Debug, Deserialize)]
struct Request {
    model: Option<String>,
    input: Inputs,
    encoding_format: Option<Format>,
    dimensions: Option<i64>,
    truncate: Option<bool>,
    prompt_name: Option<String>,
}

/// How vectors are written.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Float,
    /// Of little-endian f32.
    Base64,
}

/// How the vectors of a request are sent.
pub struct Form {
    format: Format,
    dimensions: usize,
    scaling: Scaling,
}

#[derive(Serialize)]
struct Item {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector {
    Numbers(Vec<f32>),
    Base64(String),
}

fn read(app: &App, body: &Arrived) -> Result<Asked<Form>, ApiError> {
    let request: Request = body.json()?;
    check_model(app, request.model.as_deref())?;
    let served = app.served()?;
    let form = Form {
        format: request.encoding_format.unwrap_or_default(),
        scaling: served.scaling()?,
        dimensions: numbers::dimensions(request.dimensions, served.dimensions)?,
    };
    let manner = Manner {
        field: "input",
        prompt: request.prompt_name.as_deref(),
        overlong: match request.truncate {
            Some(true) => Overlong::CutEnd,
            _ => Overlong::Refuse,
        },
    };
    Ok(Asked {
        texts: texts::entries(app, body, request.input.0, &manner)?,
        want: Want::Result,
        form,
    })
}

fn reply(app: &App, done: Done<Form>) -> Result<Reply, ApiError> {
    let form = done.form;
    let numbers = done.results.len() * form.dimensions;
    let item = move |(index, mut vector)| {
        numbers::cut(&mut vector, form.dimensions, form.scaling);
        Item {
            object: "embedding",
            index,
            embedding: form.format.write(vector),
        }
    };
    let items = done.results.into_iter().enumerate().map(item);
    let model = String::from_utf8_lossy(&json(&app.name)).into_owned();
    let usage = String::from_utf8_lossy(&json(&Usage::of(&done.cost))).into_owned();
    let after = format!("],\"model\":{model},\"usage\":{usage}}}");
    Ok(Reply::list(
        r#"{"object":"list","data":["#,
        items,
        after,
        numbers,
    ))
}

impl Format {
    fn write(self, vector: Vec<f32>) -> Vector {
        match self {
            Format::Float => Vector::Numbers(vector),
            Format::Base64 => {
                let bytes: Vec<u8> = vector.into_iter().flat_map(f32::to_le_bytes).collect();
                Vector::Base64(BASE64.encode(bytes))
            }
        }
    }
}
