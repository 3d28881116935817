//! `s3://BUCKET/KEY#sha256=HEX`: one object, and what it must contain.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

const SCHEME: &str = "s3://";
const HASH: &str = "#sha256=";

/// S3's own limit.
const LONGEST_KEY: usize = 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub bucket: String,
    /// Without a slash at its begin.
    pub key: String,
    /// In lower case.
    pub sha256: String,
}

#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "\"{found}\" is not the address of a model in S3; expected s3://BUCKET/KEY#sha256=HEX, with \
     the 64 digits that `sha256sum` prints for the file"
)]
pub struct AddressError {
    found: String,
}

impl Address {
    pub fn is_one(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// The last part of the key.
    pub fn file_name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or(&self.key)
    }

    fn parse(text: &str) -> Option<Address> {
        let (place, sha256) = text.strip_prefix(SCHEME)?.split_once(HASH)?;
        let (bucket, key) = place.split_once('/')?;
        let plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        let is_bucket = (3..=63).contains(&bucket.len()) && bucket.bytes().all(plain);
        let is_key = (1..=LONGEST_KEY).contains(&key.len())
            && !key.ends_with('/')
            && key.split('/').all(|part| part != "." && part != "..")
            && !key.contains(|letter: char| letter.is_control());
        let is_hash = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_bucket && is_key && is_hash).then(|| Address {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            sha256: sha256.to_ascii_lowercase(),
        })
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Address::parse(text).ok_or_else(|| AddressError {
            found: text.to_owned(),
        })
    }
}

impl fmt::Display for Address {
    /// Without the hash, which is said where it matters.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{SCHEME}{}/{}", self.bucket, self.key)
    }
}
