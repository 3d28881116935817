//! The proxy of `up`: started, watched, started again when it dies, stopped.

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
use tidegate_policy::UpRules;

const START_LIMIT: Duration = Duration::from_secs(20);
const START_POLL: Duration = Duration::from_millis(50);

/// A proxy that lives for this long has started well.
const GOOD_START: Duration = Duration::from_secs(10);

/// Longer than the proxy's own limit for what it has accepted.
const STOP_LIMIT: Duration = Duration::from_secs(120);
const NO_TIME: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("{} cannot be started: {cause}", binary.display())]
    Spawn {
        binary: PathBuf,
        cause: std::io::Error,
    },
    #[error("the proxy ended at its start ({how})\n    {}", last_lines.join("\n    "))]
    Ended {
        how: String,
        last_lines: Vec<String>,
    },
    #[error("the proxy did not answer on {admin} within {}", span(START_LIMIT))]
    Mute { admin: SocketAddr },
}

pub struct Proxy {
    binary: PathBuf,
    arguments: Vec<String>,
    admin: SocketAddr,
    log: PathBuf,
    running: Option<Running>,
    breaker: Breaker,
}

struct Running {
    child: ChildProcess,
    since: Time,
}

impl Proxy {
    pub fn new(
        binary: PathBuf,
        rules: &UpRules,
        models: &[String],
        directory: &RunDirectory,
    ) -> Proxy {
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
        arguments.push("--watch-stdin".to_owned());
        Proxy {
            binary,
            arguments,
            admin: rules.admin,
            log: directory.file("proxy.log"),
            running: None,
            breaker: Breaker::default(),
        }
    }

    /// Starts the proxy and waits until it serves.
    pub async fn start(&mut self, now: Time) -> Result<(), ProxyError> {
        self.spawn(now)?;
        let answers = async {
            let client = http::client();
            let url = format!("http://{}/healthz", self.admin);
            loop {
                let request = client.get(&url).timeout(START_LIMIT);
                if request.send().await.is_ok_and(|r| r.status().is_success()) {
                    return;
                }
                tokio::time::sleep(START_POLL).await;
            }
        };
        let admin = self.admin;
        let Some(running) = &mut self.running else {
            return Err(ProxyError::Mute { admin });
        };
        tokio::select! {
            () = answers => Ok(()),
            () = tokio::time::sleep(START_LIMIT) => Err(ProxyError::Mute { admin }),
            exit = running.child.ended() => {
                let how = exit.to_string();
                let last_lines = running.child.last_lines();
                self.running = None;
                Err(ProxyError::Ended { how, last_lines })
            }
        }
    }

    /// Starts the proxy again when it has died, after a wait that grows with each time.
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
                let log = self.log.display();
                terminal.say(&format!(
                    "! the proxy ended ({how}) and is started again after {wait}, then less \
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

    /// Lets the proxy finish what it has accepted, and waits for its end.
    pub async fn stop(&mut self) {
        if let Some(running) = &mut self.running {
            running.child.stop(STOP_LIMIT);
            running.child.ended().await;
            self.running = None;
        }
    }

    /// Gives it no more time; [`Proxy::stop`] is to follow.
    pub fn abandon(&mut self) {
        if let Some(running) = &self.running {
            running.child.stop(NO_TIME);
        }
    }

    fn spawn(&mut self, now: Time) -> Result<(), ProxyError> {
        let mut command = Command::new(&self.binary);
        command.args(&self.arguments);
        let child = ChildProcess::spawn(command, Some(self.log.clone())).map_err(|cause| {
            let binary = self.binary.clone();
            ProxyError::Spawn { binary, cause }
        })?;
        self.running = Some(Running { child, since: now });
        Ok(())
    }
}
