//! An upload: a form read piece by piece into a file, within its limits.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use multer::{Constraints, Field, Multipart, SizeLimit};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use super::backing::Backing;
use super::error::ApiError;
use crate::disk::is_full;
use crate::id;

/// Of a field that is not the file.
const FIELD_BYTES: u64 = 4096;

/// How long a client may want a file to be kept: OpenAI's own limits.
pub const KEEP_SECONDS: RangeInclusive<u64> = 3600..=2_592_000;

/// The fields of a form.
pub struct Form {
    pub upload: Upload,
    pub filename: String,
    pub bytes: u64,
    pub purpose: String,
    /// `expires_after[seconds]`.
    pub keep_seconds: Option<u64>,
}

/// A file that is gone when nobody has taken it.
pub struct Upload {
    pub path: PathBuf,
}

impl Drop for Upload {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Reads a form with a `file` and a `purpose`.
pub async fn read(
    store: &Backing,
    headers: &HeaderMap,
    body: Body,
    most: u64,
) -> Result<Form, ApiError> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let boundary = kind.and_then(|kind| multer::parse_boundary(kind).ok());
    let boundary = boundary.ok_or_else(|| {
        let message = "expected multipart/form-data with the fields `file` and `purpose`";
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_a_form", message)
    })?;
    let limits = SizeLimit::new()
        .whole_stream(most + 16 * FIELD_BYTES)
        .per_field(FIELD_BYTES)
        .for_field("file", most);
    let limits = Constraints::new().size_limit(limits);
    let mut form = Multipart::with_constraints(body.into_data_stream(), boundary, limits);
    let (mut file, mut purpose, mut keep_seconds) = (None, None, None);
    while let Some(field) = form
        .next_field()
        .await
        .map_err(|error| broken(&error, most))?
    {
        match field.name().unwrap_or_default() {
            "file" => file = Some(keep(store, field, most).await?),
            "purpose" => purpose = Some(text(field, most).await?),
            "expires_after[seconds]" => keep_seconds = Some(seconds(&text(field, most).await?)?),
            "expires_after[anchor]" => drop(text(field, most).await?),
            unknown => {
                let unknown: String = unknown.chars().take(64).collect();
                let message = format!(
                    "the form has a field {unknown:?}, expected `file`, `purpose` and `expires_after`"
                );
                return Err(ApiError::new(
                    StatusCode::BAD_REQUEST,
                    "unknown_field",
                    message,
                ));
            }
        }
    }
    let missing = |name| ApiError::invalid(name, format!("the form has no field `{name}`"));
    let (upload, filename, bytes) = file.ok_or_else(|| missing("file"))?;
    Ok(Form {
        upload,
        filename,
        bytes,
        purpose: purpose.ok_or_else(|| missing("purpose"))?,
        keep_seconds,
    })
}

async fn keep(
    store: &Backing,
    mut field: Field<'_>,
    most: u64,
) -> Result<(Upload, String, u64), ApiError> {
    let name = field.file_name().unwrap_or("upload.jsonl");
    let filename: String = name
        .chars()
        .filter(|letter| !letter.is_control())
        .take(255)
        .collect();
    let random = id::random().map_err(|error| unwritable(&error))?;
    let upload = Upload {
        path: store.upload_path(&random),
    };
    let mut out = File::create(&upload.path)
        .await
        .map_err(|error| unwritable(&error))?;
    let (mut bytes, mut written) = (0, Ok(()));
    while let Some(piece) = field.chunk().await.map_err(|error| broken(&error, most))? {
        // What cannot be written is read all the same: a client that is still sending does not see
        // the answer.
        if written.is_ok() {
            written = out.write_all(&piece).await;
        }
        bytes += piece.len() as u64;
    }
    let written = match written {
        Ok(()) => out.flush().await,
        failed => failed,
    };
    written.map_err(|error| unwritable(&error))?;
    Ok((upload, filename, bytes))
}

async fn text(field: Field<'_>, most: u64) -> Result<String, ApiError> {
    field.text().await.map_err(|error| broken(&error, most))
}

fn seconds(text: &str) -> Result<u64, ApiError> {
    let seconds = text.trim().parse().ok();
    let seconds = seconds.filter(|seconds| KEEP_SECONDS.contains(seconds));
    seconds.ok_or_else(|| {
        let (least, most) = KEEP_SECONDS.into_inner();
        ApiError::invalid(
            "expires_after",
            format!("expected seconds, {least} to {most}"),
        )
    })
}

fn broken(error: &multer::Error, most: u64) -> ApiError {
    match error {
        multer::Error::FieldSizeExceeded { field_name, .. }
            if field_name.as_deref() != Some("file") =>
        {
            let message = format!("a field other than `file` has more than {FIELD_BYTES} bytes");
            ApiError::new(StatusCode::BAD_REQUEST, "field_too_large", message)
        }
        multer::Error::FieldSizeExceeded { .. } | multer::Error::StreamSizeExceeded { .. } => {
            let message = format!("the file is larger than {most} bytes");
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "file_too_large", message)
        }
        error => {
            let message = format!("the form cannot be read: {error}");
            ApiError::new(StatusCode::BAD_REQUEST, "invalid_form", message)
        }
    }
}

fn unwritable(error: &std::io::Error) -> ApiError {
    tracing::error!(%error, "an upload cannot be written");
    match is_full(error) {
        true => ApiError::full_disk(),
        false => {
            let message = "the batch service cannot reach its store";
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "store_failed", message)
        }
    }
}
