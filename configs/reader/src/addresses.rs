//! The addresses of a DNS name over time: those that the resolver returns now, and for a while those
//! that it returned before.
//!
//! Workers and the scaler find all proxies by one record. A failing resolver says nothing about the
//! proxies, and an address may be missing from an answer too early or by mistake. So a proxy whose
//! address is missing is still known for a while.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// How often a name is resolved again.
pub const RESOLVED_EVERY: Duration = Duration::from_secs(5);

/// For one answer of the resolver.
pub const RESOLVED_WITHIN: Duration = Duration::from_secs(2);

/// An address is kept for this long after it was last named, and last answered.
pub const KEPT_FOR: Duration = Duration::from_secs(120);

/// The most that are kept of a name.
const MOST: usize = 64;

/// The addresses behind one name. Times are since any one moment.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// When each was last named by the resolver, or answered a call.
    last: BTreeMap<SocketAddr, Duration>,
}

/// What became known by an answer of the resolver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub joined: Vec<SocketAddr>,
    /// Neither named nor answering for [`KEPT_FOR`].
    pub left: Vec<SocketAddr>,
}

impl Addresses {
    /// Takes an answer of the resolver. An empty answer, or a failed one, is not reported.
    pub fn named(
        &mut self,
        now: Duration,
        answer: impl IntoIterator<Item = SocketAddr>,
    ) -> Changes {
        let mut changes = Changes::default();
        for address in answer {
            if self.last.len() >= MOST && !self.last.contains_key(&address) {
                continue;
            }
            if self.last.insert(address, now).is_none() {
                changes.joined.push(address);
            }
        }
        // Those that were named just now stay in any case, so none of this empties the list.
        self.last.retain(|address, last| {
            let stays = now.saturating_sub(*last) <= KEPT_FOR;
            if !stays {
                changes.left.push(*address);
            }
            stays
        });
        changes
    }

    /// A call to this address was answered.
    pub fn answered(&mut self, now: Duration, address: SocketAddr) {
        if let Some(last) = self.last.get_mut(&address) {
            *last = now;
        }
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> {
        self.last.keys().copied()
    }

    pub fn is_empty(&self) -> bool {
        self.last.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 9090))
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn one_that_is_not_named_any_more_is_kept_until_it_is_silent_as_well() {
        let mut addresses = Addresses::default();
        let both = [address(1), address(2)];
        assert_eq!(addresses.named(at(0), both).joined, both);
        assert_eq!(addresses.named(at(100), [address(1)]), Changes::default());
        addresses.answered(at(110), address(2));
        assert_eq!(addresses.named(at(230), [address(1)]), Changes::default());
        let gone = addresses.named(at(231), [address(1)]);
        assert_eq!(gone.left, [address(2)]);
        assert_eq!(addresses.iter().collect::<Vec<_>>(), [address(1)]);
    }

    #[test]
    fn a_long_silence_of_the_resolver_loses_none_that_it_names_again() {
        let mut addresses = Addresses::default();
        addresses.named(at(0), [address(1), address(2)]);
        let changes = addresses.named(at(5000), [address(1), address(2)]);
        assert_eq!(changes, Changes::default());
    }

    #[test]
    fn the_number_is_bounded() {
        let mut addresses = Addresses::default();
        addresses.named(at(0), (0..=255).map(address));
        assert_eq!(addresses.iter().count(), MOST);
    }
}
