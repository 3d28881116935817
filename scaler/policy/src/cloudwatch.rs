//! `[cloudwatch]`: what is published for people and alarms, where and how often.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use tidegate_config::{Duration, Problem};

use super::{AwsEndpoint, quoted};

/// Dimensions that the published metrics have of their own.
pub const OWN_DIMENSIONS: [&str; 3] = ["State", "Change", "Outcome"];

/// CloudWatch takes 30 dimensions; one is ours, and one is the name of one fleet of several.
const MOST_DIMENSIONS: usize = 28;

const LONGEST_INTERVAL: Duration = Duration::from_secs(300);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
const LARGEST_BACKLOG: usize = 1440;

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CloudWatchRules {
    pub namespace: String,
    /// On every metric, such as `{ Fleet = "encoders" }`: without them two fleets are one.
    pub dimensions: BTreeMap<String, String>,
    /// What happened in this time is one datum of each metric.
    pub interval: Duration,
    /// Kept by the second rather than by the minute, and dearer to read.
    pub high_resolution: bool,
    /// For one call, its second try included.
    pub timeout: Duration,
    /// Intervals that are kept while CloudWatch takes none; the oldest are dropped.
    pub backlog: usize,
    /// Time for what is left when the scaler ends.
    pub flush_limit: Duration,
    /// `stdout` or a file: one line of JSON in the Embedded Metric Format instead of calls.
    pub emf: Option<EmfTarget>,
    pub region: Option<String>,
    pub endpoint_url: Option<String>,
}

/// Where lines in the Embedded Metric Format go.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum EmfTarget {
    Stdout,
    File(PathBuf),
}

impl From<String> for EmfTarget {
    fn from(text: String) -> EmfTarget {
        match text.as_str() {
            "stdout" => EmfTarget::Stdout,
            _ => EmfTarget::File(PathBuf::from(text)),
        }
    }
}

impl Default for CloudWatchRules {
    fn default() -> Self {
        CloudWatchRules {
            namespace: "Tidegate".to_owned(),
            dimensions: BTreeMap::new(),
            interval: Duration::from_secs(60),
            high_resolution: false,
            timeout: Duration::from_secs(5),
            backlog: 60,
            flush_limit: Duration::from_secs(5),
            emf: None,
            region: None,
            endpoint_url: None,
        }
    }
}

impl CloudWatchRules {
    pub fn endpoint(&self) -> AwsEndpoint {
        AwsEndpoint {
            region: self.region.clone(),
            endpoint_url: self.endpoint_url.clone(),
        }
    }

    pub fn check(&self) -> Result<(), Problem> {
        if !is_namespace(&self.namespace) {
            let expected = "1 to 255 letters, digits and .-_/#: that do not begin with \"AWS/\"";
            return Err(Problem::new("namespace", quoted(&self.namespace), expected));
        }
        self.check_dimensions()?;
        for (key, duration, least, most) in [
            (
                "interval",
                self.interval,
                Duration::from_secs(1),
                LONGEST_INTERVAL,
            ),
            (
                "timeout",
                self.timeout,
                Duration::from_millis(100),
                LONGEST_TIMEOUT,
            ),
            (
                "flush_limit",
                self.flush_limit,
                Duration::default(),
                LONGEST_TIMEOUT,
            ),
        ] {
            if !(least..=most).contains(&duration) {
                let found = quoted(duration.to_string());
                return Err(Problem::new(key, found, format!("{least} to {most}")));
            }
        }
        if !(1..=LARGEST_BACKLOG).contains(&self.backlog) {
            let expected = format!("1 to {LARGEST_BACKLOG}");
            return Err(Problem::new("backlog", self.backlog, expected));
        }
        match &self.emf {
            Some(EmfTarget::File(file)) if !file.is_absolute() => {
                let found = quoted(file.display().to_string());
                Err(Problem::new(
                    "emf",
                    found,
                    "\"stdout\" or the absolute path of a file",
                ))
            }
            _ => self.endpoint().check(),
        }
    }

    fn check_dimensions(&self) -> Result<(), Problem> {
        if self.dimensions.len() > MOST_DIMENSIONS {
            let found = format!("{} of them", self.dimensions.len());
            let expected = format!("at most {MOST_DIMENSIONS}");
            return Err(Problem::new("dimensions", found, expected));
        }
        for (name, value) in &self.dimensions {
            let key = "dimensions";
            if OWN_DIMENSIONS.contains(&name.as_str()) {
                let expected = format!("a name other than {}", OWN_DIMENSIONS.join(", "));
                return Err(Problem::new(key, format!("\"{name}\""), expected));
            }
            if !is_plain(name, 255) || name.starts_with(':') || !is_plain(value, 1024) {
                let expected = "names and values in printable ASCII, no name begins with \":\"";
                let found = format!("\"{name}\" = \"{value}\"");
                return Err(Problem::new(key, found, expected));
            }
        }
        Ok(())
    }
}

fn is_namespace(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_/#:".contains(&byte);
    let own = !text.starts_with("AWS/") && !text.starts_with(':');
    own && (1..=255).contains(&text.len()) && text.bytes().all(allowed)
}

fn is_plain(text: &str, most: usize) -> bool {
    let printable = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    !text.trim().is_empty() && text.len() <= most && text.bytes().all(printable)
}
