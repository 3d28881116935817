//! `[scaler]`: the scaler's own port and memory.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;
use tidegate_config::Problem;

/// Where the scaler answers for its health unless told otherwise.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9091);

pub const DEFAULT_LEDGER: &str = "/var/lib/tidegate/ledger.jsonl";

/// Each that is put aside renames all the others.
const MOST_LEDGERS: u32 = 100;

/// `[scaler]`: the scaler's own port and memory.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScalerRules {
    /// `/healthz` and `/metrics`.
    pub listen: SocketAddr,
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
        Ok(())
    }
}
