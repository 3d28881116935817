//! A worker process of a test's own, and questions to it.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_tests::{Process, eventually};

use crate::tiny_model::{self, Shape};

/// A running worker and the directory of its model, its config and its log.
pub struct Worker {
    pub process: Process,
    pub url: String,
    _home: TempDir,
}

/// A worker that is still to be started.
pub struct Plan {
    command: Command,
    listen: &'static str,
    threads: usize,
    home: TempDir,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

/// `tidegate-worker serve` with a generated model.
pub fn with_model(shape: Shape) -> Plan {
    let home = tempfile::tempdir().expect("a temporary directory");
    let model = home.path().join("tiny");
    tiny_model::write(&model, shape);
    plan(home, model.as_os_str())
}

/// `tidegate-worker serve` with the model that `make` fetches.
pub fn with_default_model() -> Plan {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/all-MiniLM-L6-v2");
    assert!(
        model.join("model.safetensors").exists(),
        "{} is missing; `make test` fetches it first",
        model.display()
    );
    plan(
        tempfile::tempdir().expect("a temporary directory"),
        model.as_os_str(),
    )
}

/// `tidegate-worker serve` with whatever `--model` says.
pub fn plan(home: TempDir, model: impl AsRef<std::ffi::OsStr>) -> Plan {
    let mut command = command();
    command.args(["serve", "--model"]).arg(model);
    Plan {
        command,
        listen: "127.0.0.1:0",
        threads: 1,
        home,
    }
}

/// `tidegate-worker serve` that is given no model.
pub fn without_model(home: TempDir) -> Plan {
    let mut command = command();
    command.arg("serve");
    Plan {
        command,
        listen: "127.0.0.1:0",
        threads: 1,
        home,
    }
}

/// The bare binary.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate-worker"));
    for name in ["HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

impl Plan {
    pub fn listen(mut self, address: &'static str) -> Plan {
        self.listen = address;
        self
    }

    pub fn threads(mut self, threads: usize) -> Plan {
        self.threads = threads;
        self
    }

    fn start(&mut self) -> Process {
        let log = self.home.path().join("log");
        let threads = self.threads.to_string();
        let options = ["--listen", self.listen, "--threads", &threads];
        Process::start("tidegate-worker", self.command.args(options), log)
    }

    pub fn args<const N: usize>(mut self, args: [&str; N]) -> Plan {
        self.command.args(args);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Plan {
        self.command.env(name, value);
        self
    }

    /// A config file with this text.
    pub fn config(mut self, text: &str) -> Plan {
        let file = self.home.path().join("worker.toml");
        std::fs::write(&file, text).expect("the config is written");
        self.command.arg("--config").arg(file);
        self
    }

    /// Starts it and waits until it listens.
    pub async fn listening(mut self) -> Worker {
        let process = self.start();
        let address = eventually("the worker listens", async || {
            let output = process.output();
            let (_, rest) = output.split_once("listening address=")?;
            rest.split_whitespace().next().map(str::to_owned)
        });
        let url = format!("http://{}", address.await);
        Worker {
            process,
            url,
            _home: self.home,
        }
    }

    /// Starts it and waits until it takes requests.
    pub async fn ready(self) -> Worker {
        let worker = self.listening().await;
        worker.until_ready().await;
        worker
    }

    /// Starts it, and expects that it ends by itself.
    pub async fn fails(mut self) -> (Option<i32>, String) {
        let mut process = self.start();
        let (status, _) = process.end(tidegate_tests::PATIENCE).await;
        (status.code(), process.output())
    }
}

impl Worker {
    /// A connection that it closes, as it does while all are taken, is no answer yet.
    pub async fn until_ready(&self) {
        let url = format!("{}/readyz", self.url);
        eventually("the worker is ready", async || {
            let answer = send(reqwest::Client::new().get(&url)).await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(reqwest::Client::new().get(format!("{}{path}", self.url)))
            .await
            .expect("the worker answers")
    }

    pub fn request(&self, body: &Value) -> reqwest::RequestBuilder {
        self.request_to("/v1/embeddings", body)
    }

    pub async fn post(&self, body: &Value) -> Answer {
        send(self.request(body)).await.expect("the worker answers")
    }

    /// A `POST` to any of its paths.
    pub fn request_to(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", self.url);
        reqwest::Client::new().post(url).json(body)
    }

    pub async fn post_to(&self, path: &str, body: &Value) -> Answer {
        send(self.request_to(path, body))
            .await
            .expect("the worker answers")
    }

    /// What a `POST` to one of its paths gives, as it should.
    #[track_caller]
    pub fn ask<'a, T: serde::de::DeserializeOwned>(
        &'a self,
        path: &'a str,
        body: &'a Value,
    ) -> impl Future<Output = T> + 'a {
        let asked_at = std::panic::Location::caller();
        async move {
            let answer = self.post_to(path, body).await;
            assert_eq!(answer.status, 200, "{asked_at}: {}", answer.body);
            let shown = answer.body.to_string();
            serde_json::from_value(answer.body)
                .unwrap_or_else(|error| panic!("{asked_at}: {error} in {shown}"))
        }
    }

    /// The vectors of texts, one by one or as a list, and the tokens that were counted.
    pub async fn embed(&self, input: Value) -> (Vec<Vec<f32>>, u64) {
        let answer = self
            .post(&json!({ "input": input, "truncate": true }))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let data = answer.body["data"].as_array().expect("data is a list");
        let numbers =
            |item: &Value| serde_json::from_value(item["embedding"].clone()).expect("numbers");
        let tokens = answer.body["usage"]["prompt_tokens"]
            .as_u64()
            .expect("a count");
        (data.iter().map(numbers).collect(), tokens)
    }

    /// Starts a request of `texts` long texts, which keeps a slot for a while.
    pub fn keep_busy(&self, texts: usize) -> tokio::task::JoinHandle<reqwest::Result<Answer>> {
        let input = vec![tiny_model::long_text(); texts];
        tokio::spawn(send(self.request(&json!({ "input": input }))))
    }

    /// The value of a metric without labels; 0 while there is none.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").await.body;
        let lines = text.as_str().unwrap_or_default().lines();
        let value = lines
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
            .next();
        value.map_or(0.0, |value| value.parse().expect("a number"))
    }

    pub async fn until_metric(&self, name: &str, value: f64) {
        let what = format!("{name} is {value}");
        eventually(&what, async || {
            (self.metric(name).await == value).then_some(())
        })
        .await;
    }

    /// Waits until the first batch since the start is computed.
    pub async fn until_computing(&self) {
        eventually("a batch is computed", async || {
            (self.metric("tidegate_worker_batch_texts_count").await > 0.0).then_some(())
        })
        .await;
    }
}

pub async fn send(request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
    let answer = request.send().await?;
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let text = answer.text().await?;
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok(Answer {
        status,
        headers,
        body,
    })
}

impl Answer {
    /// Asserts that it is an error in OpenAI's shape, and gives its message.
    #[track_caller]
    pub fn refusal(&self, status: u16, code: Value) -> &str {
        let error = &self.body["error"];
        assert_eq!(
            (self.status, &error["code"]),
            (status, &code),
            "{}",
            self.body
        );
        assert!(
            error["type"].is_string() && error.get("param").is_some(),
            "{}",
            self.body
        );
        error["message"].as_str().expect("a message")
    }

    /// Asserts that it is an error in the shape of text-embeddings-inference, and gives its
    /// message.
    #[track_caller]
    pub fn tei_refusal(&self, status: u16, error_type: &str) -> &str {
        let found = (self.status, &self.body["error_type"]);
        assert_eq!(found, (status, &json!(error_type)), "{}", self.body);
        self.body["error"].as_str().expect("a message")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}
