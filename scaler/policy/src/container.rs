//! `[container]`: workers as containers of the engine on this machine.
//!
//! All paths but `socket` and the mounts' `from` are as the worker sees them in its container.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use tidegate_config::{Duration, Problem};

use super::quoted;

/// Below this no worker starts.
const LEAST_MEMORY_BYTES: u64 = 32 << 20;

/// A tick waits for the engine.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(30);

/// `[container]`: workers as containers of the engine on this machine.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerRules {
    /// The worker's image; the engine must have it.
    pub image: String,
    /// The network on which workers and proxies reach each other.
    pub network: String,
    /// What `tidegate-worker serve --model` takes.
    pub model: String,
    /// The model id that clients name; the directory's or file's stem when absent.
    #[serde(default)]
    pub name: Option<String>,
    /// File with the `worker` token.
    pub token_file: PathBuf,
    /// The worker's config file.
    #[serde(default)]
    pub config: Option<PathBuf>,
    /// What the workers can read besides their image.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Containers are named `PREFIX-N`, and labelled `tidegate.fleet=PREFIX`: two fleets at one
    /// engine need two prefixes.
    #[serde(default = "default_name_prefix")]
    pub name_prefix: String,
    /// Labels besides that one.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Processors that each worker may use; its threads follow from it. No limit when absent.
    #[serde(default)]
    pub cpus: Option<f64>,
    /// Memory that each worker may use. No limit when absent.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// `USER:GROUP`, as numbers; the image's own when absent.
    #[serde(default)]
    pub user: Option<String>,
    /// How the engine keeps logs. `local` bounds them; the engine's own default may not.
    #[serde(default = "default_log_driver")]
    pub log_driver: String,
    /// How long a worker that was told to stop may take before it is killed.
    #[serde(default = "default_stop_limit")]
    pub stop_limit: Duration,
    /// Where the engine listens.
    #[serde(default = "default_socket")]
    pub socket: PathBuf,
    /// For all that is asked of the engine at once: a census, or one growth.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
}

/// What of the engine's machine a worker can read. It is never written.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// A path of the engine's machine, or the name of a volume.
    pub from: String,
    pub to: PathBuf,
}

fn default_name_prefix() -> String {
    "tidegate-worker".to_owned()
}

fn default_log_driver() -> String {
    "local".to_owned()
}

/// Longer than a worker's own deadline, which is 30 s by default: it shall end by itself.
fn default_stop_limit() -> Duration {
    Duration::from_secs(40)
}

fn default_socket() -> PathBuf {
    PathBuf::from("/var/run/docker.sock")
}

fn default_timeout() -> Duration {
    Duration::from_secs(5)
}

impl ContainerRules {
    pub(crate) fn check(&self) -> Result<(), Problem> {
        self.check_names()?;
        self.check_limits()?;
        for (index, mount) in self.mounts.iter().enumerate() {
            let checked = mount.check();
            checked.map_err(|problem| problem.within_item("mounts", index))?;
        }
        Ok(())
    }

    fn check_limits(&self) -> Result<(), Problem> {
        if let Some(cpus) = self.cpus.filter(|cpus| !(*cpus >= 0.01 && *cpus <= 1e4)) {
            return Err(Problem::new("cpus", cpus, "0.01 or more"));
        }
        if let Some(bytes) = self.memory_bytes.filter(|b| *b < LEAST_MEMORY_BYTES) {
            let expected = format!("{LEAST_MEMORY_BYTES} or more");
            return Err(Problem::new("memory_bytes", bytes, expected));
        }
        for (key, duration) in [("stop_limit", self.stop_limit), ("timeout", self.timeout)] {
            if duration.is_zero() {
                return Err(Problem::new(key, "\"0s\"", "more than 0"));
            }
        }
        if self.timeout > LONGEST_TIMEOUT {
            let expected = format!("at most \"{LONGEST_TIMEOUT}\"");
            return Err(Problem::new("timeout", quoted(self.timeout), expected));
        }
        Ok(())
    }

    /// The engine would refuse them with fewer words, and only when the first worker is launched.
    fn check_names(&self) -> Result<(), Problem> {
        for (key, text) in [
            ("image", &self.image),
            ("network", &self.network),
            ("model", &self.model),
            ("log_driver", &self.log_driver),
        ] {
            if text.is_empty() {
                return Err(Problem::new(key, "\"\"", "a name"));
            }
        }
        if !is_name(&self.name_prefix) {
            let expected = "a letter or digit, then letters, digits, \"_\", \".\" and \"-\"";
            return Err(Problem::new(
                "name_prefix",
                quoted(&self.name_prefix),
                expected,
            ));
        }
        if !self.token_file.is_absolute() {
            let found = quoted(self.token_file.display());
            let expected = "a path in the worker's container, from \"/\" on";
            return Err(Problem::new("token_file", found, expected));
        }
        Ok(())
    }
}

impl Mount {
    fn check(&self) -> Result<(), Problem> {
        if !self.from.starts_with('/') && !is_name(&self.from) {
            let expected = "a path from \"/\" on, or the name of a volume";
            return Err(Problem::new("from", quoted(&self.from), expected));
        }
        if !self.to.is_absolute() {
            let found = quoted(self.to.display());
            return Err(Problem::new("to", found, "a path from \"/\" on"));
        }
        Ok(())
    }
}

/// As engines take names.
fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|c| c.is_ascii_alphanumeric())
        && characters.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}
