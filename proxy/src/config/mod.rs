//! The proxy's TOML file. Every limit has a default; configs/proxy.toml gives the reasons.

mod batch;
mod classes;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use serde::Deserialize;
use tidegate_config::{Check, Duration, Problem};
use tidegate_queue::{QueueConfig, RegistryConfig, RetryConfig, is_name};

pub use self::batch::{BatchRules, BatchUrl};
pub use self::classes::ClassRules;
use crate::descriptors;
use crate::route::WorkerRoute;

/// Keep-alive probes are counted in whole seconds, and two follow the first pause.
const SHORTEST_UNREACHABLE: Duration = Duration::from_secs(4);

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name of this proxy in signals and towards workers; unique among the proxies of a fleet.
    pub name: String,
    /// Where clients are served.
    pub listen: SocketAddr,
    /// Where workers heartbeat and the scaler reads and orders.
    pub admin: SocketAddr,
    /// Threads that serve clients.
    pub threads: usize,
    /// Models that requests may wait for before a worker announces them.
    pub models: Vec<String>,
    /// What goes to workers. A body is JSON, and may name the model.
    pub routes: Vec<WorkerRoute>,
    pub tokens: TokenFiles,
    pub workers: WorkerRules,
    /// What a class holds that does not set its own.
    pub line: QueueRules,
    /// In the order in which they are served.
    pub classes: Vec<ClassRules>,
    /// The class of requests that nothing says it of.
    pub default_class: String,
    pub retry: RetryRules,
    pub clients: ClientRules,
    pub access: AccessRules,
    pub batch: BatchRules,
    /// How long the unfinished requests may take after SIGTERM.
    pub drain_limit: Duration,
}

/// Files of role tokens; see `tidegate_config::Tokens`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenFiles {
    /// Workers heartbeat with it, and are sent it with every request.
    pub worker: PathBuf,
    /// The scaler and operators read the signal and give orders with it.
    pub operator: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerRules {
    /// Networks from which an address other than the sender's own may be announced.
    pub announce_from: Vec<IpNet>,
    /// A worker that was not heard from for this long takes nothing new.
    pub silence: Duration,
    pub connect_timeout: Duration,
    /// A connection whose other end has acknowledged nothing for this long is given up.
    pub unreachable: Duration,
    /// Longest gap between two pieces of an answer.
    pub answer_gap: Duration,
    /// How long an unused connection to a worker is kept.
    pub idle: Duration,
    /// A silent worker that has nothing left to do is forgotten after this.
    pub forget: Duration,
    /// Most workers that may announce themselves.
    pub most: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueRules {
    /// Most requests of one class in one model's queue.
    pub waiting: usize,
    /// Most bytes of their bodies.
    pub waiting_bytes: u64,
    /// How long a client waits that does not say so with `X-Request-Timeout-Ms`.
    pub default_timeout: Duration,
    /// The most that a client may ask for.
    pub longest_timeout: Duration,
    /// `Retry-After` of a refusal while nothing is known of the workers' speed.
    pub retry_after: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryRules {
    /// Tries moved to another worker, as a share of the arrivals.
    pub ratio: f64,
    /// Most of them that can be saved up; should cover the slots of one worker.
    pub burst: u32,
    /// A request on which this many workers died is given up.
    pub deaths: u32,
    /// A try without an answer for this long, and for longer than nearly all before it, gets a second
    /// one beside it, of an idle worker; zero: never.
    pub hedge_after: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientRules {
    /// Hashes of the keys of which each request must bring one; without it anyone may ask.
    pub api_keys_file: Option<PathBuf>,
    /// Largest body.
    pub body_bytes: usize,
    /// Bytes of all bodies that are in memory at once.
    pub all_bodies_bytes: usize,
    /// Connections at once, over all clients; by default what the limit of descriptors leaves.
    pub connections: Option<usize>,
    /// Largest header of a request, and most of its fields.
    pub header_bytes: usize,
    pub header_fields: usize,
    /// Bytes of all headers that are not whole yet.
    pub all_headers_bytes: usize,
    /// How long a request's header may take, beyond `idle` for its first byte.
    pub header_timeout: Duration,
    /// From the end of the header to the last byte of the body.
    pub body_timeout: Duration,
    /// Bytes of an answer that are read ahead of its client, and of all answers.
    pub answer_bytes: usize,
    pub all_answers_bytes: usize,
    /// Longest wait for a client to take a piece of its answer.
    pub write_timeout: Duration,
    /// Least bytes a second that a client must take of an answer, beyond `write_timeout`.
    pub least_rate: u64,
    /// Longest time that a client may keep a worker waiting whose answer is larger than what is
    /// read ahead.
    pub hold_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle: Duration,
    /// Origins whose pages may read answers in a browser; `*` is any.
    pub cors_origins: Vec<String>,
}

/// The access log; off unless it has a file.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessRules {
    /// A line for each request is added to this file.
    pub log: Option<PathBuf>,
    /// A larger one is put aside as FILE.1, in place of the one before.
    pub bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            name: "proxy".to_owned(),
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin: SocketAddr::from(([127, 0, 0, 1], 9090)),
            threads: 2,
            models: Vec::new(),
            routes: WorkerRoute::all(),
            tokens: TokenFiles::default(),
            workers: WorkerRules::default(),
            line: QueueRules::default(),
            classes: ClassRules::usual(),
            default_class: "default".to_owned(),
            retry: RetryRules::default(),
            clients: ClientRules::default(),
            access: AccessRules::default(),
            batch: BatchRules::default(),
            drain_limit: Duration::from_secs(60),
        }
    }
}

