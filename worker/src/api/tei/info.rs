//! `GET /info`: what is served, and within which limits.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tidegate_kernels::Pooling;

use crate::api::admit::authorize;
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::models::{Card, Task};
use crate::threads;

#[derive(Serialize)]
struct Info<'a> {
    model_id: &'a str,
    model_sha: Option<&'a str>,
    model_dtype: &'static str,
    model_type: ModelType,
    max_concurrent_requests: u32,
    max_input_length: usize,
    max_batch_tokens: usize,
    max_batch_requests: Option<usize>,
    max_client_batch_size: usize,
    auto_truncate: bool,
    tokenization_workers: usize,
    version: &'static str,
    sha: Option<&'a str>,
    docker_label: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum ModelType {
    Embedding { pooling: &'static str },
    Classifier(Labels),
    Reranker(Labels),
}

#[derive(Serialize)]
struct Labels {
    id2label: BTreeMap<usize, String>,
    label2id: BTreeMap<String, usize>,
}

pub async fn info(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    match authorize(&app, &headers).and_then(|()| describe(&app)) {
        Ok(response) => response,
        Err(error) => super::refuse(error),
    }
}

fn describe(app: &App) -> Result<Response, ApiError> {
    let served = app.served()?;
    let info = Info {
        model_id: &app.name,
        model_sha: None,
        model_dtype: served.card.precision.name(),
        model_type: model_type(&served.card),
        max_concurrent_requests: app.admission.capacity().requests,
        max_input_length: served.tokenizer.limit(),
        max_batch_tokens: served.engine.max_tokens(),
        max_batch_requests: None,
        max_client_batch_size: app.limits.max_texts.get(),
        auto_truncate: true,
        // Texts are read on the threads that serve requests, of which each core has one.
        tokenization_workers: threads::count(0),
        version: env!("CARGO_PKG_VERSION"),
        sha: None,
        docker_label: None,
    };
    Ok(Json(info).into_response())
}

fn model_type(card: &Card) -> ModelType {
    match &card.task {
        Task::Embedding { .. } => ModelType::Embedding {
            pooling: match card.pooling {
                Pooling::Mean => "mean",
                Pooling::Cls => "cls",
                Pooling::Max => "max",
            },
        },
        Task::Classification { labels, .. } => ModelType::Classifier(numbered(labels)),
        Task::Reranking { label } => ModelType::Reranker(numbered(std::slice::from_ref(label))),
    }
}

fn numbered(labels: &[String]) -> Labels {
    let labels = || labels.iter().cloned();
    Labels {
        id2label: labels().enumerate().collect(),
        label2id: labels().zip(0..).collect(),
    }
}
