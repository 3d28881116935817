//! Names of files and batches: random, so that nobody can guess those of another key.

use std::fs::File;
use std::io::{self, Read};

use crate::clock::unix_milliseconds;

const RANDOM_BYTES: usize = 12;

/// Behind the time.
const RANDOM_DIGITS: usize = 13;

/// `file-` and 24 hexadecimal digits.
pub fn file() -> io::Result<String> {
    Ok(format!("file-{}", random()?))
}

/// `batch_` and 24 hexadecimal digits.
pub fn batch() -> io::Result<String> {
    Ok(format!("batch_{}", random()?))
}

/// Whether a client's word can be a name: nothing else gets near a path.
pub fn is_one(word: &str) -> bool {
    let rest = word
        .strip_prefix("file-")
        .or_else(|| word.strip_prefix("batch_"));
    rest.is_some_and(|rest| {
        rest.len() == 2 * RANDOM_BYTES && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// 24 hexadecimal digits whose order is that of time; what is behind the time is random.
pub fn in_order() -> io::Result<String> {
    let random: String = random()?.chars().take(RANDOM_DIGITS).collect();
    Ok(format!("{:011x}{random}", unix_milliseconds()))
}

/// 24 random hexadecimal digits.
pub fn random() -> io::Result<String> {
    let mut bytes = [0; RANDOM_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_its_own_kind_and_never_a_path() {
        let (file, batch) = (file().expect("random"), batch().expect("random"));
        assert!(is_one(&file) && is_one(&batch));
        for wrong in [
            "",
            "file-",
            "file-../../etc/passwd",
            &file[1..],
            "batch_xyz",
        ] {
            assert!(!is_one(wrong), "{wrong:?}");
        }
    }
}
