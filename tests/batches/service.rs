//! The batch service beside a proxy, and OpenAI's client in front of it.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_tests::{Harness, Process, binary, clients_python, eventually};

/// A service that outlives its process.
pub struct Batches {
    pub process: Process,
    pub listen: SocketAddr,
    directory: PathBuf,
    proxy: SocketAddr,
    more: String,
    environment: Vec<(&'static str, &'static str)>,
}

impl Batches {
    /// Starts a service for the harness's proxy, with more lines of TOML.
    pub async fn start(harness: &Harness, more: &str) -> Batches {
        Batches::start_at(free_address(), harness, more).await
    }

    /// As [`Batches::start`], at an address that the proxy knows.
    pub async fn start_at(listen: SocketAddr, harness: &Harness, more: &str) -> Batches {
        let directory = harness.dir.path().to_owned();
        Batches::start_in(directory, listen, harness, more, &[]).await
    }

    /// One of several, with a name and an environment of its own.
    pub async fn start_named(
        name: &str,
        harness: &Harness,
        more: &str,
        environment: &[(&'static str, &'static str)],
    ) -> Batches {
        let directory = harness.dir.path().join(name);
        std::fs::create_dir_all(&directory).expect("room");
        Batches::start_in(directory, free_address(), harness, more, environment).await
    }

    async fn start_in(
        directory: PathBuf,
        listen: SocketAddr,
        harness: &Harness,
        more: &str,
        environment: &[(&'static str, &'static str)],
    ) -> Batches {
        let (proxy, more) = (harness.listen, more.to_owned());
        let environment = environment.to_vec();
        let process = launch(&directory, listen, proxy, &more, &environment);
        let mut batches = Batches {
            process,
            listen,
            directory,
            proxy,
            more,
            environment,
        };
        batches.serves().await;
        batches
    }

    pub async fn restart(&mut self) {
        let (listen, proxy) = (self.listen, self.proxy);
        self.process = launch(
            &self.directory,
            listen,
            proxy,
            &self.more,
            &self.environment,
        );
        self.serves().await;
    }

    /// Starts it again with a store on a disk of its own, with so many bytes of it taken: in a mount namespace,
    /// which needs no root.
    pub async fn move_to_small_disk(&mut self, size: &str, taken: u32) {
        self.process.terminate();
        self.process.end(Duration::from_secs(10)).await;
        let serve = command(&self.directory, self.listen, self.proxy, &self.more);
        let mut command = Command::new("unshare");
        let script = format!(
            "mount -t tmpfs -o size={size} tmpfs \"$0\" && head -c {taken} /dev/zero > \"$0\"/filler && exec \"$@\""
        );
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
        command
            .arg(self.store())
            .arg(serve.get_program())
            .args(serve.get_args())
            .envs(self.environment.iter().copied())
            .process_group(0);
        let log = self.directory.join("small-disk.log");
        self.process = Process::start("batch", &mut command, log);
        self.serves().await;
    }

    /// The store as its process sees it.
    pub fn store_inside(&self) -> PathBuf {
        let inside = format!("/proc/{}/root", self.process.id());
        PathBuf::from(format!("{inside}{}", self.store().display()))
    }

    pub fn store(&self) -> PathBuf {
        self.directory.join("store")
    }

    pub fn url(&self) -> String {
        format!("http://{}/v1", self.listen)
    }

    /// One number of `/metrics`.
    pub async fn metric(&self, name: &str) -> f64 {
        let url = format!("http://{}/metrics", self.listen);
        let text = reqwest::get(url).await.expect("it answers").text().await;
        let text = text.expect("text");
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")));
        let number = line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok());
        number.unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    async fn serves(&mut self) {
        let url = format!("http://{}/readyz", self.listen);
        let process = &mut self.process;
        eventually("the batch service serves", async || {
            assert!(process.ended().is_none(), "it ended: {}", process.output());
            reqwest::get(&url)
                .await
                .ok()
                .filter(|answer| answer.status().is_success())
        })
        .await;
    }
}

/// An address of this machine that nothing listens on now.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

pub fn command(directory: &Path, listen: SocketAddr, proxy: SocketAddr, more: &str) -> Command {
    let config = directory.join("batch.toml");
    let text = format!("drain_limit = '1s'\n{more}");
    std::fs::write(&config, text).expect("the config can be written");
    let mut command = Command::new(binary("tidegate-batch"));
    command.args(["serve", "--listen", &listen.to_string()]);
    command.args(["--proxy", &format!("http://{proxy}")]);
    command.arg("--config").arg(config);
    command.arg("--store").arg(directory.join("store"));
    command
}

fn launch(
    directory: &Path,
    listen: SocketAddr,
    proxy: SocketAddr,
    more: &str,
    environment: &[(&str, &str)],
) -> Process {
    let mut command = command(directory, listen, proxy, more);
    command.envs(environment.iter().copied());
    Process::start("batch", &mut command, directory.join("batch.log"))
}

/// OpenAI's client at work.
pub struct OpenAi {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl OpenAi {
    pub fn start(url: &str, act: &str, file: &Path, endpoint: Option<&str>) -> OpenAi {
        OpenAi::start_with(&[], url, act, file, endpoint)
    }

    /// As [`OpenAi::start`], with more in its environment.
    pub fn start_with(
        environment: &[(&str, &str)],
        url: &str,
        act: &str,
        file: &Path,
        endpoint: Option<&str>,
    ) -> OpenAi {
        let mut command = clients_python("openai_batches.py");
        command.args([url, act]).arg(file).args(endpoint);
        command.envs(environment.iter().copied());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let out = BufReader::new(child.stdout.take().expect("its output"));
        OpenAi { child, out }
    }

    /// Waits until its batch is begun.
    pub fn begun(&mut self) {
        let line = self.line();
        assert!(line.starts_with("batch batch_"), "{line}");
    }

    /// What it prints at its end.
    pub async fn result(mut self) -> Value {
        let read = tokio::task::spawn_blocking(move || {
            let line = self.line();
            self.child.wait().expect("it ends");
            line
        });
        let line = read.await.expect("it prints");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("it prints");
        line
    }
}

impl Drop for OpenAi {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

/// An input of so many lines, each of which takes its worker a while.
pub fn input(directory: &Path, lines: u32, service_ms: u64) -> PathBuf {
    let path = directory.join("in.jsonl");
    let text: String = (0..lines)
        .map(|n| format!("{}\n", line(n, service_ms)))
        .collect();
    std::fs::write(&path, text).expect("the input can be written");
    path
}

fn line(n: u32, service_ms: u64) -> Value {
    json!({
        "custom_id": id(n),
        "method": "POST",
        "url": "/v1/embeddings",
        "body": {"model": "timed", "service_ms": service_ms, "input": format!("text {n}")},
    })
}

pub fn id(n: u32) -> String {
    format!("line-{n}")
}

/// The custom_ids of some lines of an output.
pub fn ids(lines: &Value) -> Vec<String> {
    let lines = lines.as_array().expect("lines");
    let id = |line: &Value| line["custom_id"].as_str().expect("an id").to_owned();
    lines.iter().map(id).collect()
}
