//! The answers of a batch as they arrive: an append-only file. A killed process continues from it, and
//! the output is written from it.
//!
//! A record is one line, `NUMBER KIND CRC TEXT`: the number of the input's line, `o` or `e`, the
//! CRC-32 of the rest in eight hexadecimal digits, and the answer. The first line says what the
//! answers are to. A record that is torn or damaged does not count, and its line is asked again;
//! nothing is ever overwritten. What [`Journal::append`] returned for is on the disk.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::answer::{Answer, Kind};
use crate::disk::is_full;

const MAGIC: &str = "tidegate-batch-journal";

/// Of this build. A later one may write what this one cannot read.
const VERSION: u32 = 1;

const BUFFER_BYTES: usize = 1 << 20;

pub struct Journal {
    file: File,
    path: PathBuf,
    /// Bytes that are whole records.
    length: u64,
    records: BTreeMap<u32, Record>,
    counts: Counts,
}

#[derive(Clone, Copy)]
struct Record {
    kind: Kind,
    /// Where its text is.
    offset: u64,
    bytes: u32,
}

/// Lines with an answer, by where it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub output: u32,
    pub error: u32,
}

#[derive(Debug, Error)]
pub enum JournalError {
    #[error("{}: {cause}", path.display())]
    Io { path: PathBuf, cause: io::Error },
    #[error(
        "{} was written by a newer version of tidegate-batch (journal {found}, this one knows \
         {VERSION})", path.display()
    )]
    Newer { path: PathBuf, found: u32 },
    #[error(
        "{0} holds answers to another input ({found}, expected {expected}); remove it to begin again",
        path.display()
    )]
    OtherInput {
        path: PathBuf,
        found: String,
        expected: String,
    },
    #[error("{} is no journal of tidegate-batch", path.display())]
    Foreign { path: PathBuf },
    #[error("{} is in use by another process", path.display())]
    InUse { path: PathBuf },
}

impl JournalError {
    /// Whether there is no room, which may pass.
    pub fn is_full_disk(&self) -> bool {
        matches!(self, JournalError::Io { cause, .. } if is_full(cause))
    }
}

