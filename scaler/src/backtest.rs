//! `backtest`, `tune` and `replay` are a separate program, so that the daemon is small. This process
//! replaces itself by that program, which is in the same directory.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;

use crate::paths;

const BINARY: &str = "tidegate-backtest";

/// Runs `tidegate-backtest COMMAND ARGUMENTS...` in the place of this process.
///
/// # Errors
/// When it is not there or cannot be run; otherwise this process is that one.
pub fn run(command: &str, arguments: &[OsString]) -> anyhow::Result<()> {
    let binary = paths::binary(None, BINARY)
        .with_context(|| format!("`{command}` needs {BINARY} beside tidegate-scaler"))?;
    let failed = Command::new(&binary)
        .arg0("tidegate-scaler")
        .arg(command)
        .args(arguments)
        .exec();
    Err(failed).with_context(|| format!("cannot run {}", binary.display()))
}
