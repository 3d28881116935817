//! The lease of scalers on one machine: a lock on a file, which the system releases however its holder
//! ends. The memory is in a file beside it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{LeaseChange, LeaseError, Memory};
use crate::paths;

pub struct FileLease {
    path: PathBuf,
    /// Locked as long as it is open.
    held: Option<File>,
    /// As it was last written.
    kept: Memory,
}

impl FileLease {
    pub fn new(path: PathBuf) -> FileLease {
        FileLease {
            path,
            held: None,
            kept: Memory::default(),
        }
    }

    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    pub(super) fn renew(&mut self, memory: &Memory) -> LeaseChange {
        if self.is_held() {
            return match self.keep(memory) {
                Ok(()) => LeaseChange::Same,
                Err(error) => LeaseChange::Unreached(error),
            };
        }
        match self.take() {
            Ok(None) => LeaseChange::Same,
            Ok(Some(file)) => {
                self.held = Some(file);
                LeaseChange::Taken(self.recall())
            }
            Err(error) => LeaseChange::Unreached(error),
        }
    }

    fn take(&self) -> Result<Option<File>, LeaseError> {
        let what = || format!("cannot lock {}", self.path.display());
        paths::lock(&self.path).map_err(|cause| LeaseError::File {
            what: what(),
            cause,
        })
    }

    pub(super) fn keep(&mut self, memory: &Memory) -> Result<(), LeaseError> {
        if !self.is_held() {
            return Err(LeaseError::Lost);
        }
        if self.kept == *memory {
            return Ok(());
        }
        let json = memory.to_json()?;
        let (path, new) = (self.beside("memory"), self.beside("memory.new"));
        let what = || format!("cannot write {}", path.display());
        write_whole(&new, &path, json.as_bytes()).map_err(|cause| LeaseError::File {
            what: what(),
            cause,
        })?;
        self.kept = memory.clone();
        Ok(())
    }

    pub(super) fn give_up(&mut self, memory: &Memory) -> Result<(), LeaseError> {
        if !self.is_held() {
            return Ok(());
        }
        let kept = self.keep(memory);
        self.held = None;
        kept
    }

    fn recall(&self) -> Result<Option<Memory>, LeaseError> {
        let path = self.beside("memory");
        match fs::read_to_string(&path) {
            Ok(json) => Memory::of_json(&json).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => {
                let what = format!("cannot read {}", path.display());
                Err(LeaseError::File { what, cause })
            }
        }
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{ending}"));
        name.into()
    }
}

/// Writes a file so that after a crash of the machine it is the old one or the new one, and whole.
fn write_whole(new: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(new, path)?;
    match path.parent() {
        Some(directory) if directory.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}
