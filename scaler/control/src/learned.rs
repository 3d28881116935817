//! What the law has learned, as a value with a version: service times, what growth has cost, how long
//! launches take. Kept beside the ledger, it outlives a restart.

use serde::{Deserialize, Serialize};

use crate::staffing::Traffic;

/// Of the numbers' meaning; another one is not understood.
const VERSION: u32 = 1;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Learned {
    version: u32,
    /// Seconds from launch to ready of the last launches; nothing for those that never were.
    launches_s: Vec<Option<f64>>,
    /// With `[forecast]`.
    traffic: Option<Traffic>,
}

/// Why what an earlier run has learned is of no use.
#[derive(Debug, thiserror::Error)]
pub enum BadLearned {
    #[error("found version {found}, expected {VERSION}")]
    Version { found: u32 },
    #[error("{0}")]
    Damaged(#[from] serde_json::Error),
}

/// What every version has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Learned {
    pub(crate) fn new(launches_s: Vec<Option<f64>>, traffic: Option<Traffic>) -> Learned {
        Learned {
            version: VERSION,
            launches_s,
            traffic,
        }
    }

    /// # Errors
    /// When the text is of another version, or damaged.
    pub fn parse(text: &str) -> Result<Learned, BadLearned> {
        let Versioned { version: found } = serde_json::from_str(text)?;
        match found {
            VERSION => Ok(serde_json::from_str(text)?),
            _ => Err(BadLearned::Version { found }),
        }
    }

    pub(crate) fn into_parts(self) -> (Vec<Option<f64>>, Option<Traffic>) {
        (self.launches_s, self.traffic)
    }
}
