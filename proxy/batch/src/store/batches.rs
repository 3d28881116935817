//! Batches in the store: taken in, moved on, ended.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::batch::{RequestCounts, Row};
use super::files::{file_of, insert, object, seq_of};
use super::{Batch, FileObject, NewFile, Page, SortOrder, Status, Store, StoreError, remove};
use crate::answer::Kind;
use crate::clock::unix_seconds;
use crate::disk::write_whole;
use crate::id;
use crate::input::Endpoint;
use crate::journal::{Counts, Journal};
use crate::metrics::Backlog;

/// A token of text is about so many bytes.
pub const BYTES_PER_TOKEN: u64 = 4;

/// Among the newest that ended, deferred requests may be many.
const ENDED_LOOKED_AT: u32 = 200;

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct NewBatch {
    pub endpoint: Endpoint,
    pub input_file_id: String,
    pub completion_window: String,
    pub window_seconds: u64,
    pub metadata: Option<BTreeMap<String, String>>,
    pub keep_seconds: u64,
}

impl Store {
    pub fn add_batch(&self, owner: &str, new: NewBatch) -> Result<Batch, StoreError> {
        let id = id::batch().map_err(StoreError::Random)?;
        self.with(|database| {
            let transaction = database.transaction()?;
            let file = file_of(&transaction, owner, &new.input_file_id)?;
            let lines = check_input(&file, new.endpoint)?;
            self.check_lines_quota(&transaction, owner, lines)?;
            let row = Row {
                batch: fresh(id, &new, lines),
                ending: None,
                keep_seconds: new.keep_seconds,
                is_deferred: false,
                invocation: None,
            };
            add(&transaction, owner, &row, file.bytes)?;
            transaction.commit()?;
            Ok(row.batch)
        })
    }

    pub(super) fn check_lines_quota(
        &self,
        transaction: &Transaction,
        owner: &str,
        lines: u32,
    ) -> Result<(), StoreError> {
        let query = "SELECT coalesce(sum(lines), 0) FROM batches WHERE owner = ? AND ended = 0";
        let held: u64 = transaction.query_row(query, [owner], |row| row.get(0))?;
        self.quota.check_lines(held, lines)
    }

    pub fn batch(&self, owner: &str, id: &str) -> Result<Batch, StoreError> {
        self.with(|database| Ok(row_of(database, Some(owner), id)?.batch))
    }

    /// A page of the owner's batches, newest first, and whether there are more.
    pub fn batches(&self, owner: &str, page: Page) -> Result<(Vec<Batch>, bool), StoreError> {
        let (beyond, direction) = match page.order {
            SortOrder::OldestFirst => (">", "ASC"),
            SortOrder::NewestFirst => ("<", "DESC"),
        };
        let query = format!(
            "SELECT body FROM batches WHERE owner = ?1 AND (?2 IS NULL OR seq {beyond} ?2)
             ORDER BY seq {direction} LIMIT ?3"
        );
        self.with(|database| {
            let after = match page.after {
                Some(id) => Some(
                    seq_of(database, "batches", owner, id)?
                        .ok_or_else(|| StoreError::NoBatch(id.to_owned()))?,
                ),
                None => None,
            };
            let mut query = database.prepare_cached(&query)?;
            let rows = query.query_map(params![owner, after, page.limit + 1], |row| {
                row.get::<_, String>(0)
            })?;
            let mut batches = Vec::new();
            for body in rows {
                batches.push(parse(&body?)?.batch);
            }
            let has_more = batches.len() > page.limit as usize;
            batches.truncate(page.limit as usize);
            Ok((batches, has_more))
        })
    }

    /// The unfinished batches of all owners, oldest first, then the newest that ended; with their
    /// owners. Deferred requests are left out.
    pub fn all_batches(&self, ended: usize) -> Result<Vec<(String, Batch)>, StoreError> {
        let mut unfinished = self.unfinished()?;
        unfinished.sort_by_key(|one| one.row.batch.created_at);
        let newest = self.with(|database| {
            let mut query = database.prepare_cached(
                "SELECT owner, body FROM batches WHERE ended = 1 ORDER BY seq DESC LIMIT ?",
            )?;
            read_rows(query.query_map([ENDED_LOOKED_AT], owner_and_body)?)
        })?;
        let of_file =
            |(owner, row): (String, Row)| (!row.is_deferred).then_some((owner, row.batch));
        let unfinished = unfinished
            .into_iter()
            .map(|one| (one.owner, one.row))
            .filter_map(of_file);
        let newest = newest.into_iter().filter_map(of_file).take(ended);
        Ok(unfinished.chain(newest).collect())
    }