impl Journal {
    /// Opens or creates the journal of answers to `input`, a word that names its content. Gives
    /// the number of damaged records with it.
    pub fn open(path: &Path, input: &str) -> Result<(Journal, u64), JournalError> {
        let failed = |cause| JournalError::Io {
            path: path.to_owned(),
            cause,
        };
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        let file = options.open(path).map_err(failed)?;
        if file.try_lock().is_err() {
            let path = path.to_owned();
            return Err(JournalError::InUse { path });
        }
        let mut journal = Journal {
            file,
            path: path.to_owned(),
            length: 0,
            records: BTreeMap::new(),
            counts: Counts::default(),
        };
        let damaged = journal.read(input)?;
        Ok((journal, damaged))
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether the line has an answer.
    pub fn has(&self, line: u32) -> bool {
        self.records.contains_key(&line)
    }

    /// The lines that have an answer.
    pub fn lines(&self) -> impl Iterator<Item = u32> {
        self.records.keys().copied()
    }

    /// Writes answers down. A line that has one already keeps it.
    ///
    /// # Errors
    /// Then none of the answers counts, and the same call may be made again.
    pub fn append(&mut self, answers: &[Answer]) -> Result<(), JournalError> {
        let mut text = Vec::new();
        let mut records: BTreeMap<u32, Record> = BTreeMap::new();
        for answer in answers {
            if self.has(answer.line) || records.contains_key(&answer.line) {
                continue;
            }
            let record = write_record(&mut text, self.length, answer);
            records.insert(answer.line, record);
        }
        let written = self.write(&text);
        written.map_err(|cause| self.failed(cause))?;
        self.length += text.len() as u64;
        for (line, record) in records {
            self.keep(line, record);
        }
        Ok(())
    }

    /// The answers that `wanted` picks, in the order of the input's lines.
    pub fn write_out(&self, out: &mut impl Write, wanted: impl Fn(Kind) -> bool) -> io::Result<()> {
        let mut text = Vec::new();
        for record in self.records.values().filter(|record| wanted(record.kind)) {
            self.read_text(record, &mut text)?;
            out.write_all(&text)?;
        }
        Ok(())
    }

    /// All answers in that order, each behind its kind's letter and a space.
    pub fn write_marked(&self, out: &mut impl Write) -> io::Result<()> {
        let mut text = Vec::new();
        for record in self.records.values() {
            self.read_text(record, &mut text)?;
            out.write_all(&[record.kind.letter(), b' '])?;
            out.write_all(&text)?;
        }
        Ok(())
    }

    /// An answer with a line's end.
    fn read_text(&self, record: &Record, text: &mut Vec<u8>) -> io::Result<()> {
        text.resize(record.bytes as usize, 0);
        self.file.read_exact_at(text, record.offset)?;
        text.push(b'\n');
        Ok(())
    }

    fn read(&mut self, input: &str) -> Result<u64, JournalError> {
        let file = self.file.try_clone();
        let file = file.map_err(|cause| self.failed(cause))?;
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
        let mut line = Vec::new();
        let read = (reader.by_ref().take(4096)).read_until(b'\n', &mut line);
        read.map_err(|cause| self.failed(cause))?;
        if line.last() != Some(&b'\n') {
            // New, or torn before it held anything.
            return self.begin(input, &line).map(|()| 0);
        }
        self.check_head(&line, input)?;
        self.length = line.len() as u64;
        let damaged = self.read_records(reader);
        damaged.map_err(|cause| self.failed(cause))
    }

    fn begin(&mut self, input: &str, found: &[u8]) -> Result<(), JournalError> {
        let head = format!("{MAGIC} {VERSION} {input}\n");
        if !head.as_bytes().starts_with(found) {
            let path = self.path.clone();
            return Err(JournalError::Foreign { path });
        }
        let begun = (self.file.set_len(0)).and_then(|()| self.write(head.as_bytes()));
        begun.map_err(|cause| self.failed(cause))?;
        self.length = head.len() as u64;
        Ok(())
    }

    fn check_head(&self, line: &[u8], input: &str) -> Result<(), JournalError> {
        let path = || self.path.clone();
        let line = String::from_utf8_lossy(line);
        let mut words = line.trim_end().splitn(3, ' ');
        let (magic, version) = (
            words.next(),
            words.next().and_then(|word| word.parse().ok()),
        );
        let (Some(MAGIC), Some(version)) = (magic, version) else {
            return Err(JournalError::Foreign { path: path() });
        };
        if version > VERSION {
            let found = version;
            return Err(JournalError::Newer {
                path: path(),
                found,
            });
        }
        match words.next().unwrap_or_default() {
            found if found == input => Ok(()),
            found => Err(JournalError::OtherInput {
                path: path(),
                found: found.to_owned(),
                expected: input.to_owned(),
            }),
        }
    }

    /// Takes in what is whole. A torn end is cut off, so that the next record begins on a line.
    fn read_records(&mut self, mut reader: impl BufRead) -> io::Result<u64> {
        let (mut damaged, mut line) = (0, Vec::new());
        loop {
            line.clear();
            let bytes = reader.read_until(b'\n', &mut line)?;
            if line.pop() != Some(b'\n') {
                self.file.set_len(self.length)?;
                return Ok(damaged);
            }
            match read_record(&line, self.length) {
                Some((number, record)) if !self.has(number) => self.keep(number, record),
                Some(_) => {}
                None => damaged += 1,
            }
            self.length += bytes as u64;
        }
    }

    fn keep(&mut self, line: u32, record: Record) {
        match record.kind {
            Kind::Output => self.counts.output += 1,
            Kind::Error => self.counts.error += 1,
        }
        self.records.insert(line, record);
    }

    /// All of it or nothing, as far as the disk lets one.
    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::End(0))?;
        let written = self
            .file
            .write_all(text)
            .and_then(|()| self.file.sync_data());
        if written.is_err() {
            let _ = self.file.set_len(self.length);
        }
        written
    }

    fn failed(&self, cause: io::Error) -> JournalError {
        JournalError::Io {
            path: self.path.clone(),
            cause,
        }
    }
}

fn write_record(text: &mut Vec<u8>, begin: u64, answer: &Answer) -> Record {
    let kind = char::from(answer.kind.letter());
    let head = format!("{} {kind} ", answer.line);
    let crc = crc_of(&head, &answer.text);
    text.extend_from_slice(format!("{head}{crc:08x} ").as_bytes());
    let record = Record {
        kind: answer.kind,
        offset: begin + text.len() as u64,
        bytes: answer.text.len() as u32,
    };
    text.extend_from_slice(&answer.text);
    text.push(b'\n');
    record
}

/// A record that begins at `begin`, unless it is damaged.
fn read_record(line: &[u8], begin: u64) -> Option<(u32, Record)> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let mut word = || std::str::from_utf8(parts.next()?).ok();
    let (number, kind, crc) = (word()?, word()?, word()?);
    let text = parts.next()?;
    if u32::from_str_radix(crc, 16).ok()? != crc_of(&format!("{number} {kind} "), text) {
        return None;
    }
    let record = Record {
        kind: match kind {
            "o" => Kind::Output,
            "e" => Kind::Error,
            _ => return None,
        },
        offset: begin + (line.len() - text.len()) as u64,
        bytes: text.len() as u32,
    };
    Some((number.parse().ok()?, record))
}

fn crc_of(head: &str, text: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head.as_bytes());
    hasher.update(text);
    hasher.finalize()
}

#[cfg(test)]
mod tests;
