//! `check`, `run` and `probe` through the binary: exit codes, signals, what is said.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::stage::{FakeProxy, eventually, eventually_async, script, token_file};

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate-scaler");

fn scaler(arguments: &[&str]) -> Output {
    let output = Command::new(BINARY).args(arguments).output();
    output.expect("the scaler runs")
}

fn configs(file: &str) -> String {
    format!("{}/../configs/{file}", env!("CARGO_MANIFEST_DIR"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// A scaler that runs in the background, and everything that it has said.
pub struct Daemon {
    child: Child,
    said: PathBuf,
    /// Its standard output.
    pub printed: PathBuf,
}

impl Daemon {
    pub fn start(arguments: &[&str], directory: &Path) -> Daemon {
        Daemon::start_in(&[], arguments, directory)
    }

    /// As [`Daemon::start`], with these variables in its environment.
    pub fn start_in(environment: &[(&str, &str)], arguments: &[&str], directory: &Path) -> Daemon {
        let (said, printed) = (directory.join("said"), directory.join("printed"));
        let create = |file: &Path| fs::File::create(file).expect("a file");
        let child = Command::new(BINARY)
            .args(arguments)
            .current_dir(directory)
            .env("TMPDIR", directory)
            .env_remove("AWS_REGION")
            .env_remove("AWS_DEFAULT_REGION")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(create(&printed))
            .stderr(create(&said))
            .spawn();
        let child = child.expect("the scaler starts");
        Daemon {
            child,
            said,
            printed,
        }
    }

    /// What it wrote to standard output, and then to standard error.
    pub fn said(&self) -> String {
        let mut said = String::new();
        for file in [&self.printed, &self.said] {
            let file = fs::File::open(file);
            let _ = file.and_then(|mut file| file.read_to_string(&mut said));
        }
        said
    }

    #[track_caller]
    pub fn wait_for(&self, words: &str) {
        let said = || self.said();
        eventually(words, || said().contains(words).then_some(()));
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.pid().expect("a pid");
        kill_process(pid, signal).expect("it is there");
    }

    /// SIGKILL: it has no say in it.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is there");
        self.child.wait().expect("it has ended");
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Its exit code, once it has ended.
    #[track_caller]
    pub fn code(&mut self) -> Option<i32> {
        let status = eventually("its end", || self.child.try_wait().ok().flatten());
        assert_eq!(status.signal(), None, "{}", self.said());
        status.code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the scaler said:\n{}", self.said());
        }
        // Not by SIGKILL: it takes its children along.
        if let (Ok(None), Some(pid)) = (self.child.try_wait(), self.pid()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

/// A policy for one proxy, with scripts as workers.
pub fn policy(directory: &TempDir, proxy: &str, port: u16, worker: &str) -> PathBuf {
    let path = directory.path();
    let operator = token_file(path, "operator.token");
    let workers = token_file(path, "worker.token");
    let binary = script(path, "worker", worker);
    let file = path.join("policy.toml");
    let policy = format!(
        r#"
[fleet]
kind = "process"
min = 1
max = 1
[slo]
latency = "2s"
[[signal]]
name = "requests"
metric = "concurrency"
statistic = "mean"
window = "1s"
target_per_worker = 4
[scale_in]
stabilization = "6s"
[proxies]
admin = ["{proxy}"]
token_file = "{}"
[scaler]
listen = "127.0.0.1:{port}"
ledger = "{}"
[process]
model = "models/tiny"
binary = "{}"
token_file = "{}"
logs = "{}"
oversubscribe = true
"#,
        operator.display(),
        path.join("ledger.jsonl").display(),
        binary.display(),
        workers.display(),
        path.display(),
    );
    fs::write(&file, policy).expect("the policy is written");
    file
}

/// The scaler's metrics, once they have this line.
pub async fn metrics_with(port: u16, line: &str) -> String {
    eventually_async(line, async || {
        let response = reqwest::get(format!("http://127.0.0.1:{port}/metrics")).await;
        let text = response.ok()?.text().await.ok()?;
        text.contains(line).then_some(text)
    })
    .await
}

/// Writes when it starts and when it was told to stop.
pub const WORKER: &str = "trap 'echo finished >&2; exit 1' TERM; echo started >&2; \
                      while [ -e \"$0\" ]; do sleep 0.05; done";

#[test]
fn check_says_whether_a_policy_is_valid() {
    for (file, min) in [("policy.toml", 1), ("up.toml", 1), ("up-chat.toml", 0)] {
        let output = scaler(&["check", &configs(file)]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let says = format!("is valid: {min} to ");
        assert!(text(&output.stdout).contains(&says));
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("bad.toml");
    fs::write(&file, "[fleet]\nkind = 'process'\nmin = 1\nmaximum = 2\n").expect("it is written");
    let output = scaler(&["check", file.to_str().unwrap_or_default()]);
    assert_eq!(output.status.code(), Some(78));
    let said = text(&output.stderr);
    let unknown = format!(
        "{}:4: fleet.maximum: unknown key; expected one of kind, model, min, max, lead_time, \
         silence, mass_silence, drain_limit; did you mean \"max\"?\n",
        file.display()
    );
    assert!(said.contains(&unknown), "{said}");
    assert!(
        said.contains(": slo: missing key\n"),
        "all are reported: {said}"
    );
}

#[test]
fn what_cannot_be_used_exits_with_78() {
    for arguments in [
        &["check", "/nowhere.toml"][..],
        &["run", "--policy", &configs("up.toml")],
        &["up", "--config", &configs("policy.toml")],
        &["fly"],
        &["run"],
    ] {
        let output = scaler(arguments);
        assert_eq!(output.status.code(), Some(78), "{arguments:?}");
    }
    assert_eq!(scaler(&["--help"]).status.code(), Some(0));
}

#[test]
fn a_probe_of_nothing_fails() {
    let address = format!("127.0.0.1:{}", free_port());
    assert_eq!(
        scaler(&["probe", "--listen", &address]).status.code(),
        Some(1)
    );
}

#[test]
fn a_port_in_use_is_said_plainly() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("its address").port();
    let file = policy(&directory, "http://127.0.0.1:1", port, WORKER);
    let output = scaler(&["run", "--policy", file.to_str().unwrap_or_default()]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        format!(
            "tidegate-scaler: the scaler's port 127.0.0.1:{port} is in use; stop what listens \
             there, or change scaler.listen in {}\n",
            file.display()
        )
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_runs_is_probed_reloads_and_stops_its_workers() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (proxy, port) = (FakeProxy::start().await, free_port());
    let file = policy(&directory, &proxy.url, port, WORKER);
    let arguments = ["run", "--policy", file.to_str().unwrap_or_default()];
    let mut daemon = Daemon::start(&arguments, directory.path());
    daemon.wait_for("0 -> 1 worker");
    let log = directory.path().join("w-1.log");
    eventually("the worker", || {
        fs::read_to_string(&log)
            .ok()
            .filter(|log| log == "started\n")
    });
    proxy.ready("w-1", 0);
    daemon.wait_for("w-1 is ready");

    let address = format!("127.0.0.1:{port}");
    assert_eq!(
        scaler(&["probe", "--listen", &address]).status.code(),
        Some(0)
    );

    let metrics = metrics_with(port, "tidegate_scaler_workers{stage=\"serving\"} 1").await;
    for line in [
        "tidegate_scaler_changes_total{change=\"launch\"} 1",
        "tidegate_scaler_asked_workers{signal=\"requests\"} 0",
        "tidegate_scaler_signal_value{signal=\"requests\"} 0",
        "tidegate_scaler_needed_workers 0",
        "tidegate_scaler_ticks_total ",
        "tidegate_scaler_tick_seconds ",
        "tidegate_scaler_proxy_up{",
        "tidegate_scaler_lead_seconds ",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }

    let valid = fs::read_to_string(&file).expect("the policy");
    fs::write(&file, valid.replace("max = 1", "max = 0")).expect("it is written");
    daemon.signal(Signal::HUP);
    daemon.wait_for("the old policy stays in force");
    daemon.wait_for("fleet.max: found 0, expected 1 or more");
    fs::write(&file, valid.replace("models/tiny", "models/other")).expect("it is written");
    daemon.signal(Signal::HUP);
    daemon.wait_for("policy.toml is in force, except [process] until a restart");
    let elsewhere = valid
        .replace(&proxy.url, "http://127.0.0.1:1")
        .replace("max = 1", "max = 2");
    fs::write(&file, elsewhere).expect("it is written");
    daemon.signal(Signal::HUP);
    daemon.wait_for(
        "policy.toml is in force, except proxies.admin, the workers' thread shares until a restart",
    );
    let before = proxy.state().signal.now_ms;
    eventually("signals still read of the old proxy", || {
        (proxy.state().signal.now_ms > before + 1_000).then_some(())
    });

    daemon.signal(Signal::TERM);
    assert_eq!(daemon.code(), Some(0), "{}", daemon.said());
    let log = fs::read_to_string(&log).expect("the worker's log");
    assert!(log.ends_with("finished\n"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reloaded_policy_acts_and_still_does_after_a_bad_one() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (proxy, port) = (FakeProxy::start().await, free_port());
    let file = policy(&directory, &proxy.url, port, WORKER);
    let arguments = ["run", "--policy", file.to_str().unwrap_or_default()];
    let daemon = Daemon::start(&arguments, directory.path());
    daemon.wait_for("0 -> 1 worker");
    proxy.load(4, 4);

    let valid = fs::read_to_string(&file).expect("the policy");
    let more = valid.replace("max = 1", "max = 3");
    fs::write(&file, &more).expect("it is written");
    daemon.signal(Signal::HUP);
    daemon.wait_for("until a restart; changed: [fleet]");
    daemon.wait_for("1 -> 2 workers");
    daemon.signal(Signal::HUP);
    daemon.wait_for("until a restart; unchanged");

    fs::write(&file, more.replace("max = 3", "max = 0")).expect("it is written");
    daemon.signal(Signal::HUP);
    daemon.wait_for("the old policy stays in force");
    proxy.load(8, 4);
    daemon.wait_for("2 -> 3 workers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_end_when_the_scaler_is_killed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let proxy = FakeProxy::start().await;
    let worker = "echo started >&2; cat >/dev/null; echo orphaned >&2";
    let file = policy(&directory, &proxy.url, free_port(), worker);
    let arguments = ["run", "--policy", file.to_str().unwrap_or_default()];
    let mut daemon = Daemon::start(&arguments, directory.path());
    let log = directory.path().join("w-1.log");
    // Its log is there before it is itself.
    eventually("the worker", || {
        let text = fs::read_to_string(&log).ok()?;
        text.contains("started").then_some(())
    });
    daemon.kill();
    eventually("the worker's end", || {
        let text = fs::read_to_string(&log).ok()?;
        text.contains("orphaned").then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_goes_on_from_the_ledger() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (proxy, port) = (FakeProxy::start().await, free_port());
    let file = policy(&directory, &proxy.url, port, WORKER);
    let valid = fs::read_to_string(&file).expect("the policy");
    fs::write(&file, valid.replace("max = 1", "max = 2")).expect("it is written");
    proxy.load(4, 4);
    let arguments = ["run", "--policy", file.to_str().unwrap_or_default()];
    let mut daemon = Daemon::start(&arguments, directory.path());
    daemon.wait_for("0 -> 2 workers");
    let ledger = directory.path().join("ledger.jsonl");
    eventually("a tick with the worker", || {
        let text = fs::read_to_string(&ledger).ok()?;
        text.contains("{\"id\":\"w-1\"").then_some(())
    });
    daemon.signal(Signal::INT);
    assert_eq!(daemon.code(), Some(0));
    let daemon = Daemon::start(&arguments, directory.path());
    daemon.wait_for("ticks of its ledger");
    for id in ["w-3", "w-4"] {
        let log = directory.path().join(format!("{id}.log"));
        eventually(id, || log.exists().then_some(()));
        proxy.ready(id, 0);
    }
    daemon.wait_for("w-4 is ready");
    let idle = Instant::now();
    proxy.load(0, 0);
    daemon.wait_for("2 -> 1 worker");
    let waited = idle.elapsed();
    // Of the six seconds, a tick may have been the last that saw the load.
    assert!(waited > Duration::from_secs(5), "{waited:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_starts_nothing_and_leaves_the_ledger_alone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (proxy, port) = (FakeProxy::start().await, free_port());
    let file = policy(&directory, &proxy.url, port, WORKER);
    let file = file.to_str().unwrap_or_default();
    let mut daemon = Daemon::start(&["run", "--policy", file, "--dry-run"], directory.path());
    daemon.wait_for("would do: 0 -> 1 worker");
    let metrics = metrics_with(port, "tidegate_scaler_ticks_total").await;
    assert!(
        !metrics.contains("tidegate_scaler_changes_total{"),
        "{metrics}"
    );
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.code(), Some(0));
    assert!(!directory.path().join("w-1.log").exists());
    assert!(!directory.path().join("ledger.jsonl").exists());
    assert!(directory.path().join("ledger.jsonl.dry-run").exists());
}

/// The binary beside the scaler's takes its place, with its words and its exit code.
#[test]
fn backtest_is_run_by_the_program_beside_it_and_missed_where_there_is_none() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let alone = directory.path().join("tidegate-scaler");
    let beside = script(directory.path(), "tidegate-backtest", "echo \"$@\"; exit 2");
    fs::copy(BINARY, &alone).expect("it is copied");
    let run = || {
        let output = Command::new(&alone)
            .args(["backtest", "--help", "--trace", "step"])
            .output();
        output.expect("it runs")
    };
    let output = run();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "backtest --help --trace step\n");
    fs::remove_file(beside).expect("it is there");
    let output = run();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("`backtest` needs tidegate-backtest beside"),
        "{said}"
    );
}
