//! The end of a batch: its parts' answers into an output and an error file.
//!
//! Any runner may do it, and several at once: they write the same bytes under the same names.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use futures_util::{StreamExt, stream};
use reqwest::Response;
use tracing::{error, info};

use super::batches::{Asked, answers_id, counts_begin, ended_key, open_key, part_key};
use super::bucket::{Put, SERVICE, from_json, strange_object};
use super::files::{AT_ONCE, Known};
use super::parts::{Ending, Head};
use super::{SharedError, SharedStore};
use crate::id;
use crate::journal::Counts;
use crate::store::{NewFile, Row, Status, StoreError};

const BUFFER_BYTES: usize = 1 << 20;

impl SharedStore {
    /// Ends a batch if all its parts are there.
    pub async fn finish_if_whole(&self, owner: &str, asked: &Asked) -> Result<(), StoreError> {
        let id = &asked.row.batch.id;
        let there = self.bucket.list(&format!("work/{id}/parts/")).await?;
        match there.len() < asked.parts.len() {
            true => Ok(()),
            false => self.finish(owner, asked).await,
        }
    }

    async fn finish(&self, owner: &str, asked: &Asked) -> Result<(), StoreError> {
        let id = &asked.row.batch.id;
        let Some(merged) = self.merge(owner, asked).await? else {
            // Another one was faster.
            return Ok(());
        };
        let output = self.keep_answers(owner, asked, "output", &merged.output);
        let output = output.await?;
        let error = self.keep_answers(owner, asked, "error", &merged.error);
        let error = error.await?;
        let mut row = asked.row.clone();
        self.progress(id).await?.apply(&mut row.batch);
        let batch = &mut row.batch;
        batch.count(Counts {
            output: merged.output.lines,
            error: merged.error.lines,
        });
        batch.output_file_id = output;
        batch.error_file_id = error;
        batch.set_status(Status::Finalizing);
        batch.set_status(match merged.ending {
            Ending::Completed => Status::Completed,
            Ending::Expired => Status::Expired,
            Ending::Cancelled => Status::Cancelled,
        });
        self.end(owner, &row).await
    }

    /// Ends a batch that cannot be worked on.
    pub async fn fail(
        &self,
        owner: &str,
        asked: &Asked,
        message: String,
    ) -> Result<(), StoreError> {
        let mut row = asked.row.clone();
        row.batch.blame("store_failed", message);
        row.batch.set_status(Status::Failed);
        self.end(owner, &row).await
    }

    async fn end(&self, owner: &str, row: &Row) -> Result<(), StoreError> {
        let id = &row.batch.id;
        let put = self.bucket.put_new_json(&ended_key(owner, id), row).await?;
        if put == Put::Done {
            let (status, counts) = (row.batch.status.word(), row.batch.request_counts);
            info!(batch = %id, status, answered = counts.completed, failed = counts.failed, "ended");
        }
        Ok(self.clean_up(owner, id).await?)
    }

    /// Removes what a batch that has ended needed; last of all that it is open.
    pub async fn clean_up(&self, owner: &str, id: &str) -> Result<(), SharedError> {
        let listed = self.bucket.list(&format!("work/{id}/")).await?;
        let mut removed = stream::iter(listed)
            .map(|object| async move { self.bucket.delete(&object.key).await })
            .buffer_unordered(AT_ONCE);
        while let Some(removed) = removed.next().await {
            removed?;
        }
        self.bucket.delete(&open_key(owner, id)).await
    }

    /// All parts in order. `None` when one is gone, because the batch has ended meanwhile; or is damaged, and
    /// is answered again.
    async fn merge(&self, owner: &str, asked: &Asked) -> Result<Option<Merged>, StoreError> {
        let mut merged = Merged {
            output: self.answers()?,
            error: self.answers()?,
            ending: Ending::Completed,
        };
        for part in 0..asked.parts.len() as u32 {
            let key = part_key(&asked.row.batch.id, part);
            let Some(object) = self.bucket.get(&key, None).await? else {
                return Ok(None);
            };
            match merged.take_part(&key, object).await {
                Err(damaged @ SharedError::Object { .. }) => {
                    self.answer_again(owner, asked, part, damaged).await?;
                    return Ok(None);
                }
                taken => taken?,
            }
        }
        tokio::task::block_in_place(|| {
            merged.output.flush()?;
            merged.error.flush()
        })?;
        Ok(Some(merged))
    }

    /// Removes the answers of a part that cannot be read, and puts the part into the queue again.
    async fn answer_again(
        &self,
        owner: &str,
        asked: &Asked,
        part: u32,
        damaged: SharedError,
    ) -> Result<(), StoreError> {
        let id = &asked.row.batch.id;
        error!(batch = %id, part, error = %damaged, "its answers are damaged; its lines are sent again");
        for object in self.bucket.list(&counts_begin(id, part)).await? {
            self.bucket.delete(&object.key).await?;
        }
        self.bucket.delete(&part_key(id, part)).await?;
        Ok(self.send(owner, asked, &[part]).await?)
    }

