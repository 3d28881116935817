//! Where the daemons' binaries are.

use std::env;
use std::path::{Path, PathBuf};

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
