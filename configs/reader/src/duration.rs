//! Durations in configuration: a number and its unit, such as `"500ms"`, `"30s"`, `"5m"`, `"2h"`.
//!
//! A number without a unit is refused.

use std::fmt;
use std::ops::Deref;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde::{Serialize, Serializer};

const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", DAY_MS),
];

const DAY_MS: u64 = 24 * 3_600_000;

/// Longer than any wait that makes sense here; keeps sums of durations far from overflow.
const LONGEST_MS: u64 = 366 * DAY_MS;

/// A [`std::time::Duration`] that is read and written with its unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(std::time::Duration);

impl Duration {
    pub const fn from_secs(seconds: u64) -> Duration {
        Duration(std::time::Duration::from_secs(seconds))
    }

    pub const fn from_millis(ms: u64) -> Duration {
        Duration(std::time::Duration::from_millis(ms))
    }

    fn parse(text: &str) -> Option<Duration> {
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(digits);
        let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let ms = number.parse::<u64>().ok()?.checked_mul(*unit_ms)?;
        (ms <= LONGEST_MS).then_some(Duration::from_millis(ms))
    }
}

impl std::str::FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Duration, String> {
        let wrong = || "a number and its unit was expected, such as 30s, 5m, 2h or 7d".to_owned();
        Duration::parse(text).ok_or_else(wrong)
    }
}

impl Deref for Duration {
    type Target = std::time::Duration;

    fn deref(&self) -> &std::time::Duration {
        &self.0
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl From<std::time::Duration> for Duration {
    fn from(duration: std::time::Duration) -> Self {
        Duration(duration)
    }
}

/// As it is read, in the largest unit up to hours that says it exactly; below a millisecond is cut
/// off. Two days are 48h, as people compare them with hours.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        let exact = |(_, unit): &&(&str, u64)| ms != 0 && ms.is_multiple_of(u128::from(*unit));
        let up_to_hours = UNITS.iter().rev().filter(|(_, unit)| *unit < DAY_MS);
        match up_to_hours.into_iter().find(exact) {
            Some((name, unit)) => write!(f, "{}{name}", ms / u128::from(*unit)),
            None => f.write_str("0s"),
        }
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(WithUnit)
    }
}

struct WithUnit;

impl Visitor<'_> for WithUnit {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration with its unit, such as \"500ms\", \"30s\", \"5m\" or \"2h\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        Duration::parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["0s", "1ms", "1500ms", "30s", "90s", "5m", "2h"] {
            let duration = Duration::parse(text).expect(text);
            assert_eq!(duration.to_string(), text);
        }
    }

    #[test]
    fn days_are_read_and_told_in_hours() {
        let duration = Duration::parse("30d").expect("thirty days");
        assert_eq!(duration.to_string(), "720h");
    }

    #[test]
    fn a_duration_needs_a_number_and_a_known_unit() {
        for text in [
            "",
            "30",
            "s",
            "-3s",
            "1.5s",
            "3 days",
            "400d",
            "99999999999h",
            "9000h",
        ] {
            assert_eq!(Duration::parse(text), None, "{text:?}");
        }
    }
}
