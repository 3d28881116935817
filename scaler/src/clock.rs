//! The one place where the scaler reads a clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidegate_control::Time;
use tokio::time::Instant;

/// The wall clock may differ by this before it counts as set: a correction in small steps is none.
const SET_BEYOND: Duration = Duration::from_secs(2);

/// Wall time that never goes back. When the wall clock is set forward, or the machine was
/// suspended, it follows; when it is set back, time goes on from where it was, and [`Set::Back`]
/// says by how much the wall clock is behind. Clones are one clock.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Wall time when this process began, as it is known now, in milliseconds.
    begin_ms: Arc<AtomicU64>,
    began: Instant,
    wall: fn() -> Time,
}

/// The wall clock was set since it was last read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    Forward(Duration),
    Back(Duration),
}

impl Clock {
    pub fn start() -> Clock {
        Clock::of(wall)
    }

    fn of(wall: fn() -> Time) -> Clock {
        Clock {
            begin_ms: Arc::new(AtomicU64::new(wall().as_ms())),
            began: Instant::now(),
            wall,
        }
    }

    pub fn now(&self) -> Time {
        Time::from_ms(self.begin_ms.load(Ordering::Relaxed)) + self.began.elapsed()
    }

    /// Follows the wall clock where it was set forward. Says whether it was, or by how much it is
    /// behind.
    pub fn follow(&self) -> Option<Set> {
        let (now, wall) = (self.now(), (self.wall)());
        let (ahead, behind) = (wall.since(now), now.since(wall));
        if ahead > SET_BEYOND {
            let ms = ahead.as_millis() as u64;
            self.begin_ms.fetch_add(ms, Ordering::Relaxed);
            return Some(Set::Forward(ahead));
        }
        (behind > SET_BEYOND).then_some(Set::Back(behind))
    }

    pub fn since_start(&self) -> Duration {
        self.began.elapsed()
    }
}

/// The wall clock as it is, for what says by itself when it was true.
pub fn wall() -> Time {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    Time::from_ms(since_epoch.unwrap_or(Duration::ZERO).as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static WALL: Cell<u64> = const { Cell::new(1_000_000) };
    }

    fn set(ms: u64) {
        WALL.set(ms);
    }

    #[tokio::test(start_paused = true)]
    async fn time_follows_a_clock_that_is_set_forward_and_never_goes_back() {
        let clock = Clock::of(|| Time::from_ms(WALL.get()));
        assert_eq!(clock.follow(), None);
        tokio::time::advance(Duration::from_secs(10)).await;
        set(1_010_500);
        assert_eq!(clock.follow(), None, "half a second is no setting");
        set(3_110_000);
        assert_eq!(
            clock.follow(),
            Some(Set::Forward(Duration::from_secs(2100)))
        );
        assert_eq!(clock.now(), Time::from_ms(3_110_000));
        assert_eq!(clock.follow(), None);
        set(3_050_000);
        assert_eq!(clock.follow(), Some(Set::Back(Duration::from_secs(60))));
        assert_eq!(clock.now(), Time::from_ms(3_110_000), "it does not go back");
    }
}
