//! `[asg]`: which Auto Scaling Group is the fleet, and how it is asked.

use serde::Deserialize;
use tidegate_config::{Duration, Problem};

use super::{AwsEndpoint, quoted};

/// A tick waits for a call as long as this.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(5);

/// All of an account's callers share one bucket.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(2);
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);

/// What AWS allows.
const LONGEST_NAME: usize = 255;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AsgRules {
    /// Name of the group.
    pub group: String,
    /// What the environment, the profile or the instance says when absent.
    #[serde(default)]
    pub region: Option<String>,
    /// Another address than AWS's own, such as an emulator's.
    #[serde(default)]
    pub endpoint_url: Option<String>,
    /// For one call. A tick waits for it, so it is shorter than a tick.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
    /// How often the group is looked at.
    #[serde(default = "default_interval")]
    pub describe_every: Duration,
    /// Launch hook that is completed when the model answers.
    #[serde(default)]
    pub launch_hook: Option<String>,
    /// Termination hook that is completed when the worker has drained.
    #[serde(default)]
    pub terminate_hook: Option<String>,
}

fn default_timeout() -> Duration {
    Duration::from_millis(800)
}

fn default_interval() -> Duration {
    Duration::from_secs(10)
}

impl AsgRules {
    pub fn endpoint(&self) -> AwsEndpoint {
        AwsEndpoint {
            region: self.region.clone(),
            endpoint_url: self.endpoint_url.clone(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), Problem> {
        check_name("group", &self.group)?;
        for (key, hook) in [
            ("launch_hook", &self.launch_hook),
            ("terminate_hook", &self.terminate_hook),
        ] {
            hook.as_deref()
                .map_or(Ok(()), |name| check_name(key, name))?;
        }
        if self.launch_hook.is_some() && self.launch_hook == self.terminate_hook {
            let found = quoted(self.terminate_hook.as_deref().unwrap_or_default());
            let expected = "another hook than launch_hook";
            return Err(Problem::new("terminate_hook", found, expected));
        }
        self.endpoint().check()?;
        if self.timeout.is_zero() || self.timeout > LONGEST_TIMEOUT {
            let expected = format!("more than 0 and at most \"{LONGEST_TIMEOUT}\"");
            let found = quoted(self.timeout.to_string());
            return Err(Problem::new("timeout", found, expected));
        }
        if self.describe_every < SHORTEST_INTERVAL || self.describe_every > LONGEST_INTERVAL {
            let expected = format!("\"{SHORTEST_INTERVAL}\" to \"{LONGEST_INTERVAL}\"");
            let found = quoted(self.describe_every.to_string());
            return Err(Problem::new("describe_every", found, expected));
        }
        Ok(())
    }
}

fn check_name(key: &str, name: &str) -> Result<(), Problem> {
    let fits = !name.is_empty() && name.len() <= LONGEST_NAME;
    match fits && !name.contains(char::is_control) {
        true => Ok(()),
        false => {
            let expected = format!("a name of 1 to {LONGEST_NAME} characters");
            Err(Problem::new(key, format!("\"{name}\""), expected))
        }
    }
}
