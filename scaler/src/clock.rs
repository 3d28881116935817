//! The one place where the scaler reads a clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidegate_control::Time;
use tokio::time::Instant;

/// Wall time that does not jump: read once, and counted on from there.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    begin: Time,
    began: Instant,
}

impl Clock {
    pub fn start() -> Clock {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let begin = since_epoch.unwrap_or(Duration::ZERO).as_millis() as u64;
        Clock {
            begin: Time::from_ms(begin),
            began: Instant::now(),
        }
    }

    pub fn now(&self) -> Time {
        self.begin + self.began.elapsed()
    }

    pub fn since_start(&self) -> Duration {
        self.began.elapsed()
    }
}
