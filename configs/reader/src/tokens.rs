//! Token files: the secrets by which the daemons authenticate each other.
//!
//! One token in each line, at most two. The first is sent, both are accepted, so that a token can be
//! replaced without an outage: add the new one everywhere first, then remove the old one.
//! This module prints no token.

use std::fmt;
use std::path::{Path, PathBuf};

use subtle::{Choice, ConstantTimeEq};

use crate::read_text;

const MOST_TOKENS: usize = 2;
const SHORTEST_TOKEN: usize = 16;
const LARGEST_FILE_BYTES: u64 = 4096;

/// The valid tokens of one role.
#[derive(Clone)]
pub struct Tokens {
    current: String,
    previous: Option<String>,
}

/// Why a token file was refused.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error(
        "token file {}: cannot be read: {cause}{}",
        file.display(),
        remedy(file, cause)
    )]
    Unreadable {
        file: PathBuf,
        cause: std::io::Error,
    },
    #[error(
        "token file {0}: mode {mode:04o} lets others read it; run: chmod 600 {0}",
        file.display()
    )]
    Exposed { file: PathBuf, mode: u32 },
    #[error(
        "token file {}: holds {found} tokens, expected one or two, one in each line",
        file.display()
    )]
    Count { file: PathBuf, found: usize },
    #[error(
        "token file {}:{line}: a token of {found} characters, expected at least {SHORTEST_TOKEN}",
        file.display()
    )]
    Short {
        file: PathBuf,
        line: usize,
        found: usize,
    },
    #[error(
        "token file {}:{line}: a token may hold printable ASCII without spaces",
        file.display()
    )]
    Characters { file: PathBuf, line: usize },
}

impl Tokens {
    /// Reads a token file, which nobody but its owner may read.
    pub fn read(file: &Path) -> Result<Tokens, TokenError> {
        let (text, mode) =
            read_text(file, LARGEST_FILE_BYTES).map_err(|cause| TokenError::Unreadable {
                file: file.to_owned(),
                cause,
            })?;
        if mode & 0o077 != 0 {
            let file = file.to_owned();
            return Err(TokenError::Exposed { file, mode });
        }
        Tokens::parse(&text, file)
    }

    fn parse(text: &str, file: &Path) -> Result<Tokens, TokenError> {
        let mut found = Vec::new();
        for (index, token) in text.lines().map(str::trim).enumerate() {
            if !token.is_empty() {
                check_token(token, index + 1, file)?;
                found.push(token.to_owned());
            }
        }
        let count = found.len();
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some(current), previous) if count <= MOST_TOKENS => Ok(Tokens { current, previous }),
            _ => Err(TokenError::Count {
                file: file.to_owned(),
                found: count,
            }),
        }
    }

    /// The token to send.
    pub fn current(&self) -> &str {
        &self.current
    }

    /// Whether `token` is one of the valid ones. Takes as long for a near miss as for any other
    /// token of its length.
    pub fn accepts(&self, token: &str) -> bool {
        let mut accepted = Choice::from(0);
        for valid in std::iter::once(&self.current).chain(&self.previous) {
            accepted |= valid.as_bytes().ct_eq(token.as_bytes());
        }
        accepted.into()
    }

    /// Whether an `Authorization` header brings one of the valid ones: `Bearer TOKEN`, the scheme in
    /// letters of either case (RFC 9110, section 11.1; RFC 6750).
    pub fn accepts_header(&self, value: &[u8]) -> bool {
        let value = std::str::from_utf8(value).unwrap_or_default();
        let (scheme, token) = value.split_once(' ').unwrap_or_default();
        scheme.eq_ignore_ascii_case("bearer") && self.accepts(token.trim_matches(' '))
    }
}

/// How to make a file that is not there.
fn remedy(file: &Path, cause: &std::io::Error) -> String {
    match cause.kind() == std::io::ErrorKind::NotFound {
        true => format!(
            "; to make one, run: (umask 077; head -c 24 /dev/urandom | base64 > {})",
            file.display()
        ),
        false => String::new(),
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(..)")
    }
}

fn check_token(token: &str, line: usize, file: &Path) -> Result<(), TokenError> {
    let file = || file.to_owned();
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TokenError::Characters { file: file(), line });
    }
    match token.len() {
        found if found < SHORTEST_TOKEN => Err(TokenError::Short {
            file: file(),
            line,
            found,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const ONE: &str = "first-0123456789abcdef";
    const TWO: &str = "second-0123456789abcdef";

    fn refusal(text: &str) -> String {
        let file = Path::new("operator.token");
        Tokens::parse(text, file)
            .expect_err("the text is refused")
            .to_string()
    }

    #[test]
    fn the_first_is_sent_and_both_are_accepted() {
        let tokens = Tokens::parse(&format!("{ONE}\n\n{TWO}\n"), Path::new("t"))
            .expect("two tokens are valid");
        assert_eq!(tokens.current(), ONE);
        assert!(tokens.accepts(ONE) && tokens.accepts(TWO));
        for wrong in ["", "first", "first-0123456789abcdeF", &format!("{ONE} ")] {
            assert!(!tokens.accepts(wrong), "{wrong:?}");
        }
        assert!(!format!("{tokens:?}").contains("first"));
    }

    #[test]
    fn refusals_say_what_was_expected() {
        let three = format!("{ONE}\n{TWO}\n{ONE}");
        for (text, message) in [
            (
                "",
                "token file operator.token: holds 0 tokens, expected one or two, one in each line",
            ),
            (
                &three,
                "token file operator.token: holds 3 tokens, expected one or two, one in each line",
            ),
            (
                "\nshort\n",
                "token file operator.token:2: a token of 5 characters, expected at least 16",
            ),
            (
                "two words in one line",
                "token file operator.token:1: a token may hold printable ASCII without spaces",
            ),
        ] {
            assert_eq!(refusal(text), message);
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("worker.token");
        fs::write(&file, ONE).expect("the file is written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("mode is set");
        let message = Tokens::read(&file).expect_err("it is refused").to_string();
        let name = file.display();
        assert_eq!(
            message,
            format!("token file {name}: mode 0640 lets others read it; run: chmod 600 {name}")
        );
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("mode is set");
        assert!(Tokens::read(&file).is_ok_and(|tokens| tokens.accepts(ONE)));
    }

    #[test]
    fn a_missing_file_is_named() {
        let message = Tokens::read(Path::new("/nowhere/worker.token"))
            .expect_err("there is no such file")
            .to_string();
        assert!(
            message.starts_with("token file /nowhere/worker.token: cannot be read: No such file")
        );
        let remedy = "; to make one, run: (umask 077; head -c 24 /dev/urandom | base64 > \
                      /nowhere/worker.token)";
        assert!(message.ends_with(remedy), "{message}");
    }
}
