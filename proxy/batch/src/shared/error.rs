//! Why a shared store cannot do what it was asked.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::VERSION;

/// Refusals of S3 that the next credentials, or a clock that is set, may end.
const PASSING: [&str; 3] = ["ExpiredToken", "RequestTimeTooSkewed", "RequestTimeout"];

#[derive(Debug, Error)]
pub enum SharedError {
    #[error(
        "no region is known: `shared.region` (or `sagemaker.s3.region`), the environment and the profile say none"
    )]
    NoRegion,
    #[error("no credentials for AWS: {0}")]
    NoCredentials(String),
    #[error("a request to AWS cannot be signed: {0}")]
    Unsigned(String),
    #[error("{service} cannot be reached: {cause}")]
    Unreachable {
        service: &'static str,
        cause: reqwest::Error,
    },
    #[error("{service} neither took nor sent anything for half a minute")]
    Silent { service: &'static str },
    #[error("{service} refused {what}: {status} {code}: {message}")]
    Refused {
        service: &'static str,
        what: String,
        status: u16,
        code: String,
        message: String,
    },
    #[error("{service} answered {what} with something else than it documents: {found}")]
    Strange {
        service: &'static str,
        what: String,
        found: String,
    },
    #[error("the object {key} is not as this version writes it: {why}")]
    Object { key: String, why: String },
    #[error(
        "the object {key} was written by a newer version of tidegate-batch (version {found}, this one knows \
         up to {VERSION}); it is left to services of that version"
    )]
    Newer { key: String, found: u32 },
    #[error("the input {file} is not what it was when it was checked: {why}")]
    Input { file: String, why: String },
    #[error("the object {key} has {bytes} bytes, and at most {most} are read")]
    TooLarge { key: String, bytes: u64, most: u64 },
    #[error("{}: {cause}", path.display())]
    Io { path: PathBuf, cause: io::Error },
    #[error("the directory {} is in use by another process", .0.display())]
    InUse(PathBuf),
    #[error("`shared.queue` {0:?} is not the URL of a queue")]
    NoQueue(String),
}

impl SharedError {
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> SharedError {
        let path = path.into();
        move |cause| SharedError::Io { path, cause }
    }

    pub fn unreachable(service: &'static str) -> impl FnOnce(reqwest::Error) -> SharedError {
        move |error| SharedError::Unreachable {
            service,
            cause: error.without_url(),
        }
    }

    /// Whether asking again would change nothing, until somebody has changed a bucket or a permission.
    pub fn is_final(&self) -> bool {
        match self {
            SharedError::Refused { status, code, .. } => {
                (400..500).contains(status) && !PASSING.contains(&code.as_str())
            }
            SharedError::TooLarge { .. } => true,
            _ => false,
        }
    }

    /// Whether this machine's disk is full.
    pub fn is_full_disk(&self) -> bool {
        matches!(self, SharedError::Io { cause, .. } if crate::disk::is_full(cause))
    }
}
