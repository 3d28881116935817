//! `/v1/files`.

use std::io::BufReader;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::error::ApiError;
use super::http::{App, Id};
use super::listed::Listed;
use super::owner::Owner;
use super::upload;
use crate::input::check;
use crate::store::{FileObject, NewFile, Page, SortOrder, Store, StoreError};

/// The purpose of what batches read.
const INPUT: &str = "batch";

/// Pieces in which contents are sent.
const PIECE_BYTES: usize = 256 << 10;

const MOST_LISTED: u32 = 10_000;

pub async fn create(
    State(app): State<Arc<App>>,
    Owner(owner): Owner,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<FileObject>, ApiError> {
    let rules = &app.config.files;
    let read = upload::read(&app.store, &headers, body, rules.bytes);
    let form = tokio::time::timeout(*rules.upload_timeout, read).await;
    let form = form.map_err(|_| {
        let message = format!("the file did not arrive within {}", rules.upload_timeout);
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "upload_timeout", message)
    })??;
    if form.purpose != INPUT {
        let message = format!("found {:?}, expected \"{INPUT}\"", form.purpose);
        return Err(ApiError::invalid("purpose", message));
    }
    let limits = rules.limits();
    let keep_seconds = form.keep_seconds.unwrap_or(rules.keep.as_secs());
    let kept = app.store.call(move |store| {
        let path = &form.upload.path;
        let failed = |cause| StoreError::Io {
            path: path.clone(),
            cause,
        };
        let file = std::fs::File::open(path).map_err(failed)?;
        let file = BufReader::with_capacity(PIECE_BYTES, file);
        let checked = match check(file, limits).map_err(failed)? {
            Ok(checked) => checked,
            Err(bad) => return Ok(Err(bad)),
        };
        let new = NewFile {
            filename: form.filename,
            purpose: form.purpose,
            bytes: form.bytes,
            keep_seconds,
            checked: Some(checked),
        };
        store.add_file(&owner, &new, path).map(Ok)
    });
    match kept.await? {
        Ok(file) => Ok(Json(file)),
        Err(bad) => Err(ApiError::bad_file(&bad)),
    }
}

pub async fn list(
    State(app): State<Arc<App>>,
    Owner(owner): Owner,
    listed: Listed,
) -> Result<Json<Value>, ApiError> {
    let order = listed.order(SortOrder::NewestFirst)?;
    let limit = listed.limit(MOST_LISTED, MOST_LISTED)?;
    let found = app.store.call(move |store| {
        let page = Page {
            after: listed.after.as_deref(),
            limit,
            order,
        };
        store.files(&owner, listed.purpose.as_deref(), page)
    });
    let (files, has_more) = found.await?;
    Ok(page(&files, |file| &file.id, has_more))
}

pub async fn retrieve(
    State(app): State<Arc<App>>,
    Owner(owner): Owner,
    Id(id): Id,
) -> Result<Json<FileObject>, ApiError> {
    Ok(Json(find(&app.store, owner, id).await?))
}

pub async fn delete(
    State(app): State<Arc<App>>,
    Owner(owner): Owner,
    Id(id): Id,
) -> Result<Json<Value>, ApiError> {
    let gone = id.clone();
    app.store
        .call(move |store| store.remove_file(&owner, &gone))
        .await?;
    Ok(Json(json!({"id": id, "object": "file", "deleted": true})))
}

pub async fn content(
    State(app): State<Arc<App>>,
    Owner(owner): Owner,
    Id(id): Id,
) -> Result<Response, ApiError> {
    let file = find(&app.store, owner, id).await?;
    let path = app.store.file_path(&file.id);
    let opened = tokio::fs::File::open(&path).await;
    let opened = opened.map_err(|cause| StoreError::Io { path, cause })?;
    let pieces = stream::try_unfold(opened, |mut file| async move {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        match file.read_buf(&mut piece).await? {
            0 => Ok::<_, std::io::Error>(None),
            _ => Ok(Some((piece, file))),
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, file.bytes.to_string()),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

async fn find(store: &Arc<Store>, owner: String, id: String) -> Result<FileObject, StoreError> {
    store.call(move |store| store.file(&owner, &id)).await
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
