//! The TOML file of `serve`. Every limit has a default; configs/batch.toml gives the reasons.

mod sagemaker;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;
use tidegate_config::{Check, Duration, Problem};

pub use self::sagemaker::{Callers, S3Rules, SageMakerRules};
use crate::input::FileLimits;

/// Of a file of keys.
const LARGEST_KEYS_BYTES: u64 = 256 << 10;

/// SQS takes no more than the last; less than the first is over before it can be asked for again.
const VISIBILITY_SECONDS: std::ops::RangeInclusive<u64> = 5..=43_200;

/// Why a file that the configuration names cannot be used.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct Unusable(pub String);

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where clients ask.
    pub listen: SocketAddr,
    /// Directory of files, answers and the database.
    pub store: PathBuf,
    /// How long lines that were asked may take to be answered after SIGTERM.
    pub drain_limit: Duration,
    pub clients: ClientRules,
    pub proxy: ProxyRules,
    pub files: FileRules,
    pub batches: BatchRules,
    pub quota: Quota,
    pub shared: SharedRules,
    pub sagemaker: SageMakerRules,
}

/// Who may ask for files and batches.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientRules {
    /// File of mode 0600 with hashes of keys, as the proxy has it; without one any key is taken.
    pub api_keys_file: Option<PathBuf>,
}

/// How lines are asked.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProxyRules {
    pub url: String,
    /// File of mode 0600 with this service's own key, where the proxy wants one.
    pub key_file: Option<PathBuf>,
    /// Most lines asked at once.
    pub concurrency: usize,
    /// Most bytes of their bodies.
    pub in_flight_bytes: usize,
    /// How long a line may wait at the proxy and be worked on.
    pub line_timeout: Duration,
    /// Largest answer that is kept.
    pub answer_bytes: usize,
    /// Tries of a line that fails at a worker.
    pub tries: u32,
    /// Tries beyond each line's first, as a share of all lines.
    pub retry_ratio: f64,
    /// Most of them that can be saved up.
    pub retry_burst: u32,
}

/// What a file may be.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileRules {
    pub bytes: u64,
    pub lines: u32,
    pub line_bytes: usize,
    /// How long an upload may take.
    pub upload_timeout: Duration,
    /// A file is removed after this, unless it says otherwise.
    pub keep: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchRules {
    /// Batches that are worked on at once, oldest first.
    pub at_once: usize,
    /// The longest `completion_window`.
    pub longest_window: Duration,
}

/// What each key may have at once.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quota {
    pub files: u64,
    pub bytes: u64,
    /// Lines of batches that have not ended.
    pub lines: u64,
}

/// A store that many machines share. In use once a bucket is named; `store` then is this machine's own
/// directory for what is under way.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SharedRules {
    /// Of S3, or of what speaks its protocol.
    pub bucket: Option<String>,
    /// Before the key of every object.
    pub prefix: String,
    /// URL of a queue of SQS.
    pub queue: Option<String>,
    pub region: Option<String>,
    /// Where S3 is, if not at AWS.
    pub endpoint: Option<String>,
    /// Most lines of a part, which one machine works on.
    pub part_lines: u32,
    /// Most bytes of one, unless a line has more.
    pub part_bytes: u64,
    /// How long a part is nobody else's after the machine that works on it was last heard of.
    pub visibility: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            store: "/var/lib/tidegate/batch".into(),
            drain_limit: Duration::from_secs(20),
            clients: ClientRules::default(),
            proxy: ProxyRules::default(),
            files: FileRules::default(),
            batches: BatchRules::default(),
            quota: Quota::default(),
            shared: SharedRules::default(),
            sagemaker: SageMakerRules::default(),
        }
    }
}

impl Default for SharedRules {
    fn default() -> Self {
        SharedRules {
            bucket: None,
            prefix: String::new(),
            queue: None,
            region: None,
            endpoint: None,
            part_lines: 500,
            part_bytes: 8 << 20,
            visibility: Duration::from_secs(60),
        }
    }
}

impl Default for ProxyRules {
    fn default() -> Self {
        ProxyRules {
            url: "http://127.0.0.1:8080".to_owned(),
            key_file: None,
            concurrency: 256,
            in_flight_bytes: 256 << 20,
            line_timeout: Duration::from_secs(600),
            answer_bytes: 64 << 20,
            tries: 3,
            retry_ratio: 0.2,
            retry_burst: 512,
        }
    }
}

