//! Asynchronous requests: each is a batch of one line that no list shows.

use std::path::Path;

use super::batch::Row;
use super::batches::{add, fresh, row_of};
use super::files::{insert, keep_content, object};
use super::open::VERSION;
use super::{NewBatch, NewFile, Store, StoreError, remove};
use crate::id;
use crate::input::{Checked, Endpoint};
use crate::sagemaker::Invocation;

/// Of the input, which goes with the end of the request.
const PURPOSE: &str = "deferred";

/// One request.
#[derive(Clone, Debug)]
pub struct NewDeferred {
    /// As its client names it.
    pub name: String,
    pub endpoint: Endpoint,
    /// Bytes of its line.
    pub bytes: u64,
    /// It is given up after so many seconds.
    pub window_seconds: u64,
    /// Its answer is removed after so many seconds.
    pub keep_seconds: u64,
    /// Its answer goes to S3, and what is kept is its body.
    pub invocation: Option<Invocation>,
}

impl Store {
    /// Takes in a request: its line, or the body of an invocation.
    pub fn keep_deferred(
        &self,
        owner: &str,
        new: NewDeferred,
        content: &[u8],
    ) -> Result<String, StoreError> {
        let path = self.upload_path(&id::random().map_err(StoreError::Random)?);
        let written = std::fs::write(&path, content);
        written.map_err(|cause| StoreError::Io {
            path: path.clone(),
            cause,
        })?;
        let bytes = content.len() as u64;
        self.add_deferred(owner, NewDeferred { bytes, ..new }, &path)
    }

    /// Takes in a request whose content lies at `upload`. Gives the batch that it is.
    fn add_deferred(
        &self,
        owner: &str,
        new: NewDeferred,
        upload: &Path,
    ) -> Result<String, StoreError> {
        let file = object(
            id::file().map_err(StoreError::Random)?,
            &NewFile {
                filename: new.name,
                purpose: PURPOSE.to_owned(),
                bytes: new.bytes,
                keep_seconds: new.window_seconds + new.keep_seconds,
                checked: Some(Checked {
                    lines: 1,
                    endpoint: new.endpoint,
                }),
            },
        );
        let asked = NewBatch {
            endpoint: new.endpoint,
            input_file_id: file.id.clone(),
            completion_window: format!("{}s", new.window_seconds),
            window_seconds: new.window_seconds,
            metadata: None,
            keep_seconds: new.keep_seconds,
        };
        let row = Row {
            batch: fresh(id::batch().map_err(StoreError::Random)?, &asked, 1),
            ending: None,
            keep_seconds: new.keep_seconds,
            is_deferred: true,
            invocation: new.invocation,
        };
        let path = self.file_path(&file.id);
        keep_content(upload, &path)?;
        let added = self.with(|database| {
            let transaction = database.transaction()?;
            self.check_lines_quota(&transaction, owner, 1)?;
            if row.invocation.is_some() {
                // An older version would take the body for a line.
                transaction.pragma_update(None, "user_version", VERSION)?;
            }
            insert(&transaction, owner, &file)?;
            add(&transaction, owner, &row, file.bytes)?;
            Ok(transaction.commit()?)
        });
        match added {
            Ok(()) => Ok(row.batch.id),
            Err(error) => {
                remove(&path)?;
                Err(error)
            }
        }
    }

    /// Forgets a request whose answer is in S3.
    pub fn end_invocation(&self, row: &Row) -> Result<(), StoreError> {
        let batch = &row.batch;
        self.with(|database| {
            let transaction = database.transaction()?;
            transaction.execute("DELETE FROM batches WHERE id = ?", [&batch.id])?;
            transaction.execute("DELETE FROM files WHERE id = ?", [&batch.input_file_id])?;
            Ok(transaction.commit()?)
        })?;
        remove(&self.input_path(batch))
    }

    /// What became of a request, whoever asks: its name cannot be guessed.
    pub fn deferred(&self, id: &str) -> Result<Row, StoreError> {
        let row = self.with(|database| row_of(database, None, id))?;
        match row.is_deferred {
            true => Ok(row),
            false => Err(StoreError::NoBatch(id.to_owned())),
        }
    }
}
