//! The access log: one line for each request, so that `tidegate-scaler backtest --trace` can
//! replay them. Off unless the config names a file.
//!
//! A line has time, model, outcome, duration and the request's id: no text, no address, no token. Requests never wait for
//! the disk: a thread writes lines from a bounded queue; while the queue is full, lines are dropped and
//! counted.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use tidegate_http::RequestId;

use crate::config::AccessRules;
use crate::metrics;

/// Read by `tidegate-scaler backtest`.
const HEADER: &str = "timestamp,model,outcome,ms,request_id";

/// Lines on their way to the disk.
const QUEUE: usize = 16_384;

/// How long a line may stay in memory, and how long the end waits for the last ones.
const FLUSH: Duration = Duration::from_secs(1);

/// Notes requests as they end.
#[derive(Clone)]
pub struct AccessLog {
    notes: SyncSender<Note>,
}

enum Note {
    Line(Line),
    /// To be answered once all that came before is written.
    Flush(SyncSender<()>),
}

/// One request.
struct Line {
    arrived_ms: u64,
    model: String,
    outcome: &'static str,
    took_ms: u64,
    id: RequestId,
}

impl AccessLog {
    /// Starts the thread that writes; `None` where no log is asked for.
    pub fn start(rules: &AccessRules) -> anyhow::Result<Option<AccessLog>> {
        let Some(path) = rules.log.clone() else {
            return Ok(None);
        };
        let cannot = || format!("cannot write {}", path.display());
        // Lines of an earlier version have other columns.
        if !has_header(&path) {
            put_aside(&path).with_context(cannot)?;
        }
        let file = open(&path).with_context(cannot)?;
        let (notes, received) = sync_channel(QUEUE);
        let writer = Writer {
            path,
            limit: rules.bytes,
            written: file.metadata().map_or(0, |metadata| metadata.len()),
            file: BufWriter::new(file),
        };
        std::thread::Builder::new()
            .name("access log".to_owned())
            .spawn(move || writer.run(&received))?;
        Ok(Some(AccessLog { notes }))
    }

    /// A request ended now, `took` after it had arrived.
    pub fn note(&self, model: &str, took: Duration, outcome: &'static str, id: &RequestId) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let arrived = now.unwrap_or_default().saturating_sub(took);
        let line = Line {
            arrived_ms: arrived.as_millis() as u64,
            model: model.to_owned(),
            outcome,
            took_ms: took.as_millis() as u64,
            id: id.clone(),
        };
        if self.notes.try_send(Note::Line(line)).is_err() {
            metrics::access_line_dropped();
        }
    }

    /// Waits until what was noted is on its way to the disk, for a moment at most.
    pub fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.notes.try_send(Note::Flush(done)).is_ok() {
            let _ = written.recv_timeout(FLUSH);
        }
    }
}

/// The thread's side.
struct Writer {
    path: PathBuf,
    limit: u64,
    written: u64,
    file: BufWriter<File>,
}

impl Writer {
    /// Until nobody can note anything any more.
    fn run(mut self, notes: &Receiver<Note>) {
        loop {
            let result = match notes.recv_timeout(FLUSH) {
                Ok(Note::Line(line)) => self.write(&line),
                Ok(Note::Flush(done)) => self.file.flush().inspect(|()| {
                    let _ = done.try_send(());
                }),
                Err(RecvTimeoutError::Timeout) => self.file.flush(),
                Err(RecvTimeoutError::Disconnected) => {
                    let _ = self.file.flush();
                    return;
                }
            };
            if let Err(error) = result {
                tracing::error!(%error, log = %self.path.display(), "the access log cannot be written; it ends here");
                return;
            }
        }
    }

    fn write(&mut self, line: &Line) -> std::io::Result<()> {
        if self.written >= self.limit {
            self.file.flush()?;
            put_aside(&self.path)?;
            self.file = BufWriter::new(open(&self.path)?);
            self.written = 0;
        }
        if self.written == 0 {
            self.append(format!("{HEADER}\n"))?;
        }
        let Line {
            arrived_ms,
            model,
            outcome,
            took_ms,
            id,
        } = line;
        let (seconds, rest) = (arrived_ms / 1000, arrived_ms % 1000);
        let id = field(id.as_str());
        let line = format!("{seconds}.{rest:03},{model},{outcome},{took_ms},{id}\n");
        self.append(line)
    }

    fn append(&mut self, text: String) -> std::io::Result<()> {
        self.written += text.len() as u64;
        self.file.write_all(text.as_bytes())
    }
}

/// A full log is kept beside the new one, in place of the one before.
fn put_aside(path: &Path) -> std::io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".1");
    std::fs::rename(path, aside)
}

/// Whether lines can be added to what is there, which may be nothing, or no file but a pipe.
fn has_header(path: &Path) -> bool {
    if !path.is_file() {
        return true;
    }
    let mut first = String::new();
    let read = File::open(path).and_then(|file| {
        let most = HEADER.len() as u64 + 1;
        BufReader::new(file.take(most)).read_line(&mut first)
    });
    read.is_err() || first.is_empty() || first.trim_end() == HEADER
}

/// As a column of comma-separated values (RFC 4180).
fn field(text: &str) -> Cow<'_, str> {
    match text.contains([',', '"']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")).into(),
        false => text.into(),
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o640).open(path)
}