impl Default for FileRules {
    fn default() -> Self {
        FileRules {
            bytes: 200_000_000,
            lines: 50_000,
            line_bytes: 10 << 20,
            upload_timeout: Duration::from_secs(600),
            keep: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

impl Default for BatchRules {
    fn default() -> Self {
        BatchRules {
            at_once: 4,
            longest_window: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

impl Default for Quota {
    fn default() -> Self {
        Quota {
            files: 500,
            bytes: 10_000_000_000,
            lines: 500_000,
        }
    }
}

/// The text of a file that nobody but its owner may read; `key` is the configuration's.
pub fn read_private(key: &str, file: &Path) -> Result<String, Unusable> {
    let name = file.display();
    let (text, mode) = tidegate_config::read_text(file, LARGEST_KEYS_BYTES)
        .map_err(|error| Unusable(format!("{key} {name} cannot be read: {error}")))?;
    match mode & 0o077 {
        0 => Ok(text),
        _ => Err(Unusable(format!(
            "{key} {name}: mode {mode:04o} lets others read it; run: chmod 600 {name}"
        ))),
    }
}

impl FileRules {
    pub fn limits(&self) -> FileLimits {
        FileLimits {
            lines: self.lines,
            line_bytes: self.line_bytes,
        }
    }
}

impl SharedRules {
    fn check(&self) -> Result<(), Problem> {
        match (&self.bucket, &self.queue) {
            (Some(_), None) => {
                let expected = "the URL of a queue, as there is `shared.bucket`";
                return Err(Problem::new("shared.queue", "nothing", expected));
            }
            (None, Some(_)) => {
                let expected = "the name of a bucket, as there is `shared.queue`";
                return Err(Problem::new("shared.bucket", "nothing", expected));
            }
            _ => {}
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
        if !self.prefix.bytes().all(is_plain) {
            let found = format!("{:?}", self.prefix);
            let expected = "letters, digits, /, -, _ and .";
            return Err(Problem::new("shared.prefix", found, expected));
        }
        match VISIBILITY_SECONDS.contains(&self.visibility.as_secs()) {
            true => Ok(()),
            false => Err(Problem::new(
                "shared.visibility",
                self.visibility,
                "5s to 12h",
            )),
        }
    }
}

impl Check for Config {
    fn check(&self) -> Result<(), Problem> {
        let at_least_one = [
            ("proxy.concurrency", self.proxy.concurrency as u64),
            ("proxy.tries", self.proxy.tries.into()),
            ("proxy.answer_bytes", self.proxy.answer_bytes as u64),
            ("files.bytes", self.files.bytes),
            ("files.lines", self.files.lines.into()),
            ("files.line_bytes", self.files.line_bytes as u64),
            ("batches.at_once", self.batches.at_once as u64),
            ("shared.part_lines", self.shared.part_lines.into()),
            ("shared.part_bytes", self.shared.part_bytes),
        ];
        if let Some((key, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            return Err(Problem::new(key, 0, "1 or more"));
        }
        let url = reqwest::Url::parse(&self.proxy.url);
        if !url.is_ok_and(|url| url.has_host() && matches!(url.scheme(), "http" | "https")) {
            let expected = "a base URL such as \"http://127.0.0.1:8080\"";
            return Err(Problem::new(
                "proxy.url",
                format!("\"{}\"", self.proxy.url),
                expected,
            ));
        }
        if !(0.0..=1.0).contains(&self.proxy.retry_ratio) {
            let found = self.proxy.retry_ratio;
            return Err(Problem::new("proxy.retry_ratio", found, "0.0 to 1.0"));
        }
        if self.proxy.answer_bytes > u32::MAX as usize {
            let found = self.proxy.answer_bytes;
            return Err(Problem::new(
                "proxy.answer_bytes",
                found,
                "at most 4294967295",
            ));
        }
        if self.proxy.in_flight_bytes < self.files.line_bytes {
            let expected = format!("at least files.line_bytes, {}", self.files.line_bytes);
            let found = self.proxy.in_flight_bytes;
            return Err(Problem::new("proxy.in_flight_bytes", found, expected));
        }
        let most = self.sagemaker.s3.input_bytes;
        if (self.proxy.in_flight_bytes as u64) < most {
            let expected = format!("at least sagemaker.s3.input_bytes, {most}");
            let found = self.proxy.in_flight_bytes;
            return Err(Problem::new("proxy.in_flight_bytes", found, expected));
        }
        self.sagemaker.s3.check()?;
        self.shared.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_complete_and_has_the_defaults() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/batch.toml");
        let config: Config = tidegate_config::load(&file).expect("it is valid");
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let refusal = |text: &str| {
            let read = tidegate_config::parse::<Config>(text, Path::new("batch.toml"));
            read.expect_err("refused").to_string()
        };
        for (text, words) in [
            ("[proxy]\nurl = 'ftp://x'", "proxy.url: found \"ftp://x\""),
            (
                "[proxy]\ntries = 0",
                "proxy.tries: found 0, expected 1 or more",
            ),
            ("[files]\nline_bytes = 999999999", "proxy.in_flight_bytes"),
            (
                "[shared]\nbucket = 'b'",
                "shared.queue: found nothing, expected the URL of a queue",
            ),
            (
                "[shared]\nvisibility = '1s'",
                "shared.visibility: found 1s, expected 5s to 12h",
            ),
            ("[batchs]", "did you mean \"batches\"?"),
        ] {
            let said = refusal(text);
            assert!(said.contains(words), "{said}");
        }
    }
}
