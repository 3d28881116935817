//! The fleet of one machine: workers as child processes, each with its share of the cores.

mod share;

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use tidegate_control::{Bounds, Member, Time};
use tokio::process::Command;

pub use share::Share;

use super::{Capabilities, Ended, Fleet, FleetError, FleetStatus, Limits};
use crate::child::ChildProcess;
use tidegate_policy::ProcessRules;

/// The limit for children that are abandoned.
const NO_TIME: Duration = Duration::from_millis(100);

/// Logs that are kept of workers that did not end well.
const FAILED_LOGS: usize = 5;

/// What every worker of the fleet is started with.
#[derive(Clone, Debug)]
pub struct Setup {
    pub binary: PathBuf,
    pub rules: ProcessRules,
    /// Admin URLs of the proxies that the workers heartbeat to.
    pub proxies: Vec<String>,
    /// File with the `worker` token.
    pub token_file: PathBuf,
    /// The cores of this machine that it may use.
    pub share: Share,
    /// The most workers of all fleets here, among whom the cores are shared out.
    pub max: u32,
    /// Workers are named `PREFIX-N`. No two fleets of one proxy have the same.
    pub prefix: String,
}

pub struct ProcessFleet {
    setup: Setup,
    last_number: u32,
    processes: BTreeMap<String, Process>,
    /// Of workers that did not end well, the oldest first.
    failed_logs: VecDeque<PathBuf>,
}

struct Process {
    child: ChildProcess,
    launched: Time,
    asked_to_stop: bool,
}

impl ProcessFleet {
    /// Workers are numbered on from `last_number`.
    pub fn new(setup: Setup, last_number: u32) -> ProcessFleet {
        ProcessFleet {
            setup,
            last_number,
            processes: BTreeMap::new(),
            failed_logs: VecDeque::new(),
        }
    }

    fn launch(&mut self, now: Time) -> Result<String, FleetError> {
        let number = self.last_number + 1;
        let id = format!("{}-{number}", self.setup.prefix);
        let log = self.setup.rules.logs.as_ref();
        let log = log.map(|directory| directory.join(format!("{id}.log")));
        let child = ChildProcess::spawn(self.setup.command(&id), log).map_err(|cause| {
            let program = self.setup.binary.clone();
            FleetError::Spawn { program, cause }
        })?;
        self.last_number = number;
        let process = Process {
            child,
            launched: now,
            asked_to_stop: false,
        };
        self.processes.insert(id.clone(), process);
        Ok(id)
    }

    /// Keeps the log of a worker that failed, and of those before it only the last few.
    fn keep_log(&mut self, log: Option<PathBuf>) {
        self.failed_logs.extend(log.filter(|log| log.exists()));
        while self.failed_logs.len() > FAILED_LOGS {
            if let Some(oldest) = self.failed_logs.pop_front() {
                let _ = fs::remove_file(oldest);
            }
        }
    }

    fn stop_limit(&self) -> Duration {
        *self.setup.rules.stop_limit
    }
}

impl Setup {
    /// How many workers this machine takes.
    fn most(&self) -> u32 {
        match self.rules.oversubscribe {
            true => u32::MAX,
            false => self.share.most(),
        }
    }

    /// Threads of each worker, so that all of the policy's workers find a core.
    fn threads(&self) -> u32 {
        let cores = self.share.cores();
        let workers = match self.rules.oversubscribe {
            true => self.max,
            false => self.max.min(cores),
        };
        let share = cores / workers.max(1);
        self.rules.threads.unwrap_or(share.max(1))
    }

    fn command(&self, id: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(["serve", "--id", id, "--listen", "127.0.0.1:0"])
            .args(["--model", &self.rules.model])
            .args(["--name", &self.rules.model_name()])
            .args(["--threads", &self.threads().to_string()])
            .arg("--token-file")
            .arg(&self.token_file)
            .arg("--watch-stdin");
        if let Some(config) = &self.rules.config {
            command.arg("--config").arg(config);
        }
        for proxy in &self.proxies {
            command.args(["--proxy", proxy]);
        }
        command
    }
}

