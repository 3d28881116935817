//! `[metadata]`: the instance metadata service of EC2: the instance's id, and notices of its end.

use std::ops::RangeInclusive;

use serde::Deserialize;
use thiserror::Error;
use tidegate_config::{Check, Duration, Problem};

use tidegate_agent::is_http_base;

/// An instance has two minutes from its notice, and its metadata are asked by others too.
const METADATA_SPANS: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(60);

/// What an EC2 instance says of itself, and of its end.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetadataConfig {
    /// Base of the instance metadata service; absent, it is not asked.
    pub url: Option<MetadataUrl>,
    /// How often it is asked whether the instance is to end.
    pub interval: Duration,
    /// For one call.
    pub timeout: Duration,
    /// Time to finish what was accepted once the instance is to end.
    pub deadline: Duration,
    /// What a rebalance recommendation leads to.
    pub on_rebalance: OnRebalance,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnRebalance {
    /// It is said in the log and in the metrics.
    Tell,
    /// The worker drains and leaves.
    Drain,
}

impl Default for MetadataConfig {
    fn default() -> Self {
        MetadataConfig {
            url: None,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            deadline: Duration::from_secs(110),
            on_rebalance: OnRebalance::Tell,
        }
    }
}

impl Check for MetadataConfig {
    fn check(&self) -> Result<(), Problem> {
        for (key, duration) in [("interval", self.interval), ("timeout", self.timeout)] {
            if !METADATA_SPANS.contains(&duration) {
                let (least, most) = (METADATA_SPANS.start(), METADATA_SPANS.end());
                return Err(Problem::new(key, duration, format!("{least} to {most}")));
            }
        }
        Ok(())
    }
}

/// `http://HOST` or `http://HOST:PORT`, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct MetadataUrl(String);

#[derive(Debug, Error)]
#[error("\"{found}\" is not the address of a metadata service; expected http://169.254.169.254")]
pub struct MetadataUrlError {
    found: String,
}

impl MetadataUrl {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for MetadataUrl {
    type Error = MetadataUrlError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let base = text.trim_end_matches('/');
        match is_http_base(base) {
            true => Ok(MetadataUrl(base.to_owned())),
            false => Err(MetadataUrlError { found: text }),
        }
    }
}
