//! The tests' harness: starts the real binaries on free ports of this machine, for each test its own,
//! and ends them with the test, whatever its outcome.

mod collector;
mod daemons;
mod load;
mod moto;
mod process;
mod up;

pub use collector::{Collector, Received, environment as trace_environment};
pub use daemons::{Harness, HarnessConfig, chat_model, default_model};
pub use load::{Answer, Client, Dice, Timed};
pub use moto::{ENVIRONMENT, Moto, REGION, python as clients_python};
pub use process::{Process, binary};
pub use up::{Up, children_of};

use std::time::{Duration, Instant};

/// How long a condition may take to come true before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Polls until `probe` gives a value; fails the test naming `what` when it takes too long.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    within(PATIENCE, what, &mut probe).await
}

/// As [`eventually`], with a limit of the test's own.
pub async fn within<T>(
    limit: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(began.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
