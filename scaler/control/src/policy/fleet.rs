//! `[fleet]`: where workers run and how many there may be.

use serde::Deserialize;
use tidegate_config::{Duration, Problem};

use super::{check_at_least_a_second, quoted};

/// What a tick, a proxy's signal and a line of the ledger are sized for.
const MOST_WORKERS: u32 = 10_000;

/// `[fleet]`: where workers run and how many there may be.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FleetRules {
    pub kind: FleetKind,
    /// The model that it serves. Of a proxy with several, only this one's queue and workers count;
    /// without it, all.
    #[serde(default)]
    pub model: Option<String>,
    pub min: u32,
    pub max: u32,
    /// From launch to ready for 99 of 100 workers. One that takes longer is replaced.
    #[serde(default = "default_lead_time")]
    pub lead_time: Duration,
    /// A worker that was ready and has not been heard from for this long is replaced.
    #[serde(default = "default_silence")]
    pub silence: Duration,
    /// Most workers that fall silent together are not replaced, as it may be their heartbeats that
    /// are lost; when none of them answers a request either for this long, they are.
    #[serde(default = "default_mass_silence")]
    pub mass_silence: Duration,
    /// How long a worker may take to finish before it is taken back instead of removed.
    #[serde(default = "default_drain_limit")]
    pub drain_limit: Duration,
}

fn default_lead_time() -> Duration {
    Duration::from_secs(60)
}

fn default_silence() -> Duration {
    Duration::from_secs(30)
}

fn default_mass_silence() -> Duration {
    Duration::from_secs(300)
}

fn default_drain_limit() -> Duration {
    Duration::from_secs(120)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FleetKind {
    /// Processes on this machine.
    Process,
    /// Containers of the engine on this machine.
    Container,
    /// Instances of an EC2 Auto Scaling Group.
    Asg,
}

/// How many workers there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub min: u32,
    pub max: u32,
}

impl Bounds {
    /// What both allow; where they exclude each other, `self.max` wins.
    pub fn intersect(self, other: Bounds) -> Bounds {
        let max = self.max.min(other.max);
        let min = self.min.max(other.min).min(max);
        Bounds { min, max }
    }

    pub fn clamp(self, workers: u32) -> u32 {
        workers.min(self.max).max(self.min)
    }
}

impl FleetRules {
    pub fn bounds(&self) -> Bounds {
        let (min, max) = (self.min, self.max);
        Bounds { min, max }
    }

    pub fn check(&self) -> Result<(), Problem> {
        if self.max == 0 {
            return Err(Problem::new("max", 0, "1 or more"));
        }
        if self.max > MOST_WORKERS {
            let expected = format!("at most {MOST_WORKERS}");
            return Err(Problem::new("max", self.max, expected));
        }
        if self.min > self.max {
            let expected = format!("at most fleet.max, which is {}", self.max);
            return Err(Problem::new("min", self.min, expected));
        }
        for (key, duration) in [
            ("lead_time", self.lead_time),
            ("silence", self.silence),
            ("mass_silence", self.mass_silence),
            ("drain_limit", self.drain_limit),
        ] {
            check_at_least_a_second(key, duration)?;
        }
        if self.mass_silence < self.silence {
            let expected = format!("at least fleet.silence, which is {}", self.silence);
            let found = quoted(self.mass_silence);
            return Err(Problem::new("mass_silence", found, expected));
        }
        Ok(())
    }
}
