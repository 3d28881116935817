//! `[process]`: workers as processes on this machine.

use std::path::PathBuf;

use serde::Deserialize;
use tidegate_config::{Duration, Problem};

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
        let stem = || {
            let path = self.model.trim_end_matches('/');
            let last = path.rsplit('/').next().unwrap_or(path);
            let without = |end: char| last.split(end).next().unwrap_or(last);
            let name = match path.split_once("://") {
                Some(("hf", _)) => without('@'),
                Some(("s3", _)) => {
                    let file = without('#');
                    file.rsplit_once('.').map_or(file, |(stem, _)| stem)
                }
                _ => last,
            };
            name.to_owned()
        };
        self.name.clone().unwrap_or_else(stem)
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        match self.threads {
            Some(0) => Err(Problem::new("threads", 0, "1 or more")),
            _ => Ok(()),
        }
    }
}
