//! Room on this machine's disk. A machine without any leaves the queue to others: what it took it could not
//! work on.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{error, info};

use crate::disk::free_bytes;
use crate::metrics;

pub struct Room {
    directory: PathBuf,
    /// A disk that was full has room again with so many bytes.
    needed: u64,
    is_missing: AtomicBool,
}

impl Room {
    pub fn new(directory: PathBuf, needed: u64) -> Room {
        Room {
            directory,
            needed,
            is_missing: AtomicBool::new(false),
        }
    }

    /// Something could not be written.
    pub fn ran_out(&self, why: &impl Display) {
        if !self.is_missing.swap(true, Ordering::Relaxed) {
            error!("the disk is full; nothing is taken from the queue until there is room: {why}");
            metrics::disk_full(true);
        }
    }

    /// Whether the disk was full, and still is.
    pub fn is_missing(&self) -> bool {
        if !self.is_missing.load(Ordering::Relaxed) {
            return false;
        }
        let free = free_bytes(&self.directory);
        if free.is_ok_and(|free| free < self.needed) {
            return true;
        }
        info!("there is room on the disk again");
        metrics::disk_full(false);
        self.is_missing.store(false, Ordering::Relaxed);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_missing_from_the_first_failure_until_there_are_so_many_bytes() {
        let directory = tempfile::tempdir().expect("a directory");
        let room = |needed| Room::new(directory.path().to_owned(), needed);
        assert!(!room(u64::MAX).is_missing(), "nothing failed");
        for (needed, still) in [(u64::MAX, true), (1, false)] {
            let room = room(needed);
            room.ran_out(&"no space");
            assert_eq!(room.is_missing(), still);
        }
    }
}
