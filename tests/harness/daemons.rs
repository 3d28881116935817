//! One proxy and the workers that a test adds to it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tidegate_protocol::{Signal, WorkerState};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::{Client, Process, binary, eventually};

const WORKER_TOKEN: &str = "worker-token-for-tests";
const OPERATOR_TOKEN: &str = "operator-token-for-tests";

/// What a test wants of its proxy.
#[derive(Default)]
pub struct HarnessConfig {
    /// Lines of the proxy's TOML file, before its tables.
    pub proxy: String,
}

/// A proxy, its workers, and a directory for their files.
pub struct Harness {
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    pub proxy: Process,
    environment: Vec<(&'static str, String)>,
    http: reqwest::Client,
    /// Last, so that the proxy is ended and has printed before it goes.
    pub dir: TempDir,
}

impl Harness {
    pub async fn start(config: HarnessConfig) -> Self {
        Self::start_with(config, Vec::new()).await
    }

    /// With variables for the proxy and its workers.
    pub async fn start_with(
        config: HarnessConfig,
        environment: Vec<(&'static str, String)>,
    ) -> Self {
        let dir = TempDir::new().expect("a directory for the test");
        write_secret(&dir.path().join("worker.token"), WORKER_TOKEN);
        write_secret(&dir.path().join("operator.token"), OPERATOR_TOKEN);
        std::fs::write(dir.path().join("proxy.toml"), &config.proxy)
            .expect("the config can be written");
        let http = reqwest::Client::new();
        loop {
            let (listen, admin) = (free_address(), free_address());
            let mut proxy = start_proxy(dir.path(), listen, admin, &environment);
            if serves(&mut proxy, &http, listen, admin).await {
                return Harness {
                    dir,
                    listen,
                    admin,
                    proxy,
                    environment,
                    http,
                };
            }
            let taken = proxy.output().contains("cannot listen");
            assert!(taken, "the proxy ended: {}", proxy.output());
        }
    }

    /// Starts the proxy again where it was, after it has ended.
    pub async fn restart_proxy(&mut self) {
        let (dir, environment) = (self.dir.path(), &self.environment);
        self.proxy = start_proxy(dir, self.listen, self.admin, environment);
        let serves = serves(&mut self.proxy, &self.http, self.listen, self.admin).await;
        assert!(serves, "the proxy ended: {}", self.proxy.output());
    }

    /// Starts a worker with set service times and waits until the proxy knows it as ready.
    pub async fn timed_worker(&self, id: &str, options: &[&str]) -> Process {
        let worker = self.start_timed_worker(id, options);
        self.worker_is(id, WorkerState::Ready).await;
        worker
    }

    /// Starts a worker with set service times.
    pub fn start_timed_worker(&self, id: &str, options: &[&str]) -> Process {
        let mut command = Command::new(binary("timed-worker"));
        command.args([
            "serve",
            "--id",
            id,
            "--proxy",
            &format!("http://{}", self.admin),
        ]);
        command
            .arg("--token-file")
            .arg(self.worker_token_file())
            .args(options);
        Process::start(id, &mut command, self.dir.path().join(format!("{id}.log")))
    }

    /// Starts a worker with the default model and waits until the proxy knows it as ready.
    pub async fn worker(&self, id: &str) -> Process {
        self.worker_with(id, &default_model(), &[]).await
    }

    /// Starts a worker with a model of the test's own and waits until the proxy knows it as ready.
    pub async fn worker_with(&self, id: &str, model: &Path, options: &[&str]) -> Process {
        let mut command = Command::new(binary("tidegate-worker"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--id", id]);
        command.args(["--proxy", &format!("http://{}", self.admin)]);
        command.arg("--model").arg(model).args(options);
        command.arg("--token-file").arg(self.worker_token_file());
        command.envs(self.environment.iter().cloned());
        let worker = Process::start(id, &mut command, self.dir.path().join(format!("{id}.log")));
        self.worker_is(id, WorkerState::Ready).await;
        worker
    }

    /// Waits until the proxy knows a worker in this state.
    pub async fn worker_is(&self, id: &str, state: WorkerState) {
        eventually(&format!("{id} is {state:?}"), async || {
            let signal = self.signal().await;
            let mut workers = signal.workers.iter();
            workers
                .any(|w| w.worker == id && w.state == state)
                .then_some(())
        })
        .await;
    }

    pub async fn signal(&self) -> Signal {
        let request = self.http.get(format!("http://{}/signal", self.admin));
        let response = request.bearer_auth(OPERATOR_TOKEN).send().await;
        let response = response.expect("the admin port answers");
        response.json().await.expect("a signal is JSON")
    }

    /// What Prometheus reads.
    pub async fn metrics(&self) -> String {
        let request = self.http.get(format!("http://{}/metrics", self.admin));
        let response = request.send().await.expect("the admin port answers");
        response.text().await.expect("metrics are text")
    }

    /// `POST` to the admin port with a token; the status.
    pub async fn order(&self, path: &str, token: &str) -> u16 {
        let request = self.http.post(format!("http://{}{path}", self.admin));
        let response = request.bearer_auth(token).send().await;
        response.expect("the admin port answers").status().as_u16()
    }

    pub async fn drain(&self, id: &str) {
        assert_eq!(
            self.order(&format!("/drain/{id}"), OPERATOR_TOKEN).await,
            200
        );
    }

    pub async fn undrain(&self, id: &str) {
        assert_eq!(
            self.order(&format!("/undrain/{id}"), OPERATOR_TOKEN).await,
            200
        );
    }

    /// A file for its owner alone in the harness's directory.
    pub fn write_secret(&self, name: &str, secret: &str) {
        write_secret(&self.dir.path().join(name), secret);
    }

    pub fn client(&self) -> Client {
        Client::new(format!("http://{}", self.listen))
    }

    /// Sends a request from 127.0.0.`host` and leaves its answer unread. Many requests take
    /// several hosts: one runs out of ports.
    pub async fn begin(&self, host: u8, body: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        let source = Ipv4Addr::new(127, 0, 0, host);
        socket.bind((source, 0).into()).expect("a free port");
        let mut stream = socket
            .connect(self.listen)
            .await
            .expect("the proxy listens");
        let length = body.len();
        let request = format!(
            "POST /v1/embeddings HTTP/1.1\r\nhost: t\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream
            .write_all(request.as_bytes())
            .await
            .expect("the proxy reads");
        stream
    }

    pub fn worker_token_file(&self) -> PathBuf {
        self.dir.path().join("worker.token")
    }

    pub fn operator_token_file(&self) -> PathBuf {
        self.dir.path().join("operator.token")
    }

    pub fn worker_token(&self) -> &'static str {
        WORKER_TOKEN
    }
}

/// The model that `make up` serves embeddings with.
pub fn default_model() -> PathBuf {
    fetched("all-MiniLM-L6-v2")
}

/// The one that it chats with.
pub fn chat_model() -> PathBuf {
    fetched("SmolLM2-135M-Instruct.gguf")
}

fn fetched(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let model = root
        .expect("tests/ is in the workspace")
        .join("models")
        .join(name);
    assert!(
        model.exists(),
        "{} is missing; `make up` fetches it",
        model.display()
    );
    model
}

/// An address of this machine that nothing listens on now.
pub(crate) fn free_address() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("a bound socket has an address")
}

fn start_proxy(
    dir: &Path,
    listen: SocketAddr,
    admin: SocketAddr,
    environment: &[(&'static str, String)],
) -> Process {
    let mut command = Command::new(binary("tidegate-proxy"));
    command.envs(environment.iter().cloned());
    command.arg("--config").arg(dir.join("proxy.toml"));
    command.args([
        "--listen",
        &listen.to_string(),
        "--admin",
        &admin.to_string(),
    ]);
    command.arg("--worker-tokens").arg(dir.join("worker.token"));
    command
        .arg("--operator-tokens")
        .arg(dir.join("operator.token"));
    Process::start("proxy", &mut command, dir.join("proxy.log"))
}

/// Whether it comes to serve; otherwise it has ended.
async fn serves(
    proxy: &mut Process,
    http: &reqwest::Client,
    listen: SocketAddr,
    admin: SocketAddr,
) -> bool {
    eventually("the proxy serves or ends", async || {
        let health = http.get(format!("http://{admin}/healthz")).send().await;
        let client_port = TcpStream::connect(listen).await;
        match (health, client_port, proxy.ended()) {
            (Ok(_), Ok(_), None) => Some(true),
            (_, _, Some(_)) => Some(false),
            _ => None,
        }
    })
    .await
}

fn write_secret(path: &Path, secret: &str) {
    use std::io::Write;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file = file.expect("the token file can be created");
    writeln!(file, "{secret}").expect("the token file can be written");
}
