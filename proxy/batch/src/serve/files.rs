//! `/v1/files`.

use std::io::BufReader;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::backing::PageOf;
use super::error::ApiError;
use super::http::{App, Id};
use super::listed::Listed;
use super::owner::Owner;
use super::upload;
use crate::input::{BadFile, Checked, FileLimits, check};
use crate::store::{FileObject, NewFile, SortOrder, StoreError};

/// The purpose of what batches read.
const INPUT: &str = "batch";

const BUFFER_BYTES: usize = 256 << 10;

const MOST_LISTED: u32 = 10_000;

pub async fn create(
    State(app): State<Arc<App>>,
    Owner(owner): Owner,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<FileObject>, ApiError> {
    let rules = &app.config.files;
    let read = upload::read(&app.backing, &headers, body, rules.bytes);
    let form = tokio::time::timeout(*rules.upload_timeout, read).await;
    let form = form.map_err(|_| {
        let message = format!("the file did not arrive within {}", rules.upload_timeout);
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "upload_timeout", message)
    })??;
    if form.purpose != INPUT {
        let message = format!("found {:?}, expected \"{INPUT}\"", form.purpose);
        return Err(ApiError::invalid("purpose", message));
    }
    let checked = look_at(form.upload.path.clone(), rules.limits()).await?;
    let checked = checked.map_err(|bad| ApiError::bad_file(&bad))?;
    let new = NewFile {
        filename: form.filename,
        purpose: form.purpose,
        bytes: form.bytes,
        keep_seconds: form.keep_seconds.unwrap_or(rules.keep.as_secs()),
        checked: Some(checked),
    };
    // The upload is held until it is kept.
    let kept = app.backing.add_file(owner, new, &form.upload.path).await?;
    Ok(Json(kept))
}

/// Reads an upload to its end.
async fn look_at(
    path: PathBuf,
    limits: FileLimits,
) -> Result<Result<Checked, BadFile>, StoreError> {
    let look = tokio::task::spawn_blocking(move || {
        let file = std::fs::File::open(&path);
        let file = file.map(|file| BufReader::with_capacity(BUFFER_BYTES, file));
        let checked = file.and_then(|file| check(file, limits));
        checked.map_err(|cause| StoreError::Io { path, cause })
    });
    look.await
        .unwrap_or_else(|error| Err(StoreError::Task(error)))
}

pub async fn list(
    State(app): State<Arc<App>>,
    Owner(owner): Owner,
    listed: Listed,
) -> Result<Json<Value>, ApiError> {
    let asked = PageOf {
        order: listed.order(SortOrder::NewestFirst)?,
        limit: listed.limit(MOST_LISTED, MOST_LISTED)?,
        after: listed.after,
    };
    let (files, has_more) = app.backing.files(owner, listed.purpose, asked).await?;
    Ok(page(&files, |file| &file.id, has_more))
}

pub async fn retrieve(
    State(app): State<Arc<App>>,
    Owner(owner): Owner,
    Id(id): Id,
) -> Result<Json<FileObject>, ApiError> {
    Ok(Json(app.backing.file(owner, id).await?))
}

pub async fn delete(
    State(app): State<Arc<App>>,
    Owner(owner): Owner,
    Id(id): Id,
) -> Result<Json<Value>, ApiError> {
    app.backing.remove_file(owner, id.clone()).await?;
    Ok(Json(json!({"id": id, "object": "file", "deleted": true})))
}

pub async fn content(
    State(app): State<Arc<App>>,
    Owner(owner): Owner,
    Id(id): Id,
) -> Result<Response, ApiError> {
    let (file, content) = app.backing.content(owner, id).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, file.bytes.to_string()),
    ];
    Ok((headers, content).into_response())
}

/// A page of a list, as OpenAI's clients go through them.
pub fn page<T: serde::Serialize>(
    data: &[T],
    id: impl Fn(&T) -> &str,
    has_more: bool,
) -> Json<Value> {
    Json(json!({
        "object": "list",
        "data": data,
        "first_id": data.first().map(&id),
        "last_id": data.last().map(&id),
        "has_more": has_more,
    }))
}
