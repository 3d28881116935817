//! Where the daemons' binaries are, where a path leads to, what is locked, and where this process
//! is.

use std::env;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug, thiserror::Error)]
#[error("{} does not exist; {remedy}", file.display())]
pub struct Missing {
    pub file: PathBuf,
    pub remedy: String,
}

/// The configured binary, or the one of that name beside this process's own.
pub fn binary(configured: Option<&Path>, name: &str) -> Result<PathBuf, Missing> {
    let beside = || {
        let own = env::current_exe().unwrap_or_default();
        own.with_file_name(name)
    };
    let file = configured.map_or_else(beside, Path::to_owned);
    match file.is_file() {
        true => Ok(file),
        false => Err(Missing {
            file,
            remedy: format!("build it with: cargo build --release --bin {name}"),
        }),
    }
}

/// As many links in a row are one too many, as for the system itself.
const MOST_LINKS: u32 = 40;

/// The file that a path leads to, which may not be there yet. Of a path that leads nowhere, as much
/// as is known.
pub fn led_to(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    follow(path, MOST_LINKS)
}

fn follow(path: PathBuf, links: u32) -> PathBuf {
    if let Ok(found) = path.canonicalize() {
        return found;
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return path;
    };
    let directory = follow(parent.to_owned(), links);
    let place = directory.join(name);
    match fs::read_link(&place) {
        Ok(target) if links > 0 => follow(directory.join(target), links - 1),
        _ => place,
    }
}

/// The file, locked as long as it is open, however its process ends; `None` while another has it.
///
/// # Errors
/// When the file cannot be made or locked.
pub fn lock(path: &Path) -> io::Result<Option<File>> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let file = File::options().create(true).append(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// A name that no other scaler has: the host, the process, and when it began.
pub fn own_name() -> String {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy().into_owned();
    let began = SystemTime::now().duration_since(UNIX_EPOCH);
    let began = began.unwrap_or_default().as_millis();
    format!("{host}-{}-{began:x}", std::process::id())
}
