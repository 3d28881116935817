//! Capacity that AWS does not have: remembered by type and zone, and forgotten after a time that grows
//! with each repetition.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tidegate_control::Time;

use super::group::{Failure, Offerings};

/// As long as Karpenter remembers an offering that is short.
const FIRST_SPAN: Duration = Duration::from_secs(180);
const LONGEST_SPAN: Duration = Duration::from_secs(1800);

/// Failures older than this say nothing about now.
const RECENT: Duration = Duration::from_secs(600);

/// A type that no message names, for a group whose types are not known.
const ANY_OTHER: &str = "another type";

/// Offerings that are remembered.
const MEMORY: usize = 64;

/// What AWS sells: a type of instance in a zone, as far as its message says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offering {
    pub kind: Option<String>,
    pub zone: Option<String>,
}

impl Offering {
    /// Whether it is this one, as far as both say which.
    fn covers(&self, kind: Option<&str>, zone: Option<&str>) -> bool {
        let is_one = |ours: &Option<String>, theirs: Option<&str>| match (ours, theirs) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        };
        is_one(&self.kind, kind) && is_one(&self.zone, zone)
    }
}

/// Offerings that were short a short time ago.
#[derive(Clone, Debug, Default)]
pub struct Shortages {
    known: BTreeMap<Offering, Shortage>,
    /// Activities that were taken in.
    read: BTreeMap<String, Time>,
}

#[derive(Clone, Copy, Debug)]
struct Shortage {
    until: Time,
    span: Duration,
}

impl Shortages {
    /// Takes failed launches in. Returns offerings that were not known to be short.
    pub fn take(&mut self, now: Time, failures: &[Failure]) -> Vec<Offering> {
        self.read.retain(|_, at| now.since(*at) <= RECENT);
        let mut new = Vec::new();
        for failure in failures {
            let at = now - Duration::from_millis(failure.age_ms);
            let is_new = now.since(at) <= RECENT && !self.read.contains_key(&failure.id);
            let Some(offering) = offering(failure).filter(|_| is_new) else {
                continue;
            };
            self.read.insert(failure.id.clone(), at);
            if self.note(at, offering.clone()) && !new.contains(&offering) {
                new.push(offering);
            }
        }
        new
    }

    /// Whether it was not known. Each time anew it is remembered for twice as long.
    fn note(&mut self, at: Time, offering: Offering) -> bool {
        let before = self.known.get(&offering).copied();
        let span = match before {
            Some(before) if at < before.until => before.span,
            Some(before) if at.since(before.until) <= before.span => {
                (before.span * 2).min(LONGEST_SPAN)
            }
            _ => FIRST_SPAN,
        };
        let until = at + span;
        if self.known.len() < MEMORY || before.is_some() {
            self.known.insert(offering, Shortage { until, span });
        }
        before.is_none_or(|before| at >= before.until)
    }

    /// Until when everything that the group may launch is short, if it is now: the group tries one
    /// type and zone after the other, so that one which is to be had is enough.
    pub fn until(&self, now: Time, offered: &Offerings) -> Option<Time> {
        let short_until = |kind: Option<&str>, zone: Option<&str>| {
            let short = self
                .known
                .iter()
                .filter(|(short, _)| short.covers(kind, zone));
            let untils = short.map(|(_, shortage)| shortage.until);
            untils.filter(|until| now < *until).max()
        };
        let zones: Vec<Option<&str>> = match offered.zones.as_slice() {
            [] => vec![None],
            zones => zones.iter().map(|zone| Some(zone.as_str())).collect(),
        };
        let kinds: Vec<Option<&str>> = match offered.kinds.as_deref() {
            None => vec![Some(ANY_OTHER)],
            Some([] | [_]) => vec![None],
            Some(kinds) => kinds.iter().map(|kind| Some(kind.as_str())).collect(),
        };
        let all = kinds.iter().flat_map(|kind| {
            let zones = zones.iter();
            zones.map(|zone| short_until(*kind, *zone))
        });
        let all: Option<Vec<Time>> = all.collect();
        all?.into_iter().min()
    }

    /// Those that are short now.
    pub fn now(&self, now: Time) -> Vec<Offering> {
        let short = self.known.iter().filter(|(_, it)| now < it.until);
        short.map(|(offering, _)| offering.clone()).collect()
    }

    /// Capacity came: what was short is not any more.
    pub fn over(&mut self) {
        self.known.clear();
    }
}

