//! The private directory of one `up`: tokens, logs, ledger. Removed at its end.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

const TOKEN_BYTES: usize = 24;

pub struct RunDirectory {
    directory: TempDir,
}

impl RunDirectory {
    /// Makes the directory, for this user alone, with a fresh token for each role.
    pub fn new() -> io::Result<RunDirectory> {
        let directory = tempfile::Builder::new().prefix("tidegate-").tempdir()?;
        let directory = RunDirectory { directory };
        write_token(&directory.operator_tokens())?;
        write_token(&directory.worker_tokens())?;
        Ok(directory)
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn operator_tokens(&self) -> PathBuf {
        self.file("operator.token")
    }

    pub fn worker_tokens(&self) -> PathBuf {
        self.file("worker.token")
    }
}

fn write_token(path: &Path) -> io::Result<()> {
    let mut random = [0; TOKEN_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{token}")
}
