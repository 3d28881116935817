//! `[lease]`: which of several scalers acts.

use std::path::PathBuf;

use serde::Deserialize;
use tidegate_config::{Duration, Problem};

use super::AwsEndpoint;
use super::quoted;

/// Each call of the scaler must fit in, with what it may take.
const SHORTEST_DURATION: Duration = Duration::from_secs(5);
/// After a crash nobody acts for as long.
const LONGEST_DURATION: Duration = Duration::from_secs(120);

/// Renewals within a duration: all but one of them may fail.
const RENEWALS: u32 = 5;

/// `[lease]`: which of several scalers acts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseRules {
    pub kind: LeaseKind,
    /// For `kind = "file"`: the file that is locked.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// For `kind = "dynamodb"`: the table. Its partition key is a string named `lease`, and it has
    /// no sort key.
    #[serde(default)]
    pub table: Option<String>,
    /// The item of this fleet's lease.
    #[serde(default)]
    pub key: Option<String>,
    /// What the environment, the profile or the instance says when absent.
    #[serde(default)]
    pub region: Option<String>,
    /// Another address than AWS's own, such as an emulator's.
    #[serde(default)]
    pub endpoint_url: Option<String>,
    /// A holder that was not heard of for this long has lost it.
    #[serde(default = "default_duration")]
    pub duration: Duration,
    /// For one call to the table.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaseKind {
    /// A lock on a file, for scalers on one machine.
    File,
    /// An item of a DynamoDB table.
    DynamoDb,
}

fn default_duration() -> Duration {
    Duration::from_secs(10)
}

fn default_timeout() -> Duration {
    Duration::from_millis(800)
}

impl LeaseRules {
    pub(crate) fn check(&self) -> Result<(), Problem> {
        let is_file = self.kind == LeaseKind::File;
        let kind = if is_file { "file" } else { "dynamodb" };
        let path = self.path.as_ref().map(|path| path.display().to_string());
        for (key, value, wanted) in [
            ("path", &path, is_file),
            ("table", &self.table, !is_file),
            ("key", &self.key, !is_file),
        ] {
            match value.as_deref().filter(|value| !value.is_empty()) {
                None if wanted => {
                    let expected = format!("a value, as lease.kind is \"{kind}\"");
                    return Err(Problem::new(key, "nothing", expected));
                }
                Some(value) if !wanted => {
                    let expected = format!("nothing, as lease.kind is \"{kind}\"");
                    return Err(Problem::new(key, quoted(value), expected));
                }
                _ => {}
            }
        }
        self.check_times()?;
        self.endpoint().check()
    }

    fn check_times(&self) -> Result<(), Problem> {
        if !(SHORTEST_DURATION..=LONGEST_DURATION).contains(&self.duration) {
            let expected = format!("\"{SHORTEST_DURATION}\" to \"{LONGEST_DURATION}\"");
            return Err(Problem::new("duration", quoted(self.duration), expected));
        }
        let most = Duration::from(self.every());
        if self.timeout.is_zero() || self.timeout > most {
            let expected = format!("more than 0, at most a fifth of duration (\"{most}\")");
            return Err(Problem::new("timeout", quoted(self.timeout), expected));
        }
        Ok(())
    }

    pub fn endpoint(&self) -> AwsEndpoint {
        AwsEndpoint {
            region: self.region.clone(),
            endpoint_url: self.endpoint_url.clone(),
        }
    }

    /// Between two renewals.
    pub fn every(&self) -> std::time::Duration {
        *self.duration / RENEWALS
    }
}
