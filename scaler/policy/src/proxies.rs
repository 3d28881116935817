//! `[proxies]`: where signals come from and drain orders go to.

use std::path::PathBuf;

use serde::Deserialize;
use tidegate_config::{Duration, Problem};

use super::quoted;

/// A tick takes as long as two calls to the slowest proxy.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(5);

/// `[proxies]`: where signals come from and drain orders go to.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProxyRules {
    /// Base URLs of their admin ports.
    pub admin: Vec<String>,
    /// File with the `operator` token.
    pub token_file: Option<PathBuf>,
    /// For one call to one proxy.
    pub timeout: Duration,
    /// What a proxy said counts for this long, unless it says something newer.
    pub stale_after: Duration,
}

impl Default for ProxyRules {
    fn default() -> Self {
        ProxyRules {
            admin: Vec::new(),
            token_file: None,
            timeout: Duration::from_millis(800),
            stale_after: Duration::from_secs(5),
        }
    }
}

impl ProxyRules {
    pub(crate) fn check(&self) -> Result<(), Problem> {
        for (key, duration) in [("timeout", self.timeout), ("stale_after", self.stale_after)] {
            if duration.is_zero() {
                return Err(Problem::new(key, "\"0s\"", "more than 0"));
            }
        }
        if self.timeout > LONGEST_TIMEOUT {
            let expected = format!("at most \"{LONGEST_TIMEOUT}\"");
            return Err(Problem::new("timeout", quoted(self.timeout), expected));
        }
        check_urls(&self.admin)
    }
}

fn check_urls(urls: &[String]) -> Result<(), Problem> {
    for (index, url) in urls.iter().enumerate() {
        let host = url.strip_prefix("http://").unwrap_or_default();
        if host.is_empty() || host.contains(['/', '?', '#', ' ', '@']) {
            let expected = "a base URL such as \"http://10.0.0.5:9090\"";
            return Err(Problem::new("admin", quoted(url), expected));
        }
        if urls[..index].contains(url) {
            let found = format!("{} again", quoted(url));
            return Err(Problem::new("admin", found, "each proxy once"));
        }
    }
    Ok(())
}
