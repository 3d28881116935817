//! One line on a terminal that says how far long work is, how fast it goes and how long it still takes.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two updates of the line.
const PAUSE: Duration = Duration::from_millis(100);

/// Counts steps of work; shown on a terminal and nowhere else.
pub struct Progress {
    total: usize,
    /// Such as `runs`.
    unit: &'static str,
    done: AtomicUsize,
    began: Instant,
    /// When the line was written last, if it is shown at all.
    shown: Option<Mutex<Option<Instant>>>,
}

impl Progress {
    pub fn new(total: usize, unit: &'static str) -> Progress {
        Progress {
            total,
            unit,
            done: AtomicUsize::new(0),
            began: Instant::now(),
            shown: std::io::stderr().is_terminal().then(Mutex::default),
        }
    }

    /// One more step is done; `what` it was.
    pub fn step(&self, what: &str) {
        let done = 1 + self.done.fetch_add(1, Ordering::Relaxed);
        self.show(done, what, PAUSE);
    }

    /// A step begins that takes long; `what` it is.
    pub fn begin(&self, what: &str) {
        self.show(self.done.load(Ordering::Relaxed), what, Duration::ZERO);
    }

    /// One step is done, and another one begins that takes long; `what` that is.
    pub fn next(&self, what: &str) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.begin(what);
    }

    /// Takes the line away.
    pub fn clear(&self) {
        if self.shown.is_some() {
            write("");
        }
    }

    /// Unless it was shown less than `pause` ago.
    fn show(&self, done: usize, what: &str, pause: Duration) {
        let Some(shown) = &self.shown else { return };
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.is_some_and(|last| last.elapsed() < pause) {
            return;
        }
        *shown = Some(Instant::now());
        write(&self.line(done, self.began.elapsed(), what));
    }

    fn line(&self, done: usize, took: Duration, what: &str) -> String {
        let Progress { total, unit, .. } = self;
        let share = done as f64 / (*total).max(1) as f64;
        let seconds = took.as_secs_f64();
        let pace = match done {
            0 => String::new(),
            _ => {
                let rate = done as f64 / seconds.max(1e-3);
                let left = span(seconds * (1.0 - share).max(0.0) / share);
                format!(", {rate:.1} a second, {left} left")
            }
        };
        format!(
            "{:.0} % ({done} of {total} {unit}{pace}): {what}",
            share * 100.0
        )
    }
}

impl Drop for Progress {
    /// However the work ends, what is said next has a line of its own.
    fn drop(&mut self) {
        self.clear();
    }
}

/// From the begin of the line, in place of what was there.
fn write(text: &str) {
    let mut out = std::io::stderr().lock();
    // A terminal that cannot be written to has nobody to tell.
    let _ = write!(out, "\r\x1b[K{text}").and_then(|()| out.flush());
}

fn span(seconds: f64) -> String {
    match seconds.round() as u64 {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_share_rate_and_time_left() {
        let progress = Progress::new(200, "runs");
        let line = |done, seconds| progress.line(done, Duration::from_secs(seconds), "a");
        assert_eq!(line(0, 3), "0 % (0 of 200 runs): a");
        assert_eq!(
            line(50, 25),
            "25 % (50 of 200 runs, 2.0 a second, 1 min 15 s left): a"
        );
        assert_eq!(
            line(200, 100),
            "100 % (200 of 200 runs, 2.0 a second, 0 s left): a"
        );
    }
}
