//! Durations in configuration: a number and its unit, such as `"500ms"`, `"30s"`, `"5m"`, `"2h"`.
//!
//! Use as `#[serde(with = "tidegate_config::duration")]`, for `Duration` and `Option<Duration>`
//! alike (the latter with `#[serde(default)]`). A bare number is refused: it would not say its unit.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Error, Unexpected, Visitor};

const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

/// Longer than any wait that makes sense here; keeps sums of durations far from overflow.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

pub fn deserialize<'de, D: Deserializer<'de>, T: From<Duration>>(from: D) -> Result<T, D::Error> {
    from.deserialize_str(InWords).map(T::from)
}

/// The duration that `text` says, or `None` where it says none.
pub fn parse(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
    let duration = Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(*unit_ms)?);
    (duration <= LONGEST).then_some(duration)
}

/// As [`parse`] reads it, in the largest unit that says it exactly.
pub fn format(duration: Duration) -> String {
    let ms = duration.as_millis() as u64;
    let exact = |(_, unit_ms): &&(&str, u64)| ms != 0 && ms.is_multiple_of(*unit_ms);
    match UNITS.iter().rev().find(exact) {
        Some((unit, unit_ms)) => format!("{}{unit}", ms / unit_ms),
        None => "0s".to_owned(),
    }
}

struct InWords;

impl Visitor<'_> for InWords {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration with its unit, such as \"500ms\", \"30s\", \"5m\" or \"2h\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["0s", "1ms", "1500ms", "30s", "90s", "5m", "2h"] {
            let duration = parse(text).expect(text);
            assert_eq!(format(duration), text);
        }
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
            "99999999999h",
            "9000h",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
