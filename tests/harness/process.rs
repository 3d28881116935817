//! A child process that does not outlive its test.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A running binary; its standard error goes to a file that a failing test prints.
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

/// A binary of this workspace, built by the same profile as the caller.
pub fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a process knows its own path");
    let directory = own.parent().expect("a binary is in a directory");
    // Tests are in deps/, below the binaries.
    let mut places = [directory, directory.parent().unwrap_or(directory)].into_iter();
    places
        .find_map(|place| Some(place.join(name)).filter(|path| path.exists()))
        .unwrap_or_else(|| panic!("{name} is missing; `make test` builds it"))
}

impl Process {
    pub fn start(name: &str, command: &mut Command, log: PathBuf) -> Self {
        let file = File::create(&log).expect("the log can be created");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("the log can be shared"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Process {
            child,
            name: name.to_owned(),
            log,
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// SIGSTOP: it lives, keeps its connections and does nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGKILL: the process has no say in it.
    pub fn kill(&mut self) {
        self.child.kill().expect("the process can be killed");
        self.child.wait().expect("the process can be waited for");
    }

    /// The exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child
            .try_wait()
            .expect("the process can be waited for")
    }

    /// Waits for the end and gives the status and how long it took.
    pub async fn end(&mut self, limit: Duration) -> (ExitStatus, Duration) {
        let began = Instant::now();
        let what = format!("{} ends", self.name);
        let status =
            crate::within(limit, &what, async || self.child.try_wait().ok().flatten()).await;
        (status, began.elapsed())
    }

    /// All that it has printed.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a child has a pid");
        let _ = kill_process(pid, signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {} printed:\n{}", self.name, self.output());
        }
    }
}
