//! How a source's server is reached: whom it is trusted by, and by whose authority it is asked.

use std::path::PathBuf;

use serde::Deserialize;
use tidegate_config::Problem;

use super::SourceRule;
use crate::{AwsEndpoint, quoted};

/// Headers that the call itself sets, or that have a key of their own.
const OWN_HEADERS: [&str; 5] = [
    "authorization",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
];

/// Name and password. The password is in a file, which is read anew for each call.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicRule {
    pub user: String,
    pub password_file: PathBuf,
}

/// Calls are signed by AWS' Signature Version 4, with the credentials that the SDK finds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignRule {
    /// What the environment, the profile or the instance says when absent.
    #[serde(default)]
    pub region: Option<String>,
    /// The service's name within AWS; by default that of Amazon Managed Service for Prometheus.
    #[serde(default = "default_service")]
    pub service: String,
}

fn default_service() -> String {
    "aps".to_owned()
}

impl SignRule {
    pub fn endpoint(&self) -> AwsEndpoint {
        AwsEndpoint {
            region: self.region.clone(),
            endpoint_url: None,
        }
    }
}

impl SourceRule {
    pub(super) fn check_access(&self) -> Result<(), Problem> {
        let is_plain = self
            .url
            .as_deref()
            .is_some_and(|url| url.starts_with("http://"));
        if let (Some(file), true) = (&self.ca_file, is_plain) {
            let expected = "nothing: the url begins with http://, so there is no certificate";
            return Err(Problem::new("ca_file", quoted(file.display()), expected));
        }
        let ways = [
            self.bearer_file.is_some(),
            self.basic.is_some(),
            self.sigv4.is_some(),
        ];
        if ways.iter().filter(|is_given| **is_given).count() > 1 {
            let expected = "at most one of bearer_file, basic and sigv4";
            return Err(Problem::new("bearer_file", "several of them", expected));
        }
        if let Some(rule) = &self.sigv4 {
            let checked = rule.endpoint().check();
            checked.map_err(|problem| problem.within("sigv4"))?;
        }
        self.headers
            .iter()
            .try_for_each(|(name, value)| check_header(name, value))
            .map_err(|problem| problem.within("headers"))
    }
}

fn check_header(name: &str, value: &str) -> Result<(), Problem> {
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(of_name) {
        return Err(Problem::new(name, quoted(name), "a header's name"));
    }
    if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
        let expected = "another header: a token is in bearer_file, a password in basic";
        return Err(Problem::new(name, quoted(name), expected));
    }
    match value.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        true => Ok(()),
        false => Err(Problem::new(name, "its value", "printable ASCII")),
    }
}
