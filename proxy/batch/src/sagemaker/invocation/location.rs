//! Where something lies in S3: `s3://BUCKET/KEY`.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// S3's own limits.
const BUCKET_BYTES: std::ops::RangeInclusive<usize> = 3..=63;
const LONGEST_KEY: usize = 1024;

/// An object, or whatever begins so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Location {
    pub bucket: String,
    /// Without a slash at either end; may be empty.
    pub key: String,
}

#[derive(Debug, Error)]
#[error("found {found:?}, expected s3://BUCKET/KEY")]
pub struct NoLocation {
    found: String,
}

impl Location {
    pub fn parse(text: &str) -> Result<Location, NoLocation> {
        let read = || {
            let rest = text.strip_prefix("s3://")?;
            let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            let fits = BUCKET_BYTES.contains(&bucket.len()) && key.len() <= LONGEST_KEY;
            (fits && bucket.bytes().all(is_plain)).then(|| Location {
                bucket: bucket.to_owned(),
                key: key.trim_matches('/').to_owned(),
            })
        };
        read().ok_or_else(|| NoLocation {
            found: text.chars().take(200).collect(),
        })
    }

    /// What has this name there.
    pub fn join(&self, name: &str) -> Location {
        let key = match self.key.is_empty() {
            true => name.to_owned(),
            false => format!("{}/{name}", self.key),
        };
        Location {
            bucket: self.bucket.clone(),
            key,
        }
    }

    /// Whether it is `place` or lies there, whole names alone being compared.
    pub fn is_in(&self, place: &Location) -> bool {
        let rest = self.key.strip_prefix(&place.key);
        let is_below =
            |rest: &str| place.key.is_empty() || rest.is_empty() || rest.starts_with('/');
        self.bucket == place.bucket && rest.is_some_and(is_below)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "s3://{}/{}", self.bucket, self.key)
    }
}

impl TryFrom<String> for Location {
    type Error = NoLocation;

    fn try_from(text: String) -> Result<Location, NoLocation> {
        Location::parse(&text)
    }
}

impl From<Location> for String {
    fn from(location: Location) -> String {
        location.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(text: &str) -> Location {
        Location::parse(text).expect("a location")
    }

    #[test]
    fn a_location_is_a_bucket_and_a_key() {
        let found = location("s3://my-in/a/b c.json");
        assert_eq!((&*found.bucket, &*found.key), ("my-in", "a/b c.json"));
        assert_eq!(
            location("s3://my-out/").join("x.out").to_string(),
            "s3://my-out/x.out"
        );
        assert_eq!(
            location("s3://my-out/a/").join("x").to_string(),
            "s3://my-out/a/x"
        );
        for wrong in [
            "",
            "s3://",
            "s3:///key",
            "https://my-in/key",
            "s3://a?b/key",
            "my-in/key",
        ] {
            assert!(Location::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_place_ends_at_a_name() {
        let is_in = |key: &str, place: &str| location(key).is_in(&location(place));
        assert!(is_in("s3://my-in/a/b", "s3://my-in"));
        assert!(is_in("s3://my-in/a/b", "s3://my-in/a/"));
        assert!(is_in("s3://my-in/a", "s3://my-in/a"));
        assert!(!is_in("s3://my-in/ab", "s3://my-in/a"));
        assert!(!is_in("s3://other/a/b", "s3://my-in/a"));
    }
}
