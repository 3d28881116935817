//! The lines of an input that have no answer yet, read a few ahead by a thread.

use std::collections::HashSet;
use std::fs::File;
use std::io::BufReader;

use tokio::sync::mpsc;

use super::{Input, WorkError};
use crate::input::{FileLimits, Line, LineReader, RawLine};

/// Lines read ahead; each may be large.
const AHEAD: usize = 4;

const BUFFER_BYTES: usize = 1 << 18;

pub struct Intake {
    lines: mpsc::Receiver<Result<Line, WorkError>>,
}

impl Intake {
    /// Begins to read; ends with the last line, or when it is dropped.
    pub fn start(input: Input, limits: FileLimits, done: HashSet<u32>) -> Intake {
        let (sender, lines) = mpsc::channel(AHEAD);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = read(&input, limits, &done, &sender) {
                let _ = sender.blocking_send(Err(error));
            }
        });
        Intake { lines }
    }

    pub async fn next(&mut self) -> Result<Option<Line>, WorkError> {
        self.lines.recv().await.transpose()
    }
}

fn read(
    input: &Input,
    limits: FileLimits,
    done: &HashSet<u32>,
    to: &mpsc::Sender<Result<Line, WorkError>>,
) -> Result<(), WorkError> {
    let failed = |cause| WorkError::Input {
        path: input.path.clone(),
        cause,
    };
    let changed = |number, what| WorkError::Changed {
        path: input.path.clone(),
        number,
        what,
    };
    let file = File::open(&input.path).map_err(failed)?;
    let file = BufReader::with_capacity(BUFFER_BYTES, file);
    let mut reader = LineReader::new(file, limits.line_bytes);
    while let Some(line) = reader.read().map_err(failed)? {
        let line = match line {
            RawLine::Text { number, .. } if done.contains(&(input.before + number)) => continue,
            RawLine::Text { number, text } => {
                let number = input.before + number;
                Line::parse(number, text).map_err(|what| changed(number, what))?
            }
            RawLine::TooLong { number } => {
                let number = input.before + number;
                return Err(changed(number, "it is longer than it may be".to_owned()));
            }
        };
        if to.blocking_send(Ok(line)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}
