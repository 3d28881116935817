//! Where a model comes from, as the user names it: a directory or a file, or a repository on a hub.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;
use thiserror::Error;

/// What `--model` names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Source {
    /// A directory in Hugging Face's layout, or a file written by `quantize`.
    Path(PathBuf),
    /// A repository on the Hugging Face hub, or on what `HF_ENDPOINT` names.
    Hub {
        /// `ORG/NAME`.
        repository: String,
        /// A branch, a tag or a commit.
        revision: String,
    },
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum SourceError {
    #[error(
        "the model is an empty string; expected a directory, a model file or hf://ORG/NAME@REVISION"
    )]
    Empty,
    #[error("\"{found}\" is not a hub address; expected hf://ORG/NAME or hf://ORG/NAME@REVISION")]
    NotAHubAddress { found: String },
}

const HUB_SCHEME: &str = "hf://";
const DEFAULT_REVISION: &str = "main";

impl Source {
    /// The model id for clients when none is given: the last part of the name.
    pub fn stem(&self) -> String {
        match self {
            Source::Path(path) => {
                let whole = path.canonicalize().unwrap_or_else(|_| path.clone());
                let name = match whole.is_file() {
                    true => whole.file_stem(),
                    false => whole.file_name(),
                };
                let name = name.unwrap_or(whole.as_os_str());
                name.to_string_lossy().into_owned()
            }
            Source::Hub { repository, .. } => {
                let name = repository.rsplit('/').next().unwrap_or(repository);
                name.to_owned()
            }
        }
    }
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(SourceError::Empty);
        }
        let Some(address) = text.strip_prefix(HUB_SCHEME) else {
            return Ok(Source::Path(PathBuf::from(text)));
        };
        let (repository, revision) = address
            .split_once('@')
            .unwrap_or((address, DEFAULT_REVISION));
        let parts: Vec<&str> = repository.split('/').collect();
        let plain = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        if parts.len() != 2
            || !parts.iter().all(|part| plain(part))
            || !revision.split('/').all(plain)
        {
            return Err(SourceError::NotAHubAddress {
                found: text.to_owned(),
            });
        }
        Ok(Source::Hub {
            repository: repository.to_owned(),
            revision: revision.to_owned(),
        })
    }
}

impl TryFrom<String> for Source {
    type Error = SourceError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Path(path) => write!(out, "{}", path.display()),
            Source::Hub {
                repository,
                revision,
            } => write!(out, "{HUB_SCHEME}{repository}@{revision}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(repository: &str, revision: &str) -> Result<Source, SourceError> {
        Ok(Source::Hub {
            repository: repository.to_owned(),
            revision: revision.to_owned(),
        })
    }

    #[test]
    fn directories_and_hub_addresses_are_told_apart() {
        assert_eq!("models/a".parse(), Ok(Source::Path("models/a".into())));
        assert_eq!("hf://org/name@v1".parse(), hub("org/name", "v1"));
        assert_eq!("hf://org/na.me".parse(), hub("org/na.me", "main"));
        assert_eq!(
            "hf://org/name@refs/pr/3".parse(),
            hub("org/name", "refs/pr/3")
        );
    }

    #[test]
    fn addresses_that_could_leave_the_cache_are_refused() {
        for wrong in [
            "hf://",
            "hf://name",
            "hf://a/b/c",
            "hf://../b",
            "hf://a/b@",
            "hf://a/b@../x",
            "hf://a/b c",
        ] {
            let parsed: Result<Source, _> = wrong.parse();
            assert!(parsed.is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_stem_is_the_last_part() {
        assert_eq!(Source::Path("models/tiny/".into()).stem(), "tiny");
        assert_eq!(hub("org/name", "main").expect("valid").stem(), "name");
    }
}
