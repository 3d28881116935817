//! This machine's own directory: uploads that are not whole, and journals of parts at work, from which
//! a process that was killed goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::SharedError;

/// A journal that nobody has written to for so long is of a part that others have answered.
const OLD: Duration = Duration::from_secs(7 * 24 * 3600);

pub struct Scratch {
    directory: PathBuf,
    /// Unlocked with the end of the process.
    _lock: fs::File,
}

impl Scratch {
    pub fn open(directory: &Path) -> Result<Scratch, SharedError> {
        for name in ["uploads", "parts"] {
            let place = directory.join(name);
            fs::create_dir_all(&place).map_err(SharedError::io(place))?;
        }
        let path = directory.join("lock");
        let lock = fs::File::create(&path).map_err(SharedError::io(path))?;
        if lock.try_lock().is_err() {
            return Err(SharedError::InUse(directory.to_owned()));
        }
        sweep(&directory.join("uploads"), Duration::ZERO)?;
        sweep(&directory.join("parts"), OLD)?;
        Ok(Scratch {
            directory: directory.to_owned(),
            _lock: lock,
        })
    }

    pub fn upload(&self, name: &str) -> PathBuf {
        self.directory.join("uploads").join(name)
    }

    /// Where a part's input lies while it is at work.
    pub fn input(&self, batch: &str, part: u32) -> PathBuf {
        self.part(batch, part, "in")
    }

    pub fn journal(&self, batch: &str, part: u32) -> PathBuf {
        self.part(batch, part, "journal")
    }

    /// Where its answers are written whole.
    pub fn answers(&self, batch: &str, part: u32) -> PathBuf {
        self.part(batch, part, "out")
    }

    /// Removes all of a part.
    pub fn forget(&self, batch: &str, part: u32) {
        for path in [
            self.input(batch, part),
            self.journal(batch, part),
            self.answers(batch, part),
        ] {
            let _ = fs::remove_file(path);
        }
    }

    fn part(&self, batch: &str, part: u32, what: &str) -> PathBuf {
        let name = format!("{batch}.{part:05}.{what}");
        self.directory.join("parts").join(name)
    }
}

/// Removes what was not changed for so long.
fn sweep(place: &Path, age: Duration) -> Result<(), SharedError> {
    for entry in fs::read_dir(place).map_err(SharedError::io(place))? {
        let entry = entry.map_err(SharedError::io(place))?;
        let changed = entry.metadata().and_then(|found| found.modified());
        let changed = changed.map_err(SharedError::io(place))?;
        if changed.elapsed().unwrap_or_default() >= age {
            fs::remove_file(entry.path()).map_err(SharedError::io(place))?;
        }
    }
    Ok(())
}