    /// Moves a batch on, and gives it as it is then.
    pub fn change(&self, id: &str, act: impl FnOnce(&mut Row)) -> Result<Row, StoreError> {
        self.with(|database| {
            let transaction = database.transaction()?;
            let mut row = row_of(&transaction, None, id)?;
            act(&mut row);
            write(&transaction, &row)?;
            transaction.commit()?;
            Ok(row)
        })
    }

    /// Asks for the end of a batch that has not ended.
    pub fn cancel(&self, owner: &str, id: &str) -> Result<Batch, StoreError> {
        self.with(|database| {
            let transaction = database.transaction()?;
            let mut row = row_of(&transaction, Some(owner), id)?;
            match row.batch.status {
                Status::Cancelling | Status::Cancelled => return Ok(row.batch),
                Status::Validating | Status::InProgress => {
                    row.batch.set_status(Status::Cancelling);
                }
                status => {
                    let batch = id.to_owned();
                    return Err(StoreError::Ended { batch, status });
                }
            }
            write(&transaction, &row)?;
            transaction.commit()?;
            Ok(row.batch)
        })
    }

    /// Writes a batch's output and error files from its journal, and ends it. May be done again
    /// after a kill at any point of it.
    pub fn finish(&self, owner: &str, row: &Row, journal: &Journal) -> Result<Batch, StoreError> {
        let counts = journal.counts();
        let mut batch = row.batch.clone();
        let output = self.write_answers(&batch, row, journal, Kind::Output, counts.output)?;
        let error = self.write_answers(&batch, row, journal, Kind::Error, counts.error)?;
        batch.count(counts);
        batch.output_file_id = output.as_ref().map(|file| file.id.clone());
        batch.error_file_id = error.as_ref().map(|file| file.id.clone());
        batch.set_status(row.ending.unwrap_or(Status::Completed));
        let ended = Row {
            batch,
            ..row.clone()
        };
        let kept = self.with(|database| {
            let transaction = database.transaction()?;
            for file in output.iter().chain(&error) {
                insert(&transaction, owner, file)?;
            }
            if ended.is_deferred {
                let input = &ended.batch.input_file_id;
                transaction.execute("DELETE FROM files WHERE id = ?", [input])?;
            }
            write(&transaction, &ended)?;
            Ok(transaction.commit()?)
        });
        if kept.is_err() {
            for file in output.iter().chain(&error) {
                remove(&self.file_path(&file.id))?;
            }
        }
        kept?;
        if ended.is_deferred {
            remove(&self.input_path(&ended.batch))?;
        }
        remove(&self.journal_path(&ended.batch.id))?;
        Ok(ended.batch)
    }

    fn write_answers(
        &self,
        batch: &Batch,
        row: &Row,
        journal: &Journal,
        kind: Kind,
        lines: u32,
    ) -> Result<Option<FileObject>, StoreError> {
        if lines == 0 {
            return Ok(None);
        }
        let what = match kind {
            Kind::Output => "output",
            Kind::Error => "error",
        };
        let id = id::file().map_err(StoreError::Random)?;
        let path = self.file_path(&id);
        let written = write_whole(&path, |out| journal.write_out(out, |found| found == kind));
        let bytes = written.map_err(|cause| StoreError::Io { path, cause })?;
        let new = NewFile {
            filename: format!("{}_{what}.jsonl", batch.id),
            purpose: "batch_output".to_owned(),
            bytes,
            keep_seconds: row.keep_seconds,
            checked: None,
        };
        Ok(Some(object(id, &new)))
    }

    /// Ends a batch that cannot be worked on. Its journal stays until the next start.
    pub fn fail(&self, id: &str, code: &str, message: String) -> Result<Row, StoreError> {
        self.change(id, |row| {
            row.batch.blame(code, message);
            row.batch.set_status(Status::Failed);
        })
    }

