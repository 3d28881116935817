//! `POST /predict`: how much each label fits a text or a pair of texts.

use serde::{Deserialize, Serialize};

use super::Truncation;
use crate::api::app::App;
use crate::api::error::{ApiError, Fault};
use crate::api::inference::{Arrived, Asked, Done, Route};
use crate::api::numbers;
use crate::api::reply::{Reply, json};
use crate::api::texts::{self, Reading};
use crate::models::Want;

pub const PREDICT: Route<Form> = Route {
    method: "predict",
    refuse: super::refuse,
    read,
    reply,
};

#[derive(Deserialize)]
struct Request {
    inputs: Inputs,
    #[serde(flatten)]
    truncation: Truncation,
    raw_scores: Option<bool>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected `inputs` as a string, a pair of strings, or a batch [[string], [string, string], ...]"
)]
enum Inputs {
    Text(String),
    Pair(Vec<String>),
    Batch(Vec<Vec<String>>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scores {
    Raw,
    Probabilities,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    One,
    Batch,
}

/// How scores are sent.
pub struct Form {
    scores: Scores,
    shape: Shape,
}

#[derive(Serialize)]
struct Prediction<'a> {
    score: f32,
    label: &'a str,
}

fn read(app: &App, body: &Arrived) -> Result<Asked<Form>, ApiError> {
    let request: Request = body.json()?;
    let served = app.served()?;
    served.labels()?;
    let (shape, inputs) = match request.inputs {
        Inputs::Text(text) => (Shape::One, vec![vec![text]]),
        Inputs::Pair(pair) => (Shape::One, vec![pair]),
        Inputs::Batch(batch) => (Shape::Batch, batch),
    };
    texts::count("inputs", inputs.len(), app.limits.max_texts.get())?;
    let mut reading = Reading::begin(served, body, "inputs", request.truncation.overlong());
    for (index, input) in inputs.iter().enumerate() {
        match input.as_slice() {
            [text] => reading.text("", text)?,
            [first, second] => reading.pair(first, second)?,
            [] if shape == Shape::One => texts::count("inputs", 0, 1)?,
            several => return Err(neither_text_nor_pair(index, several.len())),
        }
    }
    Ok(Asked {
        texts: reading.end(),
        want: Want::Result,
        form: Form {
            scores: match request.raw_scores {
                Some(true) => Scores::Raw,
                _ => Scores::Probabilities,
            },
            shape,
        },
    })
}

fn neither_text_nor_pair(index: usize, found: usize) -> ApiError {
    let message = format!(
        "inputs[{index}] has {found} texts; expected one or a pair, and a batch as a list of lists"
    );
    ApiError::param(Fault::Unreadable, "inputs", message)
}

fn reply(app: &App, mut done: Done<Form>) -> Result<Reply, ApiError> {
    let (labels, scoring) = app.served()?.labels()?;
    if done.form.scores == Scores::Probabilities {
        for logits in &mut done.results {
            numbers::probabilities(logits, scoring);
        }
    }
    let mut texts = done.results.into_iter();
    Ok(match done.form.shape {
        Shape::One => {
            let scores = texts.next().unwrap_or_default();
            Reply::whole(&predictions(labels, scores))
        }
        Shape::Batch => {
            let numbers = 2 * labels.len() * texts.len();
            let labels = labels.to_vec();
            let lists = texts.map(move |scores| json(&predictions(&labels, scores)));
            Reply::joined("[", lists, "]", numbers)
        }
    })
}

/// The labels with their scores, the highest first.
fn predictions(labels: &[String], scores: Vec<f32>) -> Vec<Prediction<'_>> {
    let labelled = |(index, score): (usize, f32)| {
        let label = labels.get(index)?;
        Some(Prediction { score, label })
    };
    let ranking = numbers::ranking(scores);
    ranking.into_iter().filter_map(labelled).collect()
}
