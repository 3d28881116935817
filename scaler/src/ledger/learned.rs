//! What the law has learned, in a file beside the ledger: it is replaced as a whole, so that a crash
//! leaves the one before.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use tidegate_control::{BadLearned, Learned};

use super::beside;

/// Nothing can be made of the file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", file.display())]
pub struct Unread {
    pub file: PathBuf,
    #[source]
    pub cause: Cause,
}

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum Cause {
    Unreadable(#[from] io::Error),
    Unusable(#[from] BadLearned),
}

pub(super) fn keep(ledger: &Path, learned: &Learned) -> io::Result<()> {
    let (file, new) = (beside(ledger, "learned"), beside(ledger, "learned.new"));
    let mut written = File::create(&new)?;
    written.write_all(&serde_json::to_vec(learned)?)?;
    written.sync_all()?;
    fs::rename(new, file)
}

/// What the law of an earlier run has learned; `None` where none was kept beside this ledger.
///
/// # Errors
/// When it is damaged, of another version, or cannot be read.
pub fn learned(ledger: &Path) -> Result<Option<Learned>, Unread> {
    let file = beside(ledger, "learned");
    read(&file).map_err(|cause| Unread { file, cause })
}

fn read(file: &Path) -> Result<Option<Learned>, Cause> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(Learned::parse(&text)?)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}
