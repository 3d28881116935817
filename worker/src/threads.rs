//! How many threads compute, and keeping libraries from starting threads of their own.
//!
//! Each computing thread takes whole batches: nothing is split, so nothing waits for the slowest
//! part, and a machine of N cores computes N batches at once. candle, left alone, splits every
//! operation over as many threads as the machine has cores, whatever share of them a container
//! may use, and lets concurrent callers wait for each other.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::{env, io};

/// Read by candle when it first computes.
const SETTINGS: [&str; 2] = ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"];

/// Makes sure that candle computes on the thread that calls it.
///
/// It can be told so by the environment alone, which a process cannot safely change while it
/// runs; so the process starts itself again, once, with the same id, arguments and files.
/// Returns when the environment is as it should be, or with why the new start failed.
pub fn settle() -> io::Result<()> {
    let single = |name: &&str| env::var(name).is_ok_and(|value| value == "1");
    if SETTINGS.iter().all(single) {
        return Ok(());
    }
    let mut again = Command::new(env::current_exe()?);
    again.args(env::args_os().skip(1));
    again.envs(SETTINGS.map(|name| (name, "1")));
    Err(again.exec())
}

/// The number of computing threads: as asked, or as many as this process may use, which heeds
/// a container's share and the CPU mask.
pub fn count(asked: usize) -> usize {
    match asked {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        asked => asked,
    }
}
