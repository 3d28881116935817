//! `[s3]`: how models named by `s3://` are fetched and kept.

use std::path::PathBuf;

use serde::Deserialize;
use tidegate_config::{Check, Duration, Problem};

use crate::units::Bytes;

/// How `s3://` models are fetched and kept.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3Config {
    /// The bucket's; what the environment, the profile or the instance says when absent.
    pub region: Option<String>,
    /// Another address than S3's own, such as an emulator's.
    pub endpoint: Option<String>,
    /// Where models are kept; the user's cache directory when absent.
    pub cache: Option<PathBuf>,
    /// A larger object is not fetched.
    pub max_size: Bytes,
    /// Time without a byte after which a download is tried again.
    pub timeout: Duration,
}

impl Default for S3Config {
    fn default() -> Self {
        S3Config {
            region: None,
            endpoint: None,
            cache: None,
            max_size: Bytes(20_000_000_000),
            timeout: Duration::from_secs(30),
        }
    }
}

impl Check for S3Config {
    fn check(&self) -> Result<(), Problem> {
        let is_base = |text: &str| {
            let parsed = reqwest::Url::parse(text);
            parsed.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        };
        if let Some(endpoint) = self.endpoint.as_ref().filter(|text| !is_base(text)) {
            let expected = "a base URL such as \"http://127.0.0.1:9000\"";
            return Err(Problem::new(
                "endpoint",
                format!("\"{endpoint}\""),
                expected,
            ));
        }
        match self.timeout.is_zero() {
            true => Err(Problem::new("timeout", self.timeout, "more than 0s")),
            false => Ok(()),
        }
    }
}
