//! Files: their owners, sizes, and the places of their contents.

use std::fs::File;
use std::path::Path;

use rusqlite::{OptionalExtension, Row, Transaction, params};
use serde::Serialize;

use super::{Page, SortOrder, Store, StoreError, remove};
use crate::clock::unix_seconds;
use crate::disk::sync_directory;
use crate::id;
use crate::input::{Checked, Endpoint};

const COLUMNS: &str = "id, bytes, created_at, expires_at, filename, purpose, lines, endpoint";

/// A file as OpenAI's clients see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FileObject {
    pub id: String,
    pub object: &'static str,
    pub bytes: u64,
    pub created_at: u64,
    pub expires_at: Option<u64>,
    pub filename: String,
    pub purpose: String,
    pub status: &'static str,
    /// What is known of the lines of an input.
    #[serde(skip)]
    pub checked: Option<Checked>,
}

/// What is known of a file that is to be kept.
#[derive(Clone, Debug)]
pub struct NewFile {
    pub filename: String,
    pub purpose: String,
    pub bytes: u64,
    /// It is removed after so many seconds.
    pub keep_seconds: u64,
    pub checked: Option<Checked>,
}

impl Store {
    /// Keeps what lies at `upload` under a new name.
    pub fn add_file(
        &self,
        owner: &str,
        new: &NewFile,
        upload: &Path,
    ) -> Result<FileObject, StoreError> {
        let file = object(id::file().map_err(StoreError::Random)?, new);
        let path = self.file_path(&file.id);
        keep_content(upload, &path)?;
        let added = self.with(|database| {
            let transaction = database.transaction()?;
            self.check_files_quota(&transaction, owner, file.bytes)?;
            insert(&transaction, owner, &file)?;
            Ok(transaction.commit()?)
        });
        match added {
            Ok(()) => Ok(file),
            Err(error) => {
                remove(&path)?;
                Err(error)
            }
        }
    }

    fn check_files_quota(
        &self,
        transaction: &Transaction,
        owner: &str,
        bytes: u64,
    ) -> Result<(), StoreError> {
        let query = "SELECT count(*), coalesce(sum(bytes), 0) FROM files WHERE owner = ?";
        let (files, held): (u64, u64) =
            transaction.query_row(query, [owner], |row| Ok((row.get(0)?, row.get(1)?)))?;
        self.quota.check_files(files, held, bytes)
    }

    pub fn file(&self, owner: &str, id: &str) -> Result<FileObject, StoreError> {
        self.with(|database| file_of(database, owner, id))
    }

    /// A page of the owner's files, and whether there are more.
    pub fn files(
        &self,
        owner: &str,
        purpose: Option<&str>,
        page: Page,
    ) -> Result<(Vec<FileObject>, bool), StoreError> {
        let (beyond, direction) = match page.order {
            SortOrder::OldestFirst => (">", "ASC"),
            SortOrder::NewestFirst => ("<", "DESC"),
        };
        let query = format!(
            "SELECT {COLUMNS} FROM files WHERE owner = ?1 AND (?2 IS NULL OR purpose = ?2)
             AND (?3 IS NULL OR seq {beyond} ?3) ORDER BY seq {direction} LIMIT ?4"
        );
        self.with(|database| {
            let after = match page.after {
                Some(id) => Some(
                    seq_of(database, "files", owner, id)?
                        .ok_or_else(|| StoreError::NoFile(id.to_owned()))?,
                ),
                None => None,
            };
            let mut query = database.prepare_cached(&query)?;
            let limit = page.limit;
            let rows = query.query_map(params![owner, purpose, after, limit + 1], read)?;
            let mut files: Vec<_> = rows.collect::<Result<_, _>>()?;
            let has_more = files.len() > limit as usize;
            files.truncate(limit as usize);
            Ok((files, has_more))
        })
    }

    /// All of a small file.
    pub fn content(&self, id: &str) -> Result<Vec<u8>, StoreError> {
        let path = self.file_path(id);
        std::fs::read(&path).map_err(|cause| StoreError::Io { path, cause })
    }

