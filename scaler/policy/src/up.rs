//! `[up]`: the proxy that `tidegate-scaler up` runs.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

/// `[up]`: the proxy that `tidegate-scaler up` runs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpRules {
    /// Where clients are served.
    pub listen: SocketAddr,
    /// The proxy's admin port.
    pub admin: SocketAddr,
    /// The proxy's config file.
    pub proxy_config: PathBuf,
    /// The proxy's binary; beside the scaler's own when absent.
    #[serde(default)]
    pub proxy_binary: Option<PathBuf>,
    /// The batch service beside it; none when absent.
    #[serde(default)]
    pub batch: Option<BatchServiceRules>,
}

/// The batch service of `up`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct BatchServiceRules {
    /// Where it serves; the proxy passes requests on to it.
    pub listen: SocketAddr,
    /// Its config file.
    pub config: PathBuf,
    /// Directory of its files and batches, which stays.
    pub store: PathBuf,
    /// Its binary; beside the scaler's own when absent.
    #[serde(default)]
    pub binary: Option<PathBuf>,
}
