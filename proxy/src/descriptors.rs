//! The limit of open files: raised at start, and shared between clients, workers and all else, so
//! that clients can never take the descriptors that heartbeats and the scaler need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For the admin port and all else.
const RESERVE: u64 = 192;

/// For listeners, logs and runtimes.
const OTHERS: u64 = 64;

/// Most connections to the admin port: one of each worker, and of those who ask.
const MOST_ADMIN: u64 = 12_000;

/// Most connections of clients unless the config says otherwise.
const MOST_CLIENTS: u64 = 10_000;

/// Raises the soft limit to the hard one and says what it is.
pub fn raise() -> u64 {
    let found = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: found.maximum,
        maximum: found.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    limit()
}

/// The descriptors that this process may have.
pub fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The descriptors that so many clients need: a third more for the connections to workers.
pub fn needed(clients: usize) -> u64 {
    (clients as u64).saturating_mul(4) / 3 + RESERVE
}

/// The clients that fit within this limit.
pub fn clients(limit: u64) -> usize {
    let fit = limit.saturating_sub(RESERVE) / 4 * 3;
    usize::try_from(fit.clamp(1, MOST_CLIENTS)).unwrap_or(1)
}

/// The connections that the admin port may have: all that is left, since each worker keeps one.
pub fn admin(limit: u64, clients: usize) -> usize {
    let left = limit.saturating_sub(needed(clients)) + RESERVE - OTHERS;
    usize::try_from(left.clamp(RESERVE - OTHERS, MOST_ADMIN)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_never_more_than_the_limit() {
        for limit in [256, 1024, 4096, 65_536, u64::MAX] {
            assert!(needed(clients(limit)) <= limit, "{limit}");
        }
        assert_eq!(admin(1024, clients(1024)), 128);
        assert_eq!(admin(1 << 20, 10_000), 12_000);
        assert_eq!(clients(1024), 624);
        assert_eq!(clients(1 << 20), 10_000);
    }
}
