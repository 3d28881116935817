//! `[process]`: workers as processes on this machine.

use std::path::PathBuf;

use serde::Deserialize;
use tidegate_config::{Duration, Problem};

use super::model_name;

/// `[process]`: workers as processes on this machine.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessRules {
    /// What `tidegate-worker serve --model` takes.
    pub model: String,
    /// The model id that clients name; the directory's or file's stem when absent.
    #[serde(default)]
    pub name: Option<String>,
    /// The worker's binary; beside the scaler's own when absent.
    #[serde(default)]
    pub binary: Option<PathBuf>,
    /// The worker's config file.
    #[serde(default)]
    pub config: Option<PathBuf>,
    /// File with the `worker` token; `up` makes its own.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// Threads of each worker; an equal share of the cores when absent.
    #[serde(default)]
    pub threads: Option<u32>,
    /// Allow more workers than there are cores. They then share what there is.
    #[serde(default)]
    pub oversubscribe: bool,
    /// How long a worker that was told to stop may take before it is killed.
    #[serde(default = "default_stop_limit")]
    pub stop_limit: Duration,
    /// Directory for one log a worker, removed when the worker ended well or five others failed
    /// after it; the scaler's own standard error when absent.
    #[serde(default)]
    pub logs: Option<PathBuf>,
}

/// Longer than a worker's own deadline, which is 30 s by default: it shall end by itself.
fn default_stop_limit() -> Duration {
    Duration::from_secs(40)
}

impl ProcessRules {
    /// The model id that clients name.
    pub fn model_name(&self) -> String {
        model_name(&self.model, self.name.as_deref())
    }

    pub(crate) fn check(&self) -> Result<(), Problem> {
        match self.threads {
            Some(0) => Err(Problem::new("threads", 0, "1 or more")),
            _ => Ok(()),
        }
    }
}
