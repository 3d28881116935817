//! `tidegate-scaler up` with a policy of the test's own.

use std::net::SocketAddr;
use std::process::Command;

use tempfile::TempDir;

use crate::daemons::free_address;
use crate::{Client, Process, binary, eventually};

/// A whole Tidegate on this machine: scaler, proxy and a fleet of processes.
pub struct Up {
    pub scaler: Process,
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    /// The scaler's own port.
    pub own: SocketAddr,
    /// Last, so that the processes above are ended and have printed before it goes.
    pub dir: TempDir,
}

impl Up {
    /// Starts with `policy`, which leaves `[up]`, `[scaler]` and the worker's binary to the
    /// harness, and waits until clients are answered. Workers are those with set service times.
    pub async fn start(policy: &str) -> Self {
        Self::start_with(policy, &[]).await
    }

    /// As [`Up::start`], with variables for all daemons.
    pub async fn start_with(policy: &str, environment: &[(&'static str, String)]) -> Self {
        let launch = || Self::launch_with(policy, &binary("timed-worker"), environment);
        Self::serving(launch, &serde_json::json!({})).await
    }

    /// As [`Up::start`], with several models, each a name and a policy. The first is waited for.
    pub async fn start_several(models: &[(&str, &str)]) -> Self {
        let first = models.first().map_or("", |(name, _)| name);
        let launch = || Self::launch_several(models, &binary("timed-worker"));
        Self::serving(launch, &serde_json::json!({ "model": first })).await
    }

    async fn serving(launch: impl Fn() -> Self, body: &serde_json::Value) -> Self {
        loop {
            let mut up = launch();
            let client = up.client();
            let serves = eventually("clients are answered", async || {
                let answer = client.try_post(body, &[]).await;
                match (answer, up.scaler.ended()) {
                    (Ok(answer), None) if answer.status == 200 => Some(true),
                    (_, Some(_)) => Some(false),
                    _ => None,
                }
            });
            if serves.await {
                return up;
            }
            // Another test may have taken a port meanwhile.
            let output = up.scaler.output();
            assert!(output.contains("in use"), "the scaler ended: {output}");
        }
    }

    /// Starts with a worker binary of the test's choice and waits for nothing.
    pub fn launch(policy: &str, worker: &std::path::Path) -> Self {
        Self::launch_with(policy, worker, &[])
    }

    fn launch_with(
        policy: &str,
        worker: &std::path::Path,
        environment: &[(&'static str, String)],
    ) -> Self {
        let dir = TempDir::new().expect("a directory for the test");
        let path = |name: &str| dir.path().join(name);
        let (listen, admin, own) = (free_address(), free_address(), free_address());
        std::fs::create_dir(path("timed")).expect("the model's directory can be made");
        std::fs::write(path("proxy.toml"), "threads = 1\n").expect("the config can be written");
        let file = format!(
            "{policy}\n\
             [process]\nmodel = '{}'\nbinary = '{}'\noversubscribe = true\n\
             [scaler]\nlisten = '{own}'\n\
             [up]\nlisten = '{listen}'\nadmin = '{admin}'\nproxy_config = '{}'\n",
            path("timed").display(),
            worker.display(),
            path("proxy.toml").display(),
        );
        std::fs::write(path("up.toml"), file).expect("the policy can be written");
        let mut command = Command::new(binary("tidegate-scaler"));
        command.arg("up").arg("--config").arg(path("up.toml"));
        command.env("TMPDIR", dir.path());
        command.envs(environment.iter().cloned());
        let scaler = Process::start("scaler", &mut command, path("scaler.log"));
        Up {
            scaler,
            listen,
            admin,
            own,
            dir,
        }
    }

    /// Starts several models, each a name and a policy, and waits for nothing. Their workers share
    /// the cores of this machine.
    pub fn launch_several(models: &[(&str, &str)], worker: &std::path::Path) -> Self {
        let dir = TempDir::new().expect("a directory for the test");
        let path = |name: &str| dir.path().join(name);
        let (listen, admin, own) = (free_address(), free_address(), free_address());
        std::fs::write(path("proxy.toml"), "threads = 1\n").expect("the config can be written");
        let mut command = Command::new(binary("tidegate-scaler"));
        command.arg("up").env("TMPDIR", dir.path());
        for (name, policy) in models {
            std::fs::create_dir(path(name)).expect("the model's directory can be made");
            let file = format!(
                "{policy}\n\
                 [process]\nmodel = '{}'\nbinary = '{}'\n\
                 [scaler]\nlisten = '{own}'\n\
                 [up]\nlisten = '{listen}'\nadmin = '{admin}'\nproxy_config = '{}'\n",
                path(name).display(),
                worker.display(),
                path("proxy.toml").display(),
            );
            let config = path(&format!("{name}.toml"));
            std::fs::write(&config, file).expect("the policy can be written");
            command.arg("--config").arg(config);
        }
        let scaler = Process::start("scaler", &mut command, path("scaler.log"));
        Up {
            scaler,
            listen,
            admin,
            own,
            dir,
        }
    }

    pub fn client(&self) -> Client {
        Client::new(format!("http://{}", self.listen))
    }

    /// The ledger so far; it goes with the run's own directory.
    pub fn ledger(&self) -> String {
        let entries = std::fs::read_dir(self.dir.path()).expect("the directory is there");
        let mut ledgers = entries
            .flatten()
            .map(|entry| entry.path().join("ledger.jsonl"));
        let ledger = ledgers
            .find(|ledger| ledger.exists())
            .expect("there is a ledger");
        std::fs::read_to_string(ledger).expect("the ledger can be read")
    }

    /// Processes of this fleet that run now: their ids, with the workers' in order of start.
    pub fn workers(&self) -> Vec<u32> {
        children_of(self.scaler.id(), "timed-worker")
    }

    /// Waits until as many workers run.
    pub async fn fleet_is(&self, workers: usize) {
        let what = format!("the fleet has {workers} workers");
        eventually(&what, async || {
            (self.workers().len() == workers).then_some(())
        })
        .await;
    }
}

/// Direct children of a process that run a binary of this name.
pub fn children_of(parent: u32, name: &str) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc")
        .expect("Linux has /proc")
        .flatten();
    let mut found: Vec<u32> = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| is_child(*pid, parent, name).unwrap_or(false))
        .collect();
    found.sort_unstable();
    found
}

fn is_child(pid: u32, parent: u32, name: &str) -> Option<bool> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (command, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let (state, ppid) = (fields.next()?, fields.next()?);
    Some(state != "Z" && command == name && ppid == parent.to_string())
}
