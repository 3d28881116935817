//! Errors of the store.

use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;
use thiserror::Error;
use tokio::task::JoinError;

use super::Status;
use super::open::VERSION;
use crate::disk::is_full;
use crate::input::Endpoint;
use crate::shared::SharedError;

#[derive(Debug, Error)]
pub enum StoreError {
    #[error("{}: {cause}", path.display())]
    Io { path: PathBuf, cause: io::Error },
    #[error("the database of the store: {0}")]
    Database(#[from] rusqlite::Error),
    #[error(
        "the store {0} is damaged: {found}. Contents in {0}/files and answers in {0}/answers are not \
         touched. Restore {0}/batch.db from a backup; or move it away, and start with an empty list",
        directory.display()
    )]
    Damaged { directory: PathBuf, found: String },
    #[error(
        "the store {} was written by a newer version of tidegate-batch (version {found}, this one \
         knows up to {VERSION}); start that version",
        directory.display()
    )]
    Newer { directory: PathBuf, found: u32 },
    #[error("{} is no store of tidegate-batch", directory.display())]
    Foreign { directory: PathBuf },
    #[error("the store {} is in use by another process", directory.display())]
    InUse { directory: PathBuf },
    #[error("a row of the store cannot be read: {0}")]
    Row(serde_json::Error),
    #[error("a task of the store failed: {0}")]
    Task(JoinError),
    #[error("no random bytes: {0}")]
    Random(io::Error),

    #[error(transparent)]
    Shared(#[from] SharedError),

    #[error("there is no file `{0}`")]
    NoFile(String),
    #[error("there is no batch `{0}`")]
    NoBatch(String),
    #[error("the file `{file}` is the input of the batch `{batch}`, which has not ended")]
    FileInUse { file: String, batch: String },
    #[error("the file `{file}` has the purpose {found:?}, expected \"batch\"")]
    Purpose { file: String, found: String },
    #[error("the lines of the file `{file}` ask for {found}, expected {expected}")]
    Endpoint {
        file: String,
        found: Endpoint,
        expected: Endpoint,
    },
    #[error("the batch `{batch}` is {} and cannot be cancelled", status.word())]
    Ended { batch: String, status: Status },
    #[error("that would be {found} {what}, and each key may have {most} at once")]
    Quota {
        what: &'static str,
        found: u64,
        most: u64,
    },
}

impl StoreError {
    /// Whether there is no room, which may pass.
    pub fn is_full_disk(&self) -> bool {
        match self {
            StoreError::Io { cause, .. } => is_full(cause),
            StoreError::Shared(error) => error.is_full_disk(),
            StoreError::Database(error) => error.sqlite_error_code() == Some(ErrorCode::DiskFull),
            _ => false,
        }
    }

    /// Whether starting again would change nothing.
    pub fn is_bad_config(&self) -> bool {
        use SharedError::{NoQueue, NoRegion};
        matches!(
            self,
            StoreError::Newer { .. }
                | StoreError::Foreign { .. }
                | StoreError::Shared(NoQueue(_) | NoRegion)
        )
    }
}
