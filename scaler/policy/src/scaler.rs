//! `[scaler]`: the scaler's own port and memory.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;
use tidegate_config::Problem;

use super::quoted;

/// Where the scaler answers for its health unless told otherwise.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9091);

pub const DEFAULT_LEDGER: &str = "/var/lib/tidegate/ledger.jsonl";

/// Each that is put aside renames all the others.
const MOST_LEDGERS: u32 = 100;

/// `[scaler]`: the scaler's own port and memory.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScalerRules {
    /// `/healthz`, `/metrics` and the status page.
    pub listen: SocketAddr,
    /// Base URL at which clients reach the proxies, for the requests that people send from the
    /// status page. None are sent when absent; `up` knows it.
    pub clients: Option<String>,
    /// Base URL of the batch service, for the batches on the status page. None are shown when absent;
    /// `up` knows it.
    pub batch: Option<String>,
    /// One JSON line a tick; a restarted scaler goes on from it. [`DEFAULT_LEDGER`] when absent;
    /// `up` then keeps it only while it runs.
    pub ledger: Option<PathBuf>,
    /// A ledger that is larger is put aside and a new one begun.
    pub ledger_bytes: u64,
    /// How many that were put aside are kept.
    pub ledgers_kept: u32,
}

impl Default for ScalerRules {
    fn default() -> Self {
        ScalerRules {
            listen: DEFAULT_LISTEN,
            clients: None,
            batch: None,
            ledger: None,
            ledger_bytes: 64 << 20,
            ledgers_kept: 4,
        }
    }
}

impl ScalerRules {
    pub(crate) fn check(&self) -> Result<(), Problem> {
        if self.ledgers_kept > MOST_LEDGERS {
            let expected = format!("at most {MOST_LEDGERS}");
            return Err(Problem::new("ledgers_kept", self.ledgers_kept, expected));
        }
        if self.ledger_bytes < 1 << 20 {
            let expected = "1048576 or more";
            return Err(Problem::new("ledger_bytes", self.ledger_bytes, expected));
        }
        let urls = [
            ("clients", &self.clients, "http://10.0.0.5:8080"),
            ("batch", &self.batch, "http://10.0.0.5:8081"),
        ];
        for (key, url, example) in urls {
            if let Some(url) = url.as_deref().filter(|url| !is_base_url(url)) {
                let expected = format!("a base URL such as \"{example}\"");
                return Err(Problem::new(key, quoted(url), expected));
            }
        }
        Ok(())
    }
}

fn is_base_url(url: &str) -> bool {
    let host = (url.strip_prefix("http://")).or_else(|| url.strip_prefix("https://"));
    host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', ' ', '@']))
}