#[async_trait]
impl Fleet for ProcessFleet {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            names_at_once: true,
            ..Capabilities::default()
        }
    }

    fn limits(&self) -> Limits {
        let (cores, max) = (self.setup.share.cores(), self.setup.most());
        let why = match cores {
            // They change with each worker of another fleet.
            _ if self.setup.share.is_shared() => None,
            1 => Some("this machine has one core".to_owned()),
            _ => Some(format!("this machine has {cores} cores")),
        };
        let bounds = Bounds { min: 0, max };
        Limits { bounds, why }
    }

    async fn describe(&mut self, now: Time) -> Result<FleetStatus, FleetError> {
        let mut status = FleetStatus::default();
        let limit = self.stop_limit();
        let is_over = |process: &Process| process.child.has_ended();
        let over: Vec<String> = (self.processes.iter())
            .filter(|(_, process)| is_over(process))
            .map(|(id, _)| id.clone())
            .collect();
        for id in over {
            if let Some(process) = self.processes.remove(&id) {
                let ended = end(id, process, now, limit).await;
                self.keep_log(ended.log.clone());
                status.ended.push(ended);
            }
        }
        let members = self.processes.iter().map(|(id, process)| Member {
            id: id.clone(),
            launched: process.launched,
            leaving: process.asked_to_stop,
        });
        status.members = members.collect();
        self.setup.share.set_workers(self.processes.len());
        Ok(status)
    }

    async fn grow(&mut self, now: Time, count: u32) -> Result<Vec<String>, FleetError> {
        let staying = self.processes.values().filter(|p| !p.asked_to_stop);
        let max = self.setup.most();
        // As many as this machine takes; one that is full says so.
        let room = max.saturating_sub(staying.count() as u32);
        if count > 0 && room == 0 {
            return Err(FleetError::AtMaximum { max });
        }
        let launched = (0..count.min(room)).map(|_| self.launch(now)).collect();
        self.setup.share.set_workers(self.processes.len());
        launched
    }

    fn needs(&mut self, workers: u32) {
        self.setup.share.set_needed(workers);
    }

    fn held_by_others(&self) -> Option<String> {
        match self.setup.rules.oversubscribe {
            true => None,
            false => self.setup.share.held_by_others(),
        }
    }

    async fn remove(&mut self, id: &str) -> Result<(), FleetError> {
        let limit = self.stop_limit();
        let Some(process) = self.processes.get_mut(id) else {
            return Err(FleetError::Unknown { id: id.to_owned() });
        };
        if !process.asked_to_stop {
            process.asked_to_stop = true;
            process.child.stop(limit);
        }
        Ok(())
    }

    async fn close(&mut self) {
        for process in self.processes.values() {
            process.child.stop(self.stop_limit());
        }
        while let Some(mut process) = self.processes.first_entry() {
            process.get_mut().child.ended().await;
            process.remove();
        }
    }

    fn abandon(&mut self) {
        for process in self.processes.values() {
            process.child.stop(NO_TIME);
        }
    }
}

/// How a process ended. Its log is kept when it did not end well.
async fn end(id: String, mut process: Process, now: Time, limit: Duration) -> Ended {
    let exit = process.child.ended().await;
    let well = exit.status.is_some_and(|status| status.success());
    let asked = process.asked_to_stop;
    let last_lines = process.child.last_lines();
    if asked && well {
        process.child.remove_log();
    }
    Ended {
        id,
        after: now.since(process.launched),
        asked,
        killed_after: exit.killed.then_some(limit),
        how: exit.to_string(),
        log: process.child.log().map(Path::to_owned),
        last_lines,
    }
}

/// Cores that this process may use, as cgroups and affinity say.
pub fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32)
}