    fn answers(&self) -> Result<Answers, StoreError> {
        let path = self
            .scratch
            .upload(&id::random().map_err(StoreError::Random)?);
        let file = File::create(&path).map_err(SharedError::io(&path))?;
        Ok(Answers {
            out: BufWriter::with_capacity(BUFFER_BYTES, file),
            path,
            lines: 0,
            bytes: 0,
        })
    }

    /// The name of a file of answers, if there are any.
    async fn keep_answers(
        &self,
        owner: &str,
        asked: &Asked,
        what: &str,
        answers: &Answers,
    ) -> Result<Option<String>, StoreError> {
        if answers.lines == 0 {
            return Ok(None);
        }
        let batch = &asked.row.batch.id;
        let new = NewFile {
            filename: format!("{batch}_{what}.jsonl"),
            purpose: "batch_output".to_owned(),
            bytes: answers.bytes,
            keep_seconds: asked.row.keep_seconds,
            checked: None,
        };
        let known = Known::new(answers_id(batch, what), &new, Vec::new());
        self.keep(owner, &known, &answers.path).await?;
        Ok(Some(known.id))
    }
}

struct Merged {
    output: Answers,
    error: Answers,
    ending: Ending,
}

/// A file of answers on this machine, gone with the value.
struct Answers {
    path: PathBuf,
    out: BufWriter<File>,
    lines: u32,
    bytes: u64,
}

/// How far the object of a part is read.
struct Reading<'a> {
    key: &'a str,
    /// What is there of the next line.
    line: Vec<u8>,
    head: Option<Head>,
    /// Answers so far.
    answers: u32,
}

impl Merged {
    /// Takes the answers of a part.
    async fn take_part(&mut self, key: &str, mut object: Response) -> Result<(), SharedError> {
        let mut reading = Reading {
            key,
            line: Vec::new(),
            head: None,
            answers: 0,
        };
        loop {
            let piece = object.chunk().await;
            let piece = piece.map_err(SharedError::unreachable(SERVICE))?;
            let Some(piece) = piece else { break };
            tokio::task::block_in_place(|| self.take(&piece, &mut reading))?;
        }
        reading.check_whole()
    }

    fn take(&mut self, piece: &[u8], reading: &mut Reading) -> Result<(), SharedError> {
        for piece in piece.split_inclusive(|byte| *byte == b'\n') {
            reading.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut reading.line);
                self.take_line(&line, reading)?;
            }
        }
        Ok(())
    }

    fn take_line(&mut self, line: &[u8], reading: &mut Reading) -> Result<(), SharedError> {
        let strange = |why: String| strange_object(reading.key, why);
        if reading.head.is_none() {
            let head: Head = from_json(reading.key, line)?;
            self.ending = self.ending.max(head.ending);
            reading.head = Some(head);
            return Ok(());
        }
        reading.answers += 1;
        match line.split_at_checked(2) {
            Some((b"o ", answer)) => self.output.write(answer),
            Some((b"e ", answer)) => self.error.write(answer),
            _ => Err(strange("a line is neither answer nor error".to_owned())),
        }
    }
}

impl Reading<'_> {
    fn check_whole(&self) -> Result<(), SharedError> {
        let damaged = |why: &str| Err(strange_object(self.key, why.to_owned()));
        let Some(head) = self.head else {
            return damaged("it is empty");
        };
        match head.answers {
            _ if !self.line.is_empty() => damaged("its last line has no end"),
            Some(answers) if answers != self.answers => damaged(&format!(
                "found {} answers, expected {answers}",
                self.answers
            )),
            _ => Ok(()),
        }
    }
}

impl Answers {
    fn write(&mut self, line: &[u8]) -> Result<(), SharedError> {
        self.lines += 1;
        self.bytes += line.len() as u64;
        let written = self.out.write_all(line);
        written.map_err(SharedError::io(&self.path))
    }

    fn flush(&mut self) -> Result<(), SharedError> {
        self.out.flush().map_err(SharedError::io(&self.path))
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else its answers would be taken for damaged, removed and asked for again.
    #[test]
    fn a_part_of_a_newer_version_is_not_taken_for_damaged() {
        let directory = tempfile::tempdir().expect("a directory");
        let answers = |name: &str| {
            let path = directory.path().join(name);
            Answers {
                out: BufWriter::new(File::create(&path).expect("a file")),
                path,
                lines: 0,
                bytes: 0,
            }
        };
        let mut merged = Merged {
            output: answers("output"),
            error: answers("error"),
            ending: Ending::Completed,
        };
        let mut take = |head: &str| {
            let mut reading = Reading {
                key: "part",
                head: None,
                line: Vec::new(),
                answers: 0,
            };
            merged.take(head.as_bytes(), &mut reading)
        };
        let newer = take("{\"version\":2,\"ending\":\"a word of its own\"}\n");
        assert!(matches!(newer, Err(SharedError::Newer { .. })), "{newer:?}");
        let damaged = take("{\"version\":1,\"ending\":\"a word of its own\"}\n");
        assert!(
            matches!(damaged, Err(SharedError::Object { .. })),
            "{damaged:?}"
        );
    }
}
