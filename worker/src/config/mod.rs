//! The worker's configuration: every key, its default and the reason for it.
//! `configs/worker.toml` is the same as a file; a test holds the two together.

mod metadata;
mod quality;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use serde::Deserialize;
use tidegate_config::{Check, Duration, Problem};

use crate::models::Source;
use crate::units::Bytes;

pub use crate::metrics::Aliases;
pub use crate::models::S3Config;
pub use metadata::{MetadataConfig, MetadataUrl, MetadataUrlError, OnRebalance};
pub use quality::QualityConfig;
pub use tidegate_agent::ProxyUrl;

/// Where a worker listens unless told otherwise.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8090);

/// Less than the HTTP library buffers in any case.
const LEAST_HEADER_BYTES: usize = 8 << 10;

/// Heartbeats that come faster are load, not news.
const SHORTEST_BEAT: Duration = Duration::from_millis(100);

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerConfig {
    /// What to serve; must be given here or on the command line.
    pub model: Option<Source>,
    /// The model id that clients name; the directory's name when absent.
    pub name: Option<String>,
    /// Where requests are taken.
    pub listen: SocketAddr,
    /// The address that heartbeats announce, when it is not the one listened on.
    pub advertise: Option<SocketAddr>,
    /// Name in the fleet; the instance id that the metadata say, or host name and port, when absent.
    pub id: Option<String>,
    /// The machine's instance id, passed on in heartbeats; what the metadata say when absent.
    pub instance: Option<String>,
    /// The proxies' admin ports.
    pub proxies: Vec<ProxyUrl>,
    /// File with the `worker` token; without it anyone who reaches the address may ask.
    pub token_file: Option<PathBuf>,
    /// Threads that compute; 0 means as many as this process may use.
    pub threads: usize,
    /// What would hold more memory is refused at start.
    pub memory_limit: Option<Bytes>,
    /// Requests accepted at once.
    pub slots: NonZeroU32,
    pub batch: BatchConfig,
    pub generate: GenerateConfig,
    pub quality: QualityConfig,
    pub limits: LimitsConfig,
    pub beat: HeartbeatConfig,
    pub drain: DrainConfig,
    pub metrics: MetricsConfig,
    pub metadata: MetadataConfig,
    pub s3: S3Config,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchConfig {
    /// Tokens computed in one go by one thread, padding not counted.
    pub max_tokens: NonZeroUsize,
    /// How long an idle thread waits for requests that are already being read into tokens.
    pub max_wait: Duration,
}

/// Of models that generate text.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GenerateConfig {
    /// Answers that are computed together.
    pub sequences: NonZeroUsize,
    /// Tokens of the longest prompt with its answer; what the model was trained for when absent.
    pub context: Option<NonZeroUsize>,
    /// Tokens whose keys and values are kept, of all sequences together.
    pub cache_tokens: NonZeroUsize,
    /// Tokens of prompts that are read in one step.
    pub step_tokens: NonZeroUsize,
    /// The longest answer in tokens to a chat that does not say.
    pub answer_tokens: NonZeroUsize,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Texts in one request.
    pub max_texts: NonZeroUsize,
    /// Bytes of one request's body.
    pub max_body_bytes: NonZeroUsize,
    /// Bytes of all requests' bodies.
    pub all_bodies_bytes: NonZeroUsize,
    /// Bytes of all requests' results, from when they are computed until they are written.
    pub all_results_bytes: NonZeroUsize,
    /// Time for one request's body to arrive.
    pub body_timeout: Duration,
    /// Rows of one answer that has a row for each token.
    pub max_rows: NonZeroUsize,
    /// Connections at once.
    pub max_connections: NonZeroUsize,
    /// Time for a request's header to arrive, from when its connection has nothing else to do.
    pub header_timeout: Duration,
    /// Bytes of a request's header.
    pub max_header_bytes: NonZeroUsize,
    /// Time for a client to take so much of an answer as its connection buffers.
    pub write_timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeartbeatConfig {
    pub interval: Duration,
    /// Time for a proxy to answer one heartbeat.
    pub timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DrainConfig {
    /// Time to finish what was accepted once the worker is told to stop.
    pub deadline: Duration,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// Other servers whose names `/metrics` gives as well.
    pub aliases: Vec<Aliases>,
}

impl Check for WorkerConfig {
    fn check(&self) -> Result<(), Problem> {
        self.quality
            .check()
            .map_err(|problem| problem.within("quality"))?;
        let limits = self.limits.check();
        limits.map_err(|problem| problem.within("limits"))?;
        let metadata = self.metadata.check();
        metadata.map_err(|problem| problem.within("metadata"))?;
        self.s3.check().map_err(|problem| problem.within("s3"))?;
        self.beat.check().map_err(|problem| problem.within("beat"))
    }
}

impl Check for LimitsConfig {
    fn check(&self) -> Result<(), Problem> {
        if self.header_timeout.is_zero() {
            return Err(Problem::new(
                "header_timeout",
                self.header_timeout,
                "more than 0s",
            ));
        }
        if self.write_timeout.is_zero() {
            let found = self.write_timeout;
            return Err(Problem::new("write_timeout", found, "more than 0s"));
        }
        if self.max_header_bytes.get() < LEAST_HEADER_BYTES {
            let expected = format!("at least {LEAST_HEADER_BYTES}");
            let found = self.max_header_bytes;
            return Err(Problem::new("max_header_bytes", found, expected));
        }
        if self.all_bodies_bytes < self.max_body_bytes {
            let expected = format!("at least max_body_bytes, {}", self.max_body_bytes);
            let found = self.all_bodies_bytes;
            return Err(Problem::new("all_bodies_bytes", found, expected));
        }
        Ok(())
    }
}

impl Check for HeartbeatConfig {
    fn check(&self) -> Result<(), Problem> {
        if self.interval < SHORTEST_BEAT {
            let expected = format!("at least {SHORTEST_BEAT}");
            return Err(Problem::new("interval", self.interval, expected));
        }
        if self.timeout.is_zero() {
            return Err(Problem::new("timeout", self.timeout, "more than 0s"));
        }
        Ok(())
    }
}

impl Default for WorkerConfig {
    fn default() -> Self {
        WorkerConfig {
            model: None,
            name: None,
            listen: DEFAULT_LISTEN,
            advertise: None,
            id: None,
            instance: None,
            proxies: Vec::new(),
            token_file: None,
            threads: 0,
            memory_limit: None,
            slots: const { NonZeroU32::new(32).unwrap() },
            batch: BatchConfig::default(),
            generate: GenerateConfig::default(),
            quality: QualityConfig::default(),
            limits: LimitsConfig::default(),
            beat: HeartbeatConfig::default(),
            drain: DrainConfig::default(),
            metrics: MetricsConfig::default(),
            metadata: MetadataConfig::default(),
            s3: S3Config::default(),
        }
    }
}

impl Default for BatchConfig {
    fn default() -> Self {
        BatchConfig {
            max_tokens: const { NonZeroUsize::new(1024).unwrap() },
            max_wait: Duration::from_millis(2),
        }
    }
}

impl Default for GenerateConfig {
    fn default() -> Self {
        GenerateConfig {
            sequences: const { NonZeroUsize::new(8).unwrap() },
            context: None,
            cache_tokens: const { NonZeroUsize::new(16_384).unwrap() },
            step_tokens: const { NonZeroUsize::new(64).unwrap() },
            answer_tokens: const { NonZeroUsize::new(1024).unwrap() },
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        LimitsConfig {
            max_texts: const { NonZeroUsize::new(2048).unwrap() },
            max_body_bytes: const { NonZeroUsize::new(25 << 20).unwrap() },
            all_bodies_bytes: const { NonZeroUsize::new(128 << 20).unwrap() },
            all_results_bytes: const { NonZeroUsize::new(256 << 20).unwrap() },
            body_timeout: Duration::from_secs(30),
            max_rows: const { NonZeroUsize::new(32_768).unwrap() },
            max_connections: const { NonZeroUsize::new(1024).unwrap() },
            header_timeout: Duration::from_secs(60),
            max_header_bytes: const { NonZeroUsize::new(32 << 10).unwrap() },
            write_timeout: Duration::from_secs(60),
        }
    }
}

impl Default for HeartbeatConfig {
    fn default() -> Self {
        HeartbeatConfig {
            interval: Duration::from_secs(1),
            timeout: Duration::from_millis(800),
        }
    }
}

impl Default for DrainConfig {
    fn default() -> Self {
        DrainConfig {
            deadline: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_file_in_configs_holds_every_key_at_its_default() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/worker.toml");
        let config: WorkerConfig = tidegate_config::load(&file).expect("it is valid");
        assert_eq!(config, WorkerConfig::default());

        let text = std::fs::read_to_string(&file).expect("it can be read");
        let uncommented: String = text
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(key)
                    if key
                        .split_once(" = ")
                        .is_some_and(|(key, _)| !key.contains(' ')) =>
                {
                    key
                }
                _ => line,
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        let whole: WorkerConfig = tidegate_config::parse(&uncommented, &file).expect("it is valid");
        assert!(
            whole.model.is_some()
                && whole.name.is_some()
                && whole.advertise.is_some()
                && whole.id.is_some()
                && whole.instance.is_some()
                && whole.token_file.is_some()
                && whole.memory_limit.is_some()
                && whole.generate.context.is_some()
                && whole.quality.min_cosine.is_some()
                && whole.quality.min_spearman.is_some()
                && whole.quality.min_agreement.is_some()
                && whole.quality.min_exact_match.is_some()
                && whole.quality.min_chrf.is_some()
                && whole.quality.min_same_top.is_some()
                && whole.quality.max_kl_divergence.is_some()
                && whole.quality.max_perplexity_ratio.is_some()
                && whole.metadata.url.is_some()
                && whole.s3.region.is_some()
                && whole.s3.endpoint.is_some()
                && whole.s3.cache.is_some()
        );
    }

    #[test]
    fn values_that_make_no_sense_are_refused_with_their_key() {
        for (text, message) in [
            ("slots = 0", "slots"),
            ("proxies = ['localhost:9090']", "expected http://HOST:PORT"),
            (
                "proxies = ['https://proxy:9090']",
                "expected http://HOST:PORT",
            ),
            ("[beat]\ninterval = '1ms'", "beat.interval"),
            ("[beat]\ntimeout = '0s'", "beat.timeout"),
            ("[limits]\nheader_timeout = '0s'", "limits.header_timeout"),
            ("[limits]\nmax_connections = 0", "max_connections"),
            ("[limits]\nmax_header_bytes = 100", "at least 8192"),
            (
                "[limits]\nall_bodies_bytes = 100",
                "at least max_body_bytes, 26214400",
            ),
            ("[drain]\ndedline = '1s'", "did you mean \"deadline\""),
            ("model = 'hf://name'", "hf://ORG/NAME"),
            ("model = 's3://bucket/key'", "s3://BUCKET/KEY#sha256=HEX"),
            (
                "[metadata]\nurl = '169.254.169.254'",
                "http://169.254.169.254",
            ),
            ("[metrics]\naliases = ['tei']", "text-embeddings-inference"),
            ("[metadata]\ninterval = '5m'", "metadata.interval"),
            ("[metadata]\non_rebalance = 'ignore'", "on_rebalance"),
            ("[s3]\nendpoint = 'localhost:9000'", "s3.endpoint"),
            ("memory_limit = '5 TB'", "such as 512MB"),
            ("[quality]\nmin_cosine = 99.0", "quality.min_cosine"),
            ("[quality]\nmin_chrf = 101.0", "quality.min_chrf"),
            ("[quality]\nmax_kl_divergence = 0.0", "max_kl_divergence"),
        ] {
            let mistake = tidegate_config::parse::<WorkerConfig>(text, Path::new("w.toml"));
            let mistake = mistake.expect_err(text).to_string();
            assert!(mistake.contains(message), "{text}: {mistake}");
        }
    }
}