    /// What is left to do, `running` being the counts of the batches at work.
    pub fn backlog(&self, running: &BTreeMap<String, Counts>) -> Result<Backlog, StoreError> {
        let now = unix_seconds();
        self.with(|database| {
            let mut query = database.prepare_cached(
                "SELECT id, lines, input_bytes, body FROM batches WHERE ended = 0",
            )?;
            let mut rows = query.query(())?;
            let mut backlog = Backlog::default();
            while let Some(row) = rows.next()? {
                let (id, lines, bytes): (String, u64, u64) =
                    (row.get(0)?, row.get(1)?, row.get(2)?);
                let batch = parse(&row.get::<_, String>(3)?)?.batch;
                let counts = running.get(&id).copied().unwrap_or_default();
                let left = lines.saturating_sub(u64::from(counts.output + counts.error));
                backlog.batches += 1;
                backlog.lines += left;
                backlog.tokens += bytes / BYTES_PER_TOKEN * left / lines.max(1);
                let age = now.saturating_sub(batch.created_at);
                backlog.oldest_seconds = backlog.oldest_seconds.max(age);
            }
            Ok(backlog)
        })
    }

    /// Where the input of a batch lies.
    pub fn input_path(&self, batch: &Batch) -> std::path::PathBuf {
        self.file_path(&batch.input_file_id)
    }

    /// Opens the journal of a batch.
    pub fn journal(&self, batch: &Batch) -> Result<(Journal, u64), crate::journal::JournalError> {
        let path = self.journal_path(&batch.id);
        Journal::open(Path::new(&path), &batch.input_file_id)
    }
}

/// The number of lines of an input that fits.
pub fn check_input(file: &FileObject, expected: Endpoint) -> Result<u32, StoreError> {
    let Some(checked) = file.checked else {
        return Err(StoreError::Purpose {
            file: file.id.clone(),
            found: file.purpose.clone(),
        });
    };
    match checked.endpoint == expected {
        true => Ok(checked.lines),
        false => Err(StoreError::Endpoint {
            file: file.id.clone(),
            found: checked.endpoint,
            expected,
        }),
    }
}

pub(super) fn add(
    transaction: &Transaction,
    owner: &str,
    row: &Row,
    input_bytes: u64,
) -> Result<(), StoreError> {
    let body = serde_json::to_string(row).map_err(StoreError::Row)?;
    let (batch, lines) = (&row.batch, row.batch.request_counts.total);
    transaction.execute(
        "INSERT INTO batches (id, owner, ended, lines, input, input_bytes, body) \
         VALUES (?, ?, 0, ?, ?, ?, ?)",
        params![
            batch.id,
            owner,
            lines,
            batch.input_file_id,
            input_bytes,
            body
        ],
    )?;
    Ok(())
}

pub fn fresh(id: String, new: &NewBatch, lines: u32) -> Batch {
    let created_at = unix_seconds();
    Batch {
        id,
        object: "batch".to_owned(),
        endpoint: new.endpoint,
        input_file_id: new.input_file_id.clone(),
        completion_window: new.completion_window.clone(),
        status: Status::Validating,
        errors: None,
        output_file_id: None,
        error_file_id: None,
        created_at,
        in_progress_at: None,
        expires_at: created_at + new.window_seconds,
        finalizing_at: None,
        completed_at: None,
        failed_at: None,
        expired_at: None,
        cancelling_at: None,
        cancelled_at: None,
        request_counts: RequestCounts {
            total: lines,
            ..RequestCounts::default()
        },
        metadata: new.metadata.clone(),
    }
}

pub(super) fn row_of(
    database: &Connection,
    owner: Option<&str>,
    id: &str,
) -> Result<Row, StoreError> {
    let query = "SELECT body FROM batches WHERE id = ?1 AND (?2 IS NULL OR owner = ?2)";
    let body: Option<String> =
        (database.query_row(query, params![id, owner], |row| row.get(0))).optional()?;
    match body {
        Some(body) => parse(&body),
        None => Err(StoreError::NoBatch(id.to_owned())),
    }
}

fn write(transaction: &Transaction, row: &Row) -> Result<(), StoreError> {
    let body = serde_json::to_string(row).map_err(StoreError::Row)?;
    let ended = row.batch.status.has_ended();
    transaction.execute(
        "UPDATE batches SET body = ?, ended = ? WHERE id = ?",
        params![body, ended, row.batch.id],
    )?;
    Ok(())
}

fn owner_and_body(row: &rusqlite::Row<'_>) -> rusqlite::Result<(String, String)> {
    Ok((row.get(0)?, row.get(1)?))
}

fn read_rows(
    rows: impl Iterator<Item = rusqlite::Result<(String, String)>>,
) -> Result<Vec<(String, Row)>, StoreError> {
    let read = |row: rusqlite::Result<(String, String)>| {
        let (owner, body) = row?;
        Ok((owner, parse(&body)?))
    };
    rows.map(read).collect()
}

pub(super) fn parse(body: &str) -> Result<Row, StoreError> {
    serde_json::from_str(body).map_err(StoreError::Row)
}
