//! Jobs on all cores, and a line that shows their progress.

use std::io::{IsTerminal, Write};
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two updates of the line.
const PAUSE: Duration = Duration::from_millis(100);

/// How many jobs are done; shown on a terminal and nowhere else.
pub struct Progress {
    total: usize,
    done: AtomicUsize,
    began: Instant,
    shown: Option<Mutex<Instant>>,
}

impl Progress {
    pub fn new(total: usize) -> Progress {
        let now = Instant::now();
        Progress {
            total,
            done: AtomicUsize::new(0),
            began: now,
            shown: std::io::stderr().is_terminal().then(|| Mutex::new(now)),
        }
    }

    /// One more job is done.
    fn step(&self, what: &str) {
        let done = 1 + self.done.fetch_add(1, Ordering::Relaxed);
        let Some(shown) = &self.shown else { return };
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.elapsed() < PAUSE {
            return;
        }
        *shown = Instant::now();
        let share = done as f64 / self.total.max(1) as f64;
        let left_s = self.began.elapsed().as_secs_f64() * (1.0 - share) / share;
        let (percent, total) = (share * 100.0, self.total);
        let _ = write!(
            std::io::stderr(),
            "\r\x1b[K{percent:.0} % ({done} of {total} runs), {left_s:.0} s left: {what}"
        );
    }

    /// Takes the line away.
    pub fn clear(&self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// What `run` makes of each job, in the order of the jobs.
pub fn map<J: Sync, R: Send>(
    jobs: &[J],
    progress: &Progress,
    name: impl Fn(&J) -> String + Sync,
    run: impl Fn(&J) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(jobs.len()));
    let work = || {
        while let Some((index, job)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            jobs.get(index).map(|job| (index, job))
        } {
            let result = run(job);
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            results.push((index, result));
            drop(results);
            progress.step(&name(job));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(jobs.len()) {
            scope.spawn(work);
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
