//! The daemons that `up` runs beside its fleets, the proxy and the batch service: started, watched,
//! started again when they die, stopped.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tidegate_control::{Breaker, Time};
use tokio::process::Command;

use super::directory::RunDirectory;
use super::terminal::Terminal;
use crate::child::ChildProcess;
use crate::event::span;
use crate::http;
use tidegate_policy::{BatchServiceRules, UpRules};

const START_LIMIT: Duration = Duration::from_secs(20);
const START_POLL: Duration = Duration::from_millis(50);

/// A proxy that lives for this long has started well.
const GOOD_START: Duration = Duration::from_secs(10);

/// Longer than the proxy's own limit for what it has accepted.
const PROXY_STOP_LIMIT: Duration = Duration::from_secs(120);

/// What the batch service has not finished goes on with its next start.
const BATCH_STOP_LIMIT: Duration = Duration::from_secs(5);
const NO_TIME: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error("{} cannot be started: {cause}", binary.display())]
    Spawn {
        binary: PathBuf,
        cause: std::io::Error,
    },
    #[error("{name} ended at its start ({how})\n    {}", last_lines.join("\n    "))]
    Ended {
        name: &'static str,
        how: String,
        last_lines: Vec<String>,
    },
    #[error("{name} did not answer on {address} within {}", span(START_LIMIT))]
    Mute {
        name: &'static str,
        address: SocketAddr,
    },
}

pub struct Daemon {
    /// As people read of it.
    name: &'static str,
    binary: PathBuf,
    arguments: Vec<String>,
    /// Where its health is asked for.
    health: SocketAddr,
    /// How long it may finish what it has accepted.
    stop_limit: Duration,
    log: PathBuf,
    running: Option<Running>,
    breaker: Breaker,
}

struct Running {
    child: ChildProcess,
    since: Time,
}

impl Daemon {
    /// The proxy, which knows these models from the start.
    pub fn proxy(
        binary: PathBuf,
        rules: &UpRules,
        models: &[String],
        directory: &RunDirectory,
    ) -> Daemon {
        let (operator, worker) = (directory.operator_tokens(), directory.worker_tokens());
        let arguments = [
            ("--config", rules.proxy_config.display().to_string()),
            ("--listen", rules.listen.to_string()),
            ("--admin", rules.admin.to_string()),
            ("--worker-tokens", worker.display().to_string()),
            ("--operator-tokens", operator.display().to_string()),
        ];
        let pairs = arguments.into_iter();
        let mut arguments: Vec<String> = pairs
            .flat_map(|(key, value)| [key.to_owned(), value])
            .collect();
        arguments.extend(
            models
                .iter()
                .flat_map(|model| ["--model".to_owned(), model.clone()]),
        );
        if let Some(batch) = &rules.batch {
            arguments.extend(["--batch".to_owned(), format!("http://{}", batch.listen)]);
        }
        arguments.push("--watch-stdin".to_owned());
        Daemon {
            name: "the proxy",
            binary,
            arguments,
            health: rules.admin,
            stop_limit: PROXY_STOP_LIMIT,
            log: directory.file("proxy.log"),
            running: None,
            breaker: Breaker::default(),
        }
    }

    /// The batch service behind the proxy that listens on `proxy`.
    pub fn batch(
        binary: PathBuf,
        rules: &BatchServiceRules,
        proxy: SocketAddr,
        directory: &RunDirectory,
    ) -> Daemon {
        let arguments = [
            "serve".to_owned(),
            "--config".to_owned(),
            rules.config.display().to_string(),
            "--listen".to_owned(),
            rules.listen.to_string(),
            "--store".to_owned(),
            rules.store.display().to_string(),
            "--proxy".to_owned(),
            format!("http://{proxy}"),
            "--watch-stdin".to_owned(),
        ];
        Daemon {
            name: "the batch service",
            binary,
            arguments: arguments.into(),
            health: rules.listen,
            stop_limit: BATCH_STOP_LIMIT,
            log: directory.file("batch.log"),
            running: None,
            breaker: Breaker::default(),
        }
    }

    /// Starts it and waits until it serves.
    pub async fn start(&mut self, now: Time) -> Result<(), DaemonError> {
        self.spawn(now)?;
        let answers = async {
            let client = http::client();
            let url = format!("http://{}/healthz", self.health);
            loop {
                let request = client.get(&url).timeout(START_LIMIT);
                if request.send().await.is_ok_and(|r| r.status().is_success()) {
                    return;
                }
                tokio::time::sleep(START_POLL).await;
            }
        };
        let (name, address) = (self.name, self.health);
        let Some(running) = &mut self.running else {
            return Err(DaemonError::Mute { name, address });
        };
        tokio::select! {
            () = answers => Ok(()),
            () = tokio::time::sleep(START_LIMIT) => Err(DaemonError::Mute { name, address }),
            exit = running.child.ended() => {
                let how = exit.to_string();
                let last_lines = running.child.last_lines();
                self.running = None;
                Err(DaemonError::Ended {
                    name,
                    how,
                    last_lines,
                })
            }
        }
    }

    /// Starts it again when it has died, after a wait that grows with each time.
    pub async fn watch(&mut self, now: Time, terminal: &Terminal) {
        if let Some(running) = &mut self.running {
            if !running.child.has_ended() {
                if now.since(running.since) > GOOD_START {
                    self.breaker.succeeded();
                }
                return;
            }
            let how = running.child.ended().await.to_string();
            let lines = running.child.last_lines().join("\n    ");
            self.running = None;
            let wait = span(self.breaker.failed(now));
            if self.breaker.failures() == 1 {
                let (name, log) = (self.name, self.log.display());
                terminal.say(&format!(
                    "! {name} ended ({how}) and is started again after {wait}, then less \
                     often\n    {lines}\n    log: {log}"
                ));
            }
        }
        if self.breaker.held_until(now).is_none()
            && let Err(error) = self.spawn(now)
        {
            self.breaker.failed(now);
            terminal.say(&format!("! {error}"));
        }
    }

    /// Lets it finish what it has accepted, and waits for its end.
    pub async fn stop(&mut self) {
        if let Some(running) = &mut self.running {
            running.child.stop(self.stop_limit);
            running.child.ended().await;
            self.running = None;
        }
    }

    /// Gives it no more time; [`Daemon::stop`] is to follow.
    pub fn abandon(&mut self) {
        if let Some(running) = &self.running {
            running.child.stop(NO_TIME);
        }
    }

    fn spawn(&mut self, now: Time) -> Result<(), DaemonError> {
        let mut command = Command::new(&self.binary);
        command.args(&self.arguments);
        let child = ChildProcess::spawn(command, Some(self.log.clone())).map_err(|cause| {
            let binary = self.binary.clone();
            DaemonError::Spawn { binary, cause }
        })?;
        self.running = Some(Running { child, since: now });
        Ok(())
    }
}
