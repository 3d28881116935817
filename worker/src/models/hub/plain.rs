//! A file from a mirror that answers a request for a range with the whole file, as RFC 9110,
//! section 14.2 allows, or with other bytes: taken whole, and put where the cache has it.

use std::io::Write as _;
use std::path::Path;

use hf_hub::CacheRepo;
use hf_hub::api::tokio::ApiError;
use reqwest::header::{ETAG, HeaderMap};
use thiserror::Error;

#[derive(Debug, Error)]
pub enum PlainError {
    #[error("{}", tidegate_agent::causes(.0))]
    Request(#[from] reqwest::Error),
    #[error("it cannot be kept: {0}")]
    Disk(#[from] std::io::Error),
    #[error("the answer has no etag, by which the cache names it")]
    NoEtag,
    #[error("received {received} of {stated} bytes")]
    Short { received: u64, stated: u64 },
}

/// Whether the library gave up because the answer was not a range.
pub fn is_whole(error: &ApiError) -> bool {
    matches!(error, ApiError::MissingHeader(header) if *header == reqwest::header::CONTENT_RANGE)
}

/// Removes a file that is not what the hub has, from the snapshot and the content behind it.
pub fn forget(pointer: &Path) {
    if let Ok(content) = pointer.canonicalize() {
        let _ = std::fs::remove_file(content);
    }
    let _ = std::fs::remove_file(pointer);
}

/// Downloads a file whole.
pub async fn download(
    url: &str,
    token: Option<&str>,
    cached: &CacheRepo,
    commit: &str,
    file: &str,
) -> Result<(), PlainError> {
    let client = reqwest::Client::builder()
        .read_timeout(super::HUB_PATIENCE)
        .build()?;
    let mut request = client.get(url);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let mut answer = request.send().await?.error_for_status()?;
    let etag = etag(answer.headers()).ok_or(PlainError::NoEtag)?;
    let blob = cached.blob_path(&etag);
    let pointer = cached.pointer_path(commit).join(file);
    for path in [&blob, &pointer] {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
    }
    let folder = blob.parent().unwrap_or(Path::new("."));
    let mut kept = tempfile::NamedTempFile::new_in(folder)?;
    let stated = answer.content_length();
    let mut received = 0;
    while let Some(piece) = answer.chunk().await? {
        received += piece.len() as u64;
        kept.write_all(&piece)?;
    }
    if let Some(stated) = stated.filter(|stated| *stated != received) {
        return Err(PlainError::Short { received, stated });
    }
    kept.persist(&blob).map_err(|error| error.error)?;
    // As the library does: the snapshot's file leads to the blob, relative to where it lies.
    let ups = "../".repeat(2 + file.matches('/').count());
    let target = format!("{ups}blobs/{etag}");
    match std::os::unix::fs::symlink(target, &pointer) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(error.into());
        }
        _ => {}
    }
    Ok(cached.create_ref(commit)?)
}

/// The name of the content; one that could not be a file's name is none.
fn etag(headers: &HeaderMap) -> Option<String> {
    let linked = headers.get("x-linked-etag").or(headers.get(ETAG))?;
    let etag = linked
        .to_str()
        .ok()?
        .trim_start_matches("W/")
        .trim_matches('"');
    let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_name = !etag.is_empty() && !etag.starts_with('.') && etag.chars().all(in_name);
    is_name.then(|| etag.to_owned())
}
