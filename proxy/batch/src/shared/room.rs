//! Room on this machine's disk. A machine without any leaves the queue to others: what it took it could not
//! work on.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{error, info};

use crate::disk::free_bytes;
use crate::metrics;

pub struct Room {
    directory: PathBuf,
    /// A disk that was full has room again with so many bytes,
    needed: u64,
    /// and no sooner than after so long: what could not be written may be larger, or a quota may forbid it.
    pause: Duration,
    failed_at: Mutex<Option<Instant>>,
}

impl Room {
    pub fn new(directory: PathBuf, needed: u64, pause: Duration) -> Room {
        Room {
            directory,
            needed,
            pause,
            failed_at: Mutex::new(None),
        }
    }

    /// Something could not be written.
    pub fn ran_out(&self, why: &impl Display) {
        if self.failed_at().replace(Instant::now()).is_none() {
            error!(error = %why, "the disk is full; nothing is taken from the queue until there is room");
            metrics::disk_full(true);
        }
    }

    /// Whether the disk was full, and still is.
    pub fn is_missing(&self) -> bool {
        let mut failed_at = self.failed_at();
        let Some(since) = *failed_at else {
            return false;
        };
        let is_full = || free_bytes(&self.directory).is_ok_and(|free| free < self.needed);
        if since.elapsed() < self.pause || is_full() {
            return true;
        }
        info!("there is room on the disk again");
        metrics::disk_full(false);
        *failed_at = None;
        false
    }

    fn failed_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.failed_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_missing_from_the_first_failure_until_there_are_so_many_bytes() {
        let directory = tempfile::tempdir().expect("a directory");
        let room = |needed, pause| Room::new(directory.path().to_owned(), needed, pause);
        let (none, long) = (Duration::ZERO, Duration::from_secs(3600));
        assert!(!room(u64::MAX, long).is_missing(), "nothing failed");
        for (needed, pause, still) in [(u64::MAX, none, true), (1, none, false), (1, long, true)] {
            let room = room(needed, pause);
            room.ran_out(&"no space");
            assert_eq!(room.is_missing(), still);
        }
    }
}
