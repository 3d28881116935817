//! Keys of clients: which clients may send requests. The proxy and the batch service read the same file.
//!
//! The file holds the SHA-256 of each key and never a key, so that a reader of the file cannot use it.
//! A plain hash is enough because keys are 32 random bytes, which cannot be guessed. This module logs
//! no key and no hash.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};
use tidegate_config::read_text;

/// Each is compared with each request's key: together some 0.1 ms.
const MOST_KEYS: usize = 1000;
const LARGEST_FILE_BYTES: u64 = 256 << 10;

/// How often the file is looked at for a change.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Random bytes of a new key.
const KEY_BYTES: usize = 32;

/// Header of clients that send no `Authorization`.
const API_KEY: &str = "api-key";

type Hash = [u8; 32];

/// A key that is valid, and the name that its line gives it.
#[derive(Debug)]
struct Known {
    hash: Hash,
    name: Arc<str>,
}

/// The hashes in a file, read again when it changes.
#[derive(Debug)]
pub struct KeyRing {
    file: PathBuf,
    keys: RwLock<Vec<Known>>,
}

/// Why a file of keys was refused.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("clients.api_keys_file {}: cannot be read: {cause}", file.display())]
    Unreadable { file: PathBuf, cause: io::Error },
    #[error(
        "clients.api_keys_file {0}: mode {mode:04o} lets others read it; run: chmod 600 {0}",
        file.display()
    )]
    Exposed { file: PathBuf, mode: u32 },
    #[error(
        "clients.api_keys_file {}: holds {found} keys, expected 1 to {MOST_KEYS}",
        file.display()
    )]
    Count { file: PathBuf, found: usize },
    #[error(
        "clients.api_keys_file {}:{line}: expected the SHA-256 of a key, 64 hexadecimal digits, and \
         a name if you like; `tidegate-proxy key NAME` makes both",
        file.display()
    )]
    NoHash { file: PathBuf, line: usize },
}

impl KeyRing {
    /// Reads the file, which nobody but its owner may read.
    pub fn read(file: &Path) -> Result<KeyRing, KeyError> {
        Ok(KeyRing {
            keys: RwLock::new(read(file)?),
            file: file.to_owned(),
        })
    }

    /// The name of a key, if it is valid; empty where the file gives it none. Takes as long for a
    /// near miss as for any other key.
    pub fn name_of(&self, key: &str) -> Option<Arc<str>> {
        let presented = hash_of(key);
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let none = keys.len() as u32;
        let found = (0..none).zip(keys.iter()).fold(none, |found, (at, key)| {
            let same = key.hash.as_slice().ct_eq(presented.as_slice());
            u32::conditional_select(&found, &at, same)
        });
        keys.get(found as usize).map(|key| Arc::clone(&key.name))
    }

    /// The name of the key whose hash, in hexadecimal digits, begins like this.
    pub fn name_of_hash(&self, begin: &str) -> Option<Arc<str>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let found = keys.iter().find(|key| hex(&key.hash).starts_with(begin));
        found.map(|key| Arc::clone(&key.name))
    }

    /// Reads the file again whenever it changed. A mistake is logged once and the file read again;
    /// meanwhile the previous keys stay.
    pub async fn keep_fresh(self: Arc<Self>) {
        let (mut seen, mut failed) = (stamp(&self.file), None);
        let mut interval = tokio::time::interval(LOOK_EVERY);
        loop {
            interval.tick().await;
            let now = stamp(&self.file);
            if now == seen {
                continue;
            }
            match read(&self.file) {
                Ok(keys) => {
                    (seen, failed) = (now, None);
                    tracing::info!(keys = keys.len(), "read the changed client keys");
                    *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
                }
                Err(error) if failed != Some(now) => {
                    failed = Some(now);
                    tracing::error!("{error}; keeping the previous keys");
                }
                Err(_) => {}
            }
        }
    }
}

/// A new key, and the line of the file that admits it.
pub fn make(name: &str) -> io::Result<(String, String)> {
    let mut random = [0; KEY_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let key = format!("tg-{}", hex(&random));
    let line = format!("{} {name}", hex(&hash_of(&key)));
    Ok((key, line))
}

/// The key that a request brings, `field` being how its header is read: `Authorization: Bearer KEY`,
/// or else `api-key: KEY`.
pub fn presented<'a>(field: impl Fn(&'static str) -> Option<&'a [u8]>) -> Option<&'a str> {
    let text = |name| std::str::from_utf8(field(name)?).ok();
    let bearer = text("authorization").and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    bearer.or_else(|| text(API_KEY))
}

/// What changes when a file is written or replaced.
fn stamp(file: &Path) -> Option<(u64, i64, i64, u64)> {
    let found = fs::metadata(file).ok()?;
    Some((found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
}

fn read(file: &Path) -> Result<Vec<Known>, KeyError> {
    let owned = || file.to_owned();
    let (text, mode) =
        read_text(file, LARGEST_FILE_BYTES).map_err(|cause| KeyError::Unreadable {
            file: owned(),
            cause,
        })?;
    if mode & 0o077 != 0 {
        let file = owned();
        return Err(KeyError::Exposed { file, mode });
    }
    let mut keys = Vec::new();
    for (index, line) in text.lines().map(str::trim).enumerate() {
        if !line.is_empty() && !line.starts_with('#') {
            let (word, name) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let hash = hash_in(word).ok_or_else(|| KeyError::NoHash {
                file: owned(),
                line: index + 1,
            })?;
            let name = name.trim().into();
            keys.push(Known { hash, name });
        }
    }
    let (file, found) = (owned(), keys.len());
    match found {
        1..=MOST_KEYS => Ok(keys),
        _ => Err(KeyError::Count { file, found }),
    }
}

fn hash_of(key: &str) -> Hash {
    Sha256::digest(key.as_bytes()).into()
}

fn hash_in(word: &str) -> Option<Hash> {
    let digits: Option<Vec<u8>> = (word.chars())
        .map(|digit| digit.to_digit(16).map(|digit| digit as u8))
        .collect();
    let bytes: Vec<u8> = digits?
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair.get(1).copied().unwrap_or(0))
        .collect();
    (word.len() == 64).then(|| bytes.try_into().ok()).flatten()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_in_either_of_two_headers() {
        let of = |name: &'static str, value: &'static str| {
            presented(move |asked| (asked == name).then_some(value.as_bytes()))
        };
        assert_eq!(of("authorization", "bearer  tg-1 "), Some("tg-1"));
        assert_eq!(of("api-key", "tg-1"), Some("tg-1"));
        assert_eq!(of("authorization", "Basic dTpw"), None);
    }

    #[test]
    fn a_hash_is_sixty_four_digits_and_nothing_else() {
        let (key, line) = make("shop").expect("a key");
        assert_eq!(key.len(), 3 + 2 * KEY_BYTES);
        let word = line.split(' ').next().expect("a hash");
        assert_eq!(hash_in(word), Some(hash_of(&key)));
        assert_eq!(hash_in(&word.to_uppercase()), Some(hash_of(&key)));
        for wrong in ["", "ab", &word[1..], &format!("{word}0"), &"g".repeat(64)] {
            assert_eq!(hash_in(wrong), None, "{wrong:?}");
        }
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash_in(known), Some(hash_of("abc")), "as FIPS 180-4 has it");
    }
}
