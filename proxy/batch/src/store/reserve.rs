//! Room on the disk that is kept for removing files: the database has to grow a little before a removal
//! frees anything, and on a full disk it could not.

use std::io;
use std::path::PathBuf;

use rusqlite::Connection;
use tracing::debug;

use super::{Store, StoreError, remove};
use crate::disk::write_whole;

/// Many times what a removal writes.
const RESERVE_BYTES: usize = 1 << 20;

impl Store {
    /// As `with`, for what removes files: on a full disk the reserve makes room for it.
    pub(super) fn with_reserve<T>(
        &self,
        act: impl Fn(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self.with(&act) {
            Err(error) if error.is_full_disk() => {
                remove(&self.reserve_path())?;
                self.with(&act)
            }
            done => done,
        }
    }

    /// Takes the reserve again, as soon as there is room.
    pub(super) fn keep_reserve(&self) {
        let path = self.reserve_path();
        if path.exists() {
            return;
        }
        let zeros = vec![0; RESERVE_BYTES];
        let written = write_whole(&path, |out| io::Write::write_all(out, &zeros));
        if let Err(error) = written {
            debug!(file = %path.display(), %error, "there is no room for it");
        }
    }

    fn reserve_path(&self) -> PathBuf {
        self.directory.join("reserve")
    }
}