    /// Removes a file that no unfinished batch needs.
    pub fn remove_file(&self, owner: &str, id: &str) -> Result<(), StoreError> {
        self.with_reserve(|database| {
            let transaction = database.transaction()?;
            file_of(&transaction, owner, id)?;
            if let Some(batch) = used_by(&transaction, id)? {
                let file = id.to_owned();
                return Err(StoreError::FileInUse { file, batch });
            }
            transaction.execute("DELETE FROM files WHERE id = ?", [id])?;
            Ok(transaction.commit()?)
        })?;
        remove(&self.file_path(id))?;
        self.keep_reserve();
        Ok(())
    }

    /// Removes files whose time is over; those that a batch still needs go later.
    pub fn remove_expired(&self) -> Result<usize, StoreError> {
        let now = unix_seconds();
        let gone = self.with_reserve(|database| {
            let mut query = database.prepare_cached(
                "DELETE FROM files WHERE expires_at <= ? AND id NOT IN
                 (SELECT input FROM batches WHERE ended = 0) RETURNING id",
            )?;
            let ids = query.query_map([now], |row| row.get::<_, String>(0))?;
            Ok(ids.collect::<Result<Vec<_>, _>>()?)
        })?;
        for id in &gone {
            remove(&self.file_path(id))?;
        }
        self.keep_reserve();
        Ok(gone.len())
    }
}

/// Moves a whole upload to its place, on the disk.
pub(super) fn keep_content(upload: &Path, path: &Path) -> Result<(), StoreError> {
    let moved = File::open(upload)
        .and_then(|upload| upload.sync_all())
        .and_then(|()| std::fs::rename(upload, path))
        .and_then(|()| sync_directory(path));
    moved.map_err(|cause| StoreError::Io {
        path: path.to_owned(),
        cause,
    })
}

/// A new file object under `id`.
pub(super) fn object(id: String, new: &NewFile) -> FileObject {
    let created_at = unix_seconds();
    FileObject {
        id,
        object: "file",
        bytes: new.bytes,
        created_at,
        expires_at: Some(created_at + new.keep_seconds),
        filename: new.filename.clone(),
        purpose: new.purpose.clone(),
        status: "processed",
        checked: new.checked,
    }
}

pub(super) fn insert(
    transaction: &Transaction,
    owner: &str,
    file: &FileObject,
) -> Result<(), StoreError> {
    transaction.execute(
        "INSERT INTO files (id, owner, bytes, created_at, expires_at, filename, purpose, lines, \
         endpoint) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            file.id,
            owner,
            file.bytes,
            file.created_at,
            file.expires_at,
            file.filename,
            file.purpose,
            file.checked.map(|checked| checked.lines),
            file.checked.map(|checked| checked.endpoint.path()),
        ],
    )?;
    Ok(())
}

pub(super) fn file_of(
    database: &rusqlite::Connection,
    owner: &str,
    id: &str,
) -> Result<FileObject, StoreError> {
    let query = format!("SELECT {COLUMNS} FROM files WHERE owner = ? AND id = ?");
    let found = database.query_row(&query, [owner, id], read).optional()?;
    found.ok_or_else(|| StoreError::NoFile(id.to_owned()))
}

/// The place of an owner's row in a table.
pub(super) fn seq_of(
    database: &rusqlite::Connection,
    table: &str,
    owner: &str,
    id: &str,
) -> Result<Option<i64>, StoreError> {
    let query = format!("SELECT seq FROM {table} WHERE owner = ? AND id = ?");
    Ok(database
        .query_row(&query, [owner, id], |row| row.get(0))
        .optional()?)
}

/// The unfinished batch whose input a file is.
fn used_by(transaction: &Transaction, file: &str) -> Result<Option<String>, StoreError> {
    let query = "SELECT id FROM batches WHERE ended = 0 AND input = ? LIMIT 1";
    Ok(transaction
        .query_row(query, [file], |row| row.get(0))
        .optional()?)
}

fn read(row: &Row) -> rusqlite::Result<FileObject> {
    let (lines, endpoint): (Option<u32>, Option<String>) = (row.get(6)?, row.get(7)?);
    let endpoint: Option<Endpoint> = endpoint.and_then(|text| text.parse().ok());
    Ok(FileObject {
        id: row.get(0)?,
        object: "file",
        bytes: row.get(1)?,
        created_at: row.get(2)?,
        expires_at: row.get(3)?,
        filename: row.get(4)?,
        purpose: row.get(5)?,
        status: "processed",
        checked: (lines.zip(endpoint)).map(|(lines, endpoint)| Checked { lines, endpoint }),
    })
}
