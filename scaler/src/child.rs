//! Child processes that end when they are stopped, and do not outlive this process.
//!
//! Each child is in a process group of its own, so that Ctrl-C reaches the scaler alone, and
//! reads its standard input, which closes when this process ends for whatever reason.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How much of the end of a log is looked at, and how many of its lines are shown.
const TAIL_BYTES: u64 = 4096;
const TAIL_LINES: usize = 3;

/// A running child, owned by a task that waits for its end.
#[derive(Debug)]
pub struct ChildProcess {
    /// When the child is to be killed, once it was asked to stop.
    kill_at: watch::Sender<Option<Instant>>,
    task: JoinHandle<Exit>,
    log: Option<PathBuf>,
}

/// How a child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// `None` when the system would not tell.
    pub status: Option<ExitStatus>,
    /// It did not stop in time.
    pub killed: bool,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(f, "{}", status.to_string().replace("status: ", "code ")),
            None => f.write_str("its end was missed"),
        }
    }
}

impl ChildProcess {
    /// Starts a child. What it writes goes to `log`, or where our own errors go.
    pub fn spawn(mut command: Command, log: Option<PathBuf>) -> io::Result<ChildProcess> {
        command.process_group(0).stdin(Stdio::piped());
        if let Some(log) = &log {
            let out = File::options().create(true).append(true).open(log)?;
            command.stdout(out.try_clone()?).stderr(out);
        } else {
            command.stdout(io::stderr()).stderr(Stdio::inherit());
        }
        let mut child = command.spawn()?;
        let stdin = child.stdin.take();
        let (kill_at, deadlines) = watch::channel(None);
        let task = tokio::spawn(keep(child, stdin, deadlines));
        Ok(ChildProcess { kill_at, task, log })
    }

    /// Asks the child to stop, and kills it after `limit`. A later call can only shorten that.
    pub fn stop(&self, limit: Duration) {
        let at = Instant::now() + limit;
        self.kill_at.send_modify(|kill_at| {
            *kill_at = Some(kill_at.map_or(at, |before| before.min(at)));
        });
    }

    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits for the end; to be awaited to its end only once.
    pub async fn ended(&mut self) -> Exit {
        let missed = Exit {
            status: None,
            killed: false,
        };
        (&mut self.task).await.unwrap_or(missed)
    }

    pub fn log(&self) -> Option<&Path> {
        self.log.as_deref()
    }

    /// The last few lines of the log.
    pub fn last_lines(&self) -> Vec<String> {
        let tail = self.log.as_ref().map(|log| tail(log));
        tail.and_then(Result::ok).unwrap_or_default()
    }

    /// Removes the log, which nobody will want.
    pub fn remove_log(&self) {
        if let Some(log) = &self.log {
            let _ = fs::remove_file(log);
        }
    }
}

/// Waits for the child's end, holding its standard input open all the while.
async fn keep(
    mut child: Child,
    _stdin: Option<ChildStdin>,
    mut deadlines: watch::Receiver<Option<Instant>>,
) -> Exit {
    let pid = child.id();
    let mut kill_at: Option<Instant> = None;
    let (mut asked, mut killed) = (false, false);
    loop {
        let overdue = async {
            match kill_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            status = child.wait() => {
                let status = status.ok();
                return Exit { status, killed };
            }
            Ok(()) = deadlines.changed() => {
                kill_at = *deadlines.borrow_and_update();
                if !asked {
                    signal(pid, Signal::TERM);
                }
                asked = true;
            }
            () = overdue => {
                signal(pid, Signal::KILL);
                killed = true;
                kill_at = None;
            }
        }
    }
}

/// The child was not waited for yet, so its process group is still its own.
fn signal(pid: Option<u32>, signal: Signal) {
    let raw = pid.and_then(|pid| i32::try_from(pid).ok());
    if let Some(group) = raw.and_then(Pid::from_raw) {
        // It fails when all of the group have ended, which is what was wanted.
        let _ = kill_process_group(group, signal);
    }
}

fn tail(log: &Path) -> io::Result<Vec<String>> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = lines.len().saturating_sub(TAIL_LINES);
    Ok(lines[last..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect())
}