/// What was short, if that is why the launch failed.
fn offering(failure: &Failure) -> Option<Offering> {
    const SIGNS: [&str; 5] = [
        "InsufficientInstanceCapacity",
        "UnfulfillableCapacity",
        "do not have sufficient",
        "no Spot capacity available",
        "VcpuLimitExceeded",
    ];
    let message = failure.message.as_str();
    SIGNS.iter().find(|sign| message.contains(**sign))?;
    let zone = (failure.zone.clone()).or_else(|| in_brackets(message).map(str::to_owned));
    Some(Offering {
        kind: kind(message).map(str::to_owned),
        zone,
    })
}

/// A word such as `c7i.large`.
fn kind(message: &str) -> Option<&str> {
    let words = message.split([' ', ',', '(', ')', '\'', '"']);
    let is_kind = |word: &&str| {
        let Some((family, size)) = word.split_once('.') else {
            return false;
        };
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let has_digit = family.bytes().any(|byte| byte.is_ascii_digit());
        has_digit && plain(family) && plain(size) && !size.is_empty()
    };
    words.into_iter().find(is_kind)
}

/// The first text in brackets that looks like a zone.
fn in_brackets(message: &str) -> Option<&str> {
    let mut pieces = message.split('(').skip(1);
    pieces.find_map(|piece| {
        let (inner, _) = piece.split_once(')')?;
        let is_zone = inner.matches('-').count() >= 2 && !inner.contains(' ');
        is_zone.then_some(inner)
    })
}

impl fmt::Display for Offering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_deref().unwrap_or("capacity"))?;
        match &self.zone {
            Some(zone) => write!(f, " in {zone}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = "We currently do not have sufficient c7i.large capacity in the \
        Availability Zone you requested (us-east-1a). Our system will be working on provisioning \
        additional capacity. Launching EC2 instance failed.";

    fn failure(id: &str, message: &str) -> Failure {
        Failure {
            id: id.to_owned(),
            message: message.to_owned(),
            zone: None,
            age_ms: 0,
        }
    }

    fn at(second: u64) -> Time {
        Time::from_ms(second * 1000)
    }

    fn offered(kinds: &[&str], zones: &[&str]) -> Offerings {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Offerings {
            kinds: Some(owned(kinds)),
            zones: owned(zones),
        }
    }

    #[test]
    fn one_short_pool_of_several_is_no_reason_to_ask_for_nothing() {
        let mut shortages = Shortages::default();
        shortages.take(at(0), &[failure("a", MESSAGE)]);
        let until = |offered: &Offerings| shortages.until(at(1), offered);
        assert_eq!(
            until(&offered(&["c7i.large"], &["us-east-1a"])),
            Some(at(180))
        );
        let (kinds, zones) = (["c7i.large", "m7i.large"], ["us-east-1a", "us-east-1b"]);
        assert_eq!(until(&offered(&kinds, &zones[..1])), None, "another type");
        assert_eq!(until(&offered(&kinds[..1], &zones)), None, "another zone");
        let any = Offerings {
            kinds: None,
            ..offered(&[], &zones[..1])
        };
        assert_eq!(until(&any), None, "any type that meets the requirements");
        // A message that names nothing is about all of them.
        let vague = failure("b", "UnfulfillableCapacity: no");
        shortages.take(at(2), &[vague]);
        assert_eq!(
            shortages.until(at(3), &offered(&kinds, &zones)),
            Some(at(182))
        );
    }

    #[test]
    fn type_and_zone_are_read_from_the_message() {
        let mut shortages = Shortages::default();
        let new = shortages.take(at(1), &[failure("a", MESSAGE)]);
        let notices: Vec<String> = new.iter().map(Offering::to_string).collect();
        assert_eq!(notices, ["c7i.large in us-east-1a"]);
        let vague = failure("b", "UnfulfillableCapacity: no");
        assert_eq!(
            shortages.take(at(2), &[vague])[0].to_string(),
            "capacity",
            "as much as it says"
        );
        let other = failure("c", "The image id '[ami-1]' does not exist");
        assert!(shortages.take(at(3), &[other]).is_empty());
    }

    #[test]
    fn a_shortage_is_told_once_and_remembered_longer_each_time() {
        let mut shortages = Shortages::default();
        let one = offered(&["c7i.large"], &["us-east-1a"]);
        let take = |shortages: &mut Shortages, second: u64, id: &str| {
            shortages.take(at(second), &[failure(id, MESSAGE)]).len()
        };
        assert_eq!(take(&mut shortages, 0, "a"), 1);
        assert_eq!(take(&mut shortages, 1, "a"), 0, "the same activity");
        assert_eq!(shortages.until(at(179), &one), Some(at(180)));
        assert_eq!(shortages.until(at(180), &one), None);
        assert_eq!(take(&mut shortages, 200, "b"), 1, "reported anew");
        assert_eq!(
            shortages.until(at(201), &one),
            Some(at(560)),
            "twice as long"
        );
        shortages.over();
        assert_eq!(shortages.until(at(202), &one), None);
    }
}
