//! Where the daemons' binaries are, and where this process is.

use std::env;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug, thiserror::Error)]
#[error("{} is not there; {remedy}", file.display())]
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

/// A name that no other scaler has: the host, the process, and when it began.
pub fn own_name() -> String {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy().into_owned();
    let began = SystemTime::now().duration_since(UNIX_EPOCH);
    let began = began.unwrap_or_default().as_millis();
    format!("{host}-{}-{began:x}", std::process::id())
}
