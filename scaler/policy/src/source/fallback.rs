//! `fallback`: what counts as a source's value when it has not been known for a while.

use serde::Deserialize;
use tidegate_config::{Duration, Problem};

use crate::quoted;

/// A value that counts once the source's own is not fresh any more, and it has failed so often or
/// for so long; whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FallbackRule {
    pub value: f64,
    /// Calls that failed in a row.
    #[serde(default)]
    pub failures: Option<u32>,
    /// Since the last value, or since the start.
    #[serde(default)]
    pub after: Option<Duration>,
}

impl FallbackRule {
    pub(super) fn check(&self) -> Result<(), Problem> {
        if self.value < 0.0 {
            return Err(Problem::new("value", self.value, "0 or more"));
        }
        if self.failures == Some(0) {
            return Err(Problem::new("failures", 0, "1 or more"));
        }
        if let Some(after) = self.after.filter(|after| after.is_zero()) {
            return Err(Problem::new("after", quoted(after), "more than 0"));
        }
        match (self.failures, self.after) {
            (None, None) => {
                let expected = "failures, after, or both: when the value counts";
                Err(Problem::new("failures", "neither", expected))
            }
            _ => Ok(()),
        }
    }
}
