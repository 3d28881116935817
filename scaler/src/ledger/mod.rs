//! The ledger: one JSON line for each tick with what was seen and decided, written before anything is
//! done, and one more with the outcome.
//!
//! Lines carry a version, files are rotated by size, and no line holds a secret or a request.

mod fold;
mod learned;

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tidegate_control::{Learned, Time};

pub use fold::{Folded, Recalled, fold};
pub use learned::{Unread, learned};
pub use tidegate_control::record::{
    ByHand, Entry, Line, Note, Outcome, Tick, VERSION, WorkerByHand,
};

use crate::paths;

/// Where a scaler writes down what it sees, decides and does.
pub trait Record: Send {
    /// # Errors
    /// When the entry is not kept.
    fn record(&mut self, at: Time, entry: Entry) -> io::Result<()>;

    /// Keeps what the law has learned, in place of what was kept before. One that keeps none forgets
    /// it.
    ///
    /// # Errors
    /// When it is not kept.
    fn keep(&mut self, _learned: &Learned) -> io::Result<()> {
        Ok(())
    }
}

impl Record for Ledger {
    fn record(&mut self, at: Time, entry: Entry) -> io::Result<()> {
        self.write(at, entry)
    }

    fn keep(&mut self, learned: &Learned) -> io::Result<()> {
        learned::keep(&self.rules.file, learned)
    }
}

/// Where the ledger is and how much of it is kept.
#[derive(Clone, Debug)]
pub struct LedgerRules {
    pub file: PathBuf,
    pub bytes: u64,
    /// Files put aside: `ledger.jsonl.1` is the latest.
    pub kept: u32,
}

/// Another process writes the ledger.
#[derive(Debug, thiserror::Error)]
#[error(
    "another scaler writes it, as {} is locked: stop that one, or give each a scaler.ledger of \
     its own",
    lock.display()
)]
pub struct Taken {
    pub lock: PathBuf,
}

/// A ledger that is being written.
#[derive(Debug)]
pub struct Ledger {
    rules: LedgerRules,
    /// Beside the ledger, which is put aside and begun anew: one process writes it.
    _lock: File,
    file: File,
    bytes: u64,
}

impl Ledger {
    /// Opens the ledger to write on. A last line that was torn by a crash is closed off.
    ///
    /// # Errors
    /// [`Taken`] while another process has it open; otherwise when it cannot be written.
    pub fn open(rules: LedgerRules) -> io::Result<Ledger> {
        if let Some(directory) = rules.file.parent() {
            fs::create_dir_all(directory)?;
        }
        let lock = beside(&paths::led_to(&rules.file), "lock");
        let _lock = paths::lock(&lock)?.ok_or_else(|| io::Error::other(Taken { lock }))?;
        let (file, bytes) = open(&rules.file)?;
        Ok(Ledger {
            rules,
            _lock,
            file,
            bytes,
        })
    }

    /// Appends a line, in one write.
    pub fn write(&mut self, at: Time, entry: Entry) -> io::Result<()> {
        let version = VERSION;
        let mut line = serde_json::to_vec(&Line { version, at, entry })?;
        line.push(b'\n');
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.rules.bytes {
            self.put_aside()?;
        }
        self.file.write_all(&line)?;
        self.bytes += line.len() as u64;
        Ok(())
    }

    fn put_aside(&mut self) -> io::Result<()> {
        let kept = self.rules.kept;
        for number in (1..kept).rev() {
            let (from, to) = (self.aside(number), self.aside(number + 1));
            if from.exists() {
                fs::rename(from, to)?;
            }
        }
        match kept {
            0 => fs::remove_file(&self.rules.file)?,
            _ => fs::rename(&self.rules.file, self.aside(1))?,
        }
        (self.file, self.bytes) = open(&self.rules.file)?;
        Ok(())
    }

    fn aside(&self, number: u32) -> PathBuf {
        aside(&self.rules.file, number)
    }
}

/// Where a dry run writes, so that no other run takes its ticks for done.
pub fn of_dry_run(file: &Path) -> PathBuf {
    beside(file, "dry-run")
}

/// `ledger.jsonl.1`.
pub(crate) fn aside(file: &Path, number: u32) -> PathBuf {
    beside(file, &number.to_string())
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{ending}"));
    name.into()
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let mut file = File::options()
        .create(true)
        .read(true)
        .append(true)
        .open(path)?;
    let mut bytes = file.metadata()?.len();
    if bytes > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != [b'\n'] {
            file.write_all(b"\n")?;
            bytes += 1;
        }
    }
    Ok((file, bytes))
}
