//! The retry budget: retries, and second attempts beside late ones, are limited to a share of the
//! traffic, so that they cannot multiply an outage.

use std::time::Duration;

/// How many tries may be moved to another worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryConfig {
    /// Retries earned by each arrival.
    pub ratio: f64,
    /// Most retries that can be saved up, and the number to begin with; should cover the slots
    /// of one worker, which all fail together when it dies.
    pub burst: u32,
    /// A try that has not answered for this long, and for longer than nearly all before it, gets
    /// another beside it; `None`: never.
    pub hedge_after: Option<Duration>,
}

impl Default for RetryConfig {
    fn default() -> Self {
        RetryConfig {
            ratio: 0.2,
            burst: 128,
            hedge_after: None,
        }
    }
}

/// A token bucket that fills by arrivals, not by time.
#[derive(Clone, Debug)]
pub(crate) struct RetryBudget {
    config: RetryConfig,
    saved: f64,
}

impl RetryBudget {
    pub(crate) fn new(config: RetryConfig) -> Self {
        RetryBudget {
            config,
            saved: f64::from(config.burst),
        }
    }

    pub(crate) fn earn(&mut self) {
        self.saved = (self.saved + self.config.ratio).min(f64::from(self.config.burst));
    }

    /// Takes one retry if one is left.
    pub(crate) fn spend(&mut self) -> bool {
        let affordable = self.saved >= 1.0;
        if affordable {
            self.saved -= 1.0;
        }
        affordable
    }
}
