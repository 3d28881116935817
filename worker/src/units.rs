//! Sizes as people write them.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use thiserror::Error;

/// A number of bytes; written as `512MB`, `1.5GB`, `256MiB` or a bare number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "Written")]
pub struct Bytes(pub u64);

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u64),
    Text(String),
}

#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "\"{found}\" is no size; expected a number of bytes, or one with kB, MB, GB, KiB, MiB or GiB, such as 512MB"
)]
pub struct BytesError {
    found: String,
}

const UNITS: [(&str, u64); 8] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("", 1),
];

impl FromStr for Bytes {
    type Err = BytesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = || BytesError {
            found: text.to_owned(),
        };
        let trimmed = text.trim();
        let with = |&(unit, size): &(&str, u64)| Some((trimmed.strip_suffix(unit)?, size));
        let (number, size) = UNITS.iter().find_map(with).ok_or_else(found)?;
        let number: f64 = number.trim_end().parse().map_err(|_| found())?;
        match number.is_finite() && number >= 0.0 {
            true => Ok(Bytes((number * size as f64) as u64)),
            false => Err(found()),
        }
    }
}

impl TryFrom<Written> for Bytes {
    type Error = BytesError;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        match written {
            Written::Number(bytes) => Ok(Bytes(bytes)),
            Written::Text(text) => text.parse(),
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as f64;
        // Padding asked for is padding of the whole.
        let text = match self.0 {
            ..1_000 => format!("{} B", self.0),
            1_000..1_000_000 => format!("{:.1} kB", bytes / 1e3),
            1_000_000..1_000_000_000 => format!("{:.1} MB", bytes / 1e6),
            _ => format!("{:.2} GB", bytes / 1e9),
        };
        out.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_either_kind_of_unit_and_written_with_one() {
        for (text, bytes) in [
            ("512MB", 512_000_000),
            ("1.5 GiB", 1_610_612_736),
            ("1000", 1000),
            ("64KiB", 65_536),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for wrong in ["", "MB", "-1MB", "ten", "5 TB", "NaN", "5MBMB"] {
            assert!(wrong.parse::<Bytes>().is_err(), "{wrong}");
        }
        assert_eq!(Bytes(23_456_789).to_string(), "23.5 MB");
        assert_eq!(format!("{:>8}", Bytes(12)), "    12 B");
    }
}
