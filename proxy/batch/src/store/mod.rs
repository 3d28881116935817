//! What a service keeps between its starts: files, batches, and the answers of unfinished ones.
//!
//!     STORE/batch.db    which files and batches there are, and whose (SQLite)
//!     STORE/files/ID    contents of files
//!     STORE/answers/ID  journals of unfinished batches
//!     STORE/uploads/    what is not whole yet
//!     STORE/reserve     room on the disk in which files can be removed when it is full
//!     STORE/lock        held by the one process that may be here
//!
//! A row is written after the file that it stands for, and removed before it: whatever a killed
//! process leaves without a row is removed by the next start.

mod batch;
mod batches;
mod deferred;
mod error;
mod files;
mod open;
mod reserve;
mod unfinished;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;

pub use batch::{Batch, Row, Status};
pub use batches::{BYTES_PER_TOKEN, NewBatch, check_input, fresh};
pub use deferred::NewDeferred;
pub use error::StoreError;
pub use files::{FileObject, NewFile};
pub use unfinished::Unfinished;

use crate::config::Quota;

pub struct Store {
    directory: PathBuf,
    database: Mutex<Connection>,
    quota: Quota,
    /// Unlocked with the end of the process.
    _lock: std::fs::File,
}

/// A page of a list.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// The id of the last one on the page before.
    pub after: Option<&'a str>,
    pub limit: u32,
    pub order: SortOrder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortOrder {
    OldestFirst,
    NewestFirst,
}

impl Quota {
    /// Whether one file of so many bytes more may be held.
    pub fn check_files(&self, held: u64, held_bytes: u64, bytes: u64) -> Result<(), StoreError> {
        for (what, found, most) in [
            ("files", held + 1, self.files),
            ("bytes of files", held_bytes + bytes, self.bytes),
        ] {
            if found > most {
                return Err(StoreError::Quota { what, found, most });
            }
        }
        Ok(())
    }

    /// Whether so many lines more may be under way.
    pub fn check_lines(&self, held: u64, lines: u32) -> Result<(), StoreError> {
        let (found, most) = (held + u64::from(lines), self.lines);
        match found > most {
            true => Err(StoreError::Quota {
                what: "lines of unfinished batches",
                found,
                most,
            }),
            false => Ok(()),
        }
    }
}

/// A page of all there are, which come oldest first and whose names are in that order.
pub fn paged<T>(mut all: Vec<T>, id: impl Fn(&T) -> &str, page: Page) -> (Vec<T>, bool) {
    if page.order == SortOrder::NewestFirst {
        all.reverse();
    }
    all.retain(|one| match (page.after, page.order) {
        (None, _) => true,
        (Some(after), SortOrder::OldestFirst) => id(one) > after,
        (Some(after), SortOrder::NewestFirst) => id(one) < after,
    });
    let has_more = all.len() > page.limit as usize;
    all.truncate(page.limit as usize);
    (all, has_more)
}

impl Store {
    /// Runs what reads or writes on a thread that may block.
    pub async fn call<T: Send + 'static>(
        self: &Arc<Self>,
        act: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || act(&store)).await;
        done.unwrap_or_else(|error| Err(StoreError::Task(error)))
    }

    pub fn file_path(&self, id: &str) -> PathBuf {
        self.directory.join("files").join(id)
    }

    pub fn journal_path(&self, batch: &str) -> PathBuf {
        self.directory.join("answers").join(batch)
    }

    /// A name for what is not whole yet.
    pub fn upload_path(&self, name: &str) -> PathBuf {
        self.directory.join("uploads").join(name)
    }

    fn with<T>(
        &self,
        act: impl FnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        act(&mut self.database.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Removes a file that may be gone already.
fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(StoreError::Io {
            path: path.to_owned(),
            cause,
        }),
        _ => Ok(()),
    }
}
