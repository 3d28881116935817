//! Instances of an Auto Scaling group that are in service and still warm up.

use std::collections::VecDeque;
use std::time::Duration;

use tidegate_queue::Moment;

/// The group's default cooldown, which stands in for a warm-up that nobody set.
pub(super) const DEFAULT: Duration = Duration::from_secs(300);

/// Sees instances come into service, and says how many of them are warm.
#[derive(Clone, Debug)]
pub(super) struct WarmUp {
    lasts: Duration,
    serving: Option<u32>,
    /// How many came into service, and until when they warm up.
    warming: VecDeque<(Moment, u32)>,
}

impl WarmUp {
    pub fn new(lasts: Duration) -> WarmUp {
        WarmUp {
            lasts,
            serving: None,
            warming: VecDeque::new(),
        }
    }

    /// Instances that are warm. Those of the first look are.
    pub fn warm(&mut self, now: Moment, serving: u32) -> u32 {
        let before = self.serving.replace(serving).unwrap_or(serving);
        if serving > before {
            self.warming.push_back((now + self.lasts, serving - before));
        }
        self.warming.retain(|(until, _)| *until > now);
        let warming: u32 = self.warming.iter().map(|(_, count)| *count).sum();
        serving.saturating_sub(warming)
    }
}
