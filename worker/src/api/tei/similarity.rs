//! `POST /similarity`: how alike a sentence is to each of others.

use serde::Deserialize;

use super::Truncation;
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::inference::{Arrived, Asked, Done, Route};
use crate::api::numbers;
use crate::api::reply::Reply;
use crate::api::texts::{self, Reading};
use crate::models::{Scaling, Want};

pub const SIMILARITY: Route<()> = Route {
    method: "similarity",
    refuse: super::refuse,
    read,
    reply,
};

#[derive(Deserialize)]
struct Request {
    inputs: Sentences,
    parameters: Option<Parameters>,
}

#[derive(Deserialize)]
struct Sentences {
    source_sentence: String,
    sentences: Vec<String>,
}

#[derive(Default, Deserialize)]
struct Parameters {
    #[serde(flatten)]
    truncation: Truncation,
    prompt_name: Option<String>,
}

fn read(app: &App, body: &Arrived) -> Result<Asked<()>, ApiError> {
    let request: Request = body.json()?;
    let served = app.served()?;
    served.scaling()?;
    let Sentences {
        source_sentence,
        sentences,
    } = request.inputs;
    texts::count("sentences", sentences.len(), app.limits.max_texts.get())?;
    let parameters = request.parameters.unwrap_or_default();
    let prompt = served.prompt(parameters.prompt_name.as_deref())?;
    let overlong = parameters.truncation.overlong();
    let mut reading = Reading::begin(served, body, "source_sentence", overlong);
    reading.text(prompt, &source_sentence)?;
    reading.field("sentences");
    for sentence in &sentences {
        reading.text(prompt, sentence)?;
    }
    Ok(Asked {
        texts: reading.end(),
        want: Want::Result,
        form: (),
    })
}

fn reply(app: &App, mut done: Done<()>) -> Result<Reply, ApiError> {
    let width = app.served()?.dimensions;
    for vector in &mut done.results {
        numbers::cut(vector, width, Scaling::Unit);
    }
    let cosines: Vec<f32> = match done.results.split_first() {
        Some((source, others)) => (others.iter())
            .map(|other| numbers::cosine(source, other))
            .collect(),
        None => Vec::new(),
    };
    Ok(Reply::whole(&cosines))
}