impl Default for TokenFiles {
    fn default() -> Self {
        TokenFiles {
            worker: "/etc/tidegate/worker.token".into(),
            operator: "/etc/tidegate/operator.token".into(),
        }
    }
}

impl Default for WorkerRules {
    fn default() -> Self {
        WorkerRules {
            announce_from: Vec::new(),
            silence: Duration::from_millis(3500),
            connect_timeout: Duration::from_secs(1),
            unreachable: Duration::from_secs(10),
            answer_gap: Duration::from_secs(60),
            idle: Duration::from_secs(30),
            forget: Duration::from_secs(60),
            most: 10_000,
        }
    }
}

impl Default for QueueRules {
    fn default() -> Self {
        QueueRules {
            waiting: 1024,
            waiting_bytes: 256 << 20,
            default_timeout: Duration::from_secs(60),
            longest_timeout: Duration::from_secs(600),
            retry_after: Duration::from_secs(5),
        }
    }
}

impl Default for RetryRules {
    fn default() -> Self {
        RetryRules {
            ratio: 0.2,
            burst: 128,
            deaths: 2,
            hedge_after: Duration::from_millis(50),
        }
    }
}

impl Default for ClientRules {
    fn default() -> Self {
        ClientRules {
            api_keys_file: None,
            body_bytes: 25 << 20,
            all_bodies_bytes: 512 << 20,
            connections: None,
            header_bytes: 32 << 10,
            header_fields: 100,
            all_headers_bytes: 32 << 20,
            header_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(60),
            answer_bytes: 64 << 20,
            all_answers_bytes: 512 << 20,
            write_timeout: Duration::from_secs(60),
            least_rate: 16 << 10,
            hold_timeout: Duration::from_secs(5),
            idle: Duration::from_secs(60),
            cors_origins: Vec::new(),
        }
    }
}

impl Default for AccessRules {
    fn default() -> Self {
        AccessRules {
            log: None,
            bytes: 64 << 20,
        }
    }
}

impl Config {
    /// The descriptors that `clients.connections` needs where this process may not have them.
    fn too_many_connections(&self) -> Option<u64> {
        let needed = descriptors::needed(self.clients.connections?);
        (needed > descriptors::limit()).then_some(needed)
    }

    /// What the queue crate is to know of this config.
    pub fn registry(&self) -> RegistryConfig {
        RegistryConfig {
            models: self.models.clone(),
            silence: self.workers.silence.into(),
            forget: self.workers.forget.into(),
            workers: self.workers.most,
            queue: Arc::new(QueueConfig {
                classes: (self.classes.iter())
                    .map(|class| class.class_config(&self.line))
                    .collect(),
                retry: RetryConfig {
                    ratio: self.retry.ratio,
                    burst: self.retry.burst,
                    hedge_after: Some(*self.retry.hedge_after).filter(|it| !it.is_zero()),
                },
            }),
            ..RegistryConfig::default()
        }
    }
}

impl Check for Config {
    fn check(&self) -> Result<(), Problem> {
        classes::check(&self.classes, &self.default_class)?;
        let at_least_one = [
            ("threads", self.threads),
            ("line.waiting", self.line.waiting),
            ("clients.body_bytes", self.clients.body_bytes),
            ("clients.connections", self.clients.connections.unwrap_or(1)),
            ("clients.header_bytes", self.clients.header_bytes),
            ("clients.header_fields", self.clients.header_fields),
            ("workers.most", self.workers.most),
            ("retry.deaths", self.retry.deaths as usize),
        ];
        if let Some((key, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            return Err(Problem::new(key, 0, "1 or more"));
        }
        if self.access.bytes == 0 {
            return Err(Problem::new("access.bytes", 0, "1 or more"));
        }
        if !(0.0..=1.0).contains(&self.retry.ratio) {
            return Err(Problem::new("retry.ratio", self.retry.ratio, "0.0 to 1.0"));
        }
        if self.workers.unreachable < SHORTEST_UNREACHABLE {
            let expected = format!("at least \"{SHORTEST_UNREACHABLE}\"");
            let found = format!("\"{}\"", self.workers.unreachable);
            return Err(Problem::new("workers.unreachable", found, expected));
        }
        if self.clients.all_bodies_bytes < self.clients.body_bytes {
            let expected = format!("at least clients.body_bytes, {}", self.clients.body_bytes);
            let found = self.clients.all_bodies_bytes;
            return Err(Problem::new("clients.all_bodies_bytes", found, expected));
        }
        if self.clients.all_headers_bytes < self.clients.header_bytes {
            let expected = format!(
                "at least clients.header_bytes, {}",
                self.clients.header_bytes
            );
            let found = self.clients.all_headers_bytes;
            return Err(Problem::new("clients.all_headers_bytes", found, expected));
        }
        if let Some(needed) = self.too_many_connections() {
            let expected = format!("fewer, or a limit of {needed} open files (ulimit -n)");
            let found = self.clients.connections.unwrap_or_default();
            return Err(Problem::new("clients.connections", found, expected));
        }
        if !is_name(&self.name) {
            let expected = "up to 128 of the characters A-Z a-z 0-9 . _ : -";
            return Err(Problem::new("name", format!("\"{}\"", self.name), expected));
        }
        if self.listen == self.admin && self.listen.port() != 0 {
            let expected = "an address other than `listen`";
            return Err(Problem::new("admin", self.admin, expected));
        }
        if let Some(route) = self.routes.iter().find(|route| route.is_the_proxys_own()) {
            let expected = "a path that the proxy does not answer itself";
            return Err(Problem::new("routes", route, expected));
        }
        Ok(())
    }
}
