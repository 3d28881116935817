//! Where requests for files, batches and SageMaker's endpoints go.

use std::fmt;

use http::Uri;
use serde::Deserialize;
use tidegate_config::Duration;

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchRules {
    /// The batch service; without it there are no such paths.
    pub url: Option<BatchUrl>,
    /// Longest time in which neither the client nor the service sends or takes anything.
    pub timeout: Duration,
}

/// `http://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct BatchUrl {
    pub host: String,
    pub port: u16,
}

impl Default for BatchRules {
    fn default() -> Self {
        BatchRules {
            url: None,
            timeout: Duration::from_secs(120),
        }
    }
}

impl TryFrom<String> for BatchUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let uri: Option<Uri> = text.parse().ok();
        let is_base = |uri: &Uri| {
            uri.scheme_str() == Some("http") && uri.path() == "/" && uri.query().is_none()
        };
        let url = uri.filter(is_base).and_then(|uri| {
            let host = uri.host()?.trim_matches(['[', ']']).to_owned();
            Some(BatchUrl {
                host,
                port: uri.port_u16().unwrap_or(80),
            })
        });
        url.ok_or_else(|| "expected a base URL such as \"http://127.0.0.1:8081\"".to_owned())
    }
}

impl std::str::FromStr for BatchUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        BatchUrl::try_from(text.to_owned())
    }
}

impl fmt::Display for BatchUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_a_host_and_a_port() {
        for (text, host, port) in [
            ("http://127.0.0.1:8081", "127.0.0.1", 8081),
            ("http://batch/", "batch", 80),
            ("http://[::1]:8081", "::1", 8081),
        ] {
            let url: BatchUrl = text.parse().expect(text);
            assert_eq!((url.host.as_str(), url.port), (host, port));
        }
        for wrong in [
            "",
            "batch:8081",
            "https://batch",
            "http://batch/v1",
            "http://batch/?a=b",
        ] {
            assert!(wrong.parse::<BatchUrl>().is_err(), "{wrong}");
        }
    }
}
