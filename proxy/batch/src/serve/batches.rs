//! `/v1/batches`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::backing::PageOf;
use super::error::ApiError;
use super::files::page;
use super::http::{App, Id};
use super::listed::Listed;
use super::owner::Owner;
use super::upload::KEEP_SECONDS;
use crate::input::Endpoint;
use crate::store::{Batch, NewBatch, SortOrder};

/// How long the few bytes of a request for a batch may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

const LISTED: u32 = 20;
const MOST_LISTED: u32 = 100;

/// OpenAI's own limits.
const MOST_METADATA: usize = 16;
const LONGEST_METADATA_KEY: usize = 64;
const LONGEST_METADATA_VALUE: usize = 512;

/// What a client sends. A key that it does not have is refused: it would have meant something.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    input_file_id: String,
    endpoint: String,
    completion_window: String,
    metadata: Option<BTreeMap<String, String>>,
    output_expires_after: Option<ExpiresAfter>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpiresAfter {
    #[serde(rename = "anchor")]
    _anchor: Option<Anchor>,
    seconds: u64,
}

/// From when the time counts.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Anchor {
    CreatedAt,
}

pub async fn create(
    State(app): State<Arc<App>>,
    Owner(owner): Owner,
    request: Request,
) -> Result<Json<Batch>, ApiError> {
    let body = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, &()));
    let body = body
        .await
        .map_err(|_| {
            let message = format!("the body did not arrive within {BODY_TIMEOUT:?}");
            ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message)
        })?
        .map_err(|refused| ApiError::new(refused.status(), "invalid_body", refused.body_text()))?;
    let asked: Asked = serde_json::from_slice(&body)
        .map_err(|error| ApiError::invalid("body", error.to_string()))?;
    let new = understand(asked, &app)?;
    Ok(Json(app.backing.add_batch(owner, new).await?))
}

fn understand(asked: Asked, app: &App) -> Result<NewBatch, ApiError> {
    let endpoint: Endpoint =
        (asked.endpoint.parse()).map_err(|error: crate::input::NoEndpoint| {
            ApiError::invalid("endpoint", error.to_string())
        })?;
    let longest = app.config.batches.longest_window;
    let window_seconds = window(&asked.completion_window)
        .filter(|seconds| *seconds <= longest.as_secs())
        .ok_or_else(|| {
            let found = &asked.completion_window;
            let message =
                format!("found {found:?}, expected \"24h\", or another time of at most {longest}");
            ApiError::invalid("completion_window", message)
        })?;
    check_metadata(asked.metadata.as_ref())?;
    let keep = asked.output_expires_after.map(|after| after.seconds);
    if keep.is_some_and(|seconds| !KEEP_SECONDS.contains(&seconds)) {
        let (least, most) = KEEP_SECONDS.into_inner();
        let message = format!("expected seconds, {least} to {most}");
        return Err(ApiError::invalid("output_expires_after", message));
    }
    Ok(NewBatch {
        endpoint,
        input_file_id: asked.input_file_id,
        completion_window: asked.completion_window,
        window_seconds,
        metadata: asked.metadata,
        keep_seconds: keep.unwrap_or(app.config.files.keep.as_secs()),
    })
}

/// `24h` is what OpenAI takes; here it may be any whole number of seconds, minutes, hours or days.
fn window(text: &str) -> Option<u64> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return None,
    };
    number
        .parse::<u64>()
        .ok()?
        .checked_mul(unit)
        .filter(|seconds| *seconds > 0)
}

fn check_metadata(metadata: Option<&BTreeMap<String, String>>) -> Result<(), ApiError> {
    let is_small = metadata.is_none_or(|all| {
        all.len() <= MOST_METADATA
            && all.iter().all(|(key, value)| {
                key.len() <= LONGEST_METADATA_KEY && value.len() <= LONGEST_METADATA_VALUE
            })
    });
    match is_small {
        true => Ok(()),
        false => Err(ApiError::invalid(
            "metadata",
            format!(
                "expected at most {MOST_METADATA} entries, keys of {LONGEST_METADATA_KEY} and \
                 values of {LONGEST_METADATA_VALUE} bytes"
            ),
        )),
    }
}

pub async fn list(
    State(app): State<Arc<App>>,
    Owner(owner): Owner,
    listed: Listed,
) -> Result<Json<Value>, ApiError> {
    let asked = PageOf {
        limit: listed.limit(LISTED, MOST_LISTED)?,
        after: listed.after,
        order: SortOrder::NewestFirst,
    };
    let (batches, has_more) = app.backing.batches(owner, asked).await?;
    Ok(page(&batches, |batch| &batch.id, has_more))
}

pub async fn retrieve(
    State(app): State<Arc<App>>,
    Owner(owner): Owner,
    Id(id): Id,
) -> Result<Json<Batch>, ApiError> {
    Ok(Json(app.backing.batch(owner, id).await?))
}

pub async fn cancel(
    State(app): State<Arc<App>>,
    Owner(owner): Owner,
    Id(id): Id,
) -> Result<Json<Batch>, ApiError> {
    Ok(Json(app.backing.cancel(owner, id).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_have_a_unit() {
        assert_eq!(window("24h"), Some(86_400));
        assert_eq!(window("7d"), Some(7 * 86_400));
        assert_eq!(window("2s"), Some(2));
        for wrong in ["", "24", "h", "0h", "24 h", "99999999999999999999h"] {
            assert_eq!(window(wrong), None, "{wrong:?}");
        }
    }
}
