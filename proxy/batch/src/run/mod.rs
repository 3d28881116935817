//! `run IN OUT`: a file of requests answered into another, for people without a service.
//!
//! Answers are in OUT.journal until all are there; then OUT is written at once, in the order of IN,
//! and the journal is removed. After an interruption the same command continues from the journal.

mod progress;

use std::fs::File;
use std::io::{self, BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::ask::Asker;
use crate::command::RunArgs;
use crate::disk::write_whole;
use crate::input::{BadFile, Checked, FileLimits, check};
use crate::journal::{Counts, Journal, JournalError};
use crate::work::{End, Input, Job, Order, Shared, Work, WorkError};

/// Only what memory can hold: 24 bytes and a hash for each line.
const LIMITS: FileLimits = FileLimits {
    lines: 100_000_000,
    line_bytes: 64 << 20,
};

/// How long lines that were asked may take to be answered after Ctrl-C.
const GRACE: Duration = Duration::from_secs(5);

/// In the ids of answers.
const NAME: &str = "run";

#[derive(Debug, Error)]
pub enum RunError {
    #[error("{}: {cause}", path.display())]
    Io { path: PathBuf, cause: io::Error },
    #[error("{}: {bad}", path.display())]
    BadFile { path: PathBuf, bad: BadFile },
    #[error("{} exists already; remove it, or use --overwrite", path.display())]
    OutputExists { path: PathBuf },
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Work(#[from] WorkError),
    #[error(transparent)]
    Asker(#[from] anyhow::Error),
    #[error(
        "interrupted with {done} of {total} lines answered; the same command continues from there"
    )]
    Interrupted { done: u32, total: u32 },
}

/// How many lines ended in which way.
pub async fn run(args: &RunArgs) -> Result<Counts, RunError> {
    let output = &args.output;
    if output.exists() && !args.overwrite {
        let path = output.clone();
        return Err(RunError::OutputExists { path });
    }
    let (checked, name) = tokio::task::block_in_place(|| look_at(&args.input))?;
    let journal_path = beside(output, ".journal");
    let (journal, damaged) = Journal::open(&journal_path, &name)?;
    let begun = journal.counts();
    report_begin(args, checked, begun, damaged);
    let rules = args.rules();
    let asker = Asker::new(&rules)?;
    let shared = Shared::new(asker, rules.in_flight_bytes, LIMITS, GRACE);
    let (orders, obeyed) = watch::channel(Order::Work);
    let (progress, watched) = watch::channel(begun);
    let shown = tokio::spawn(progress::show(watched, checked.lines));
    let interrupted = tokio::spawn(pause_when_interrupted(orders));
    let since = Instant::now();
    let job = Job {
        batch: NAME.to_owned(),
        owner: String::new(),
        input: Input {
            path: args.input.clone(),
            before: 0,
        },
        lines: Some(checked.lines),
    };
    let work = Work::new(job, journal, Arc::new(shared), obeyed, progress);
    let worked = work.run().await;
    interrupted.abort();
    let _ = shown.await;
    let (journal, end) = worked?;
    let counts = journal.counts();
    if end == End::Paused {
        let (done, total) = (counts.output + counts.error, checked.lines);
        return Err(RunError::Interrupted { done, total });
    }
    let written = tokio::task::block_in_place(|| {
        write_whole(output, |out| journal.write_out(out, |_| true))?;
        std::fs::remove_file(&journal_path)
    });
    written.map_err(|cause| RunError::Io {
        path: output.clone(),
        cause,
    })?;
    report_end(output, begun, counts, since.elapsed());
    Ok(counts)
}

/// Checks the input, and names its content.
fn look_at(input: &Path) -> Result<(Checked, String), RunError> {
    let failed = |cause| RunError::Io {
        path: input.to_owned(),
        cause,
    };
    let open = || File::open(input).map(|file| BufReader::with_capacity(1 << 20, file));
    let checked = open()
        .and_then(|file| check(file, LIMITS))
        .map_err(failed)?;
    let checked = checked.map_err(|bad| RunError::BadFile {
        path: input.to_owned(),
        bad,
    })?;
    let mut hash = Sha256::new();
    open()
        .and_then(|mut file| io::copy(&mut file, &mut hash))
        .map_err(failed)?;
    let digits: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok((checked, format!("sha256:{digits}")))
}

/// Ends with the task; the sender lives as long, so that the order is not missed.
async fn pause_when_interrupted(orders: watch::Sender<Order>) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    orders.send_replace(Order::Pause);
    std::future::pending().await
}

fn report_begin(args: &RunArgs, checked: Checked, begun: Counts, damaged: u64) {
    let done = begun.output + begun.error;
    if damaged > 0 {
        eprintln!("{damaged} records of the journal are damaged; their lines are sent again");
    }
    if done > 0 {
        eprintln!("going on: {done} of {} lines are answered", checked.lines);
    } else if io::stderr().is_terminal() {
        let (lines, input) = (checked.lines, args.input.display());
        eprintln!("{input}: {lines} lines for {}", checked.endpoint);
    }
}

fn report_end(output: &Path, begun: Counts, counts: Counts, took: Duration) {
    let all = counts.output + counts.error;
    let now = all - begun.output - begun.error;
    let rate = f64::from(now) / took.as_secs_f64().max(1e-3);
    let output = output.display();
    eprintln!(
        "{output}: {all} lines, {} answered and {} failed; {now} in {:.1} s, {rate:.1} a second",
        counts.output,
        counts.error,
        took.as_secs_f64()
    );
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
