//! Where a model comes from, as the user names it: a directory or a file, a repository on a hub,
//! or an object in S3.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;
use thiserror::Error;

use super::s3::{Address, AddressError};

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
    /// A model file in S3, named with its hash.
    S3(Address),
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum SourceError {
    #[error(
        "the model is an empty string; expected a directory, a model file, hf://ORG/NAME@REVISION \
         or s3://BUCKET/KEY#sha256=HEX"
    )]
    Empty,
    #[error("\"{found}\" is not a hub address; expected hf://ORG/NAME or hf://ORG/NAME@REVISION")]
    NotAHubAddress { found: String },
    #[error(transparent)]
    NotInS3(#[from] AddressError),
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
            Source::S3(address) => {
                let name = Path::new(address.file_name());
                let stem = name.file_stem().unwrap_or(name.as_os_str());
                stem.to_string_lossy().into_owned()
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
        if Address::is_one(text) {
            return Ok(Source::S3(text.parse()?));
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
            Source::S3(address) => write!(out, "{address}"),
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
    fn a_model_in_s3_is_named_with_its_hash() {
        let hash = "0A".repeat(32);
        let parsed: Source = format!("s3://models/v1/mini.int8.safetensors#sha256={hash}")
            .parse()
            .expect("valid");
        assert_eq!(parsed.stem(), "mini.int8");
        for wrong in [
            "s3://models/mini".to_owned(),
            format!("s3://models#sha256={hash}"),
            format!("s3://models/#sha256={hash}"),
            format!("s3://models/a/../b#sha256={hash}"),
            format!("s3://Models/a#sha256={hash}"),
            "s3://models/a#sha256=abc".to_owned(),
        ] {
            let parsed: Result<Source, _> = wrong.parse();
            let mistake = parsed.expect_err(&wrong).to_string();
            assert!(mistake.contains("s3://BUCKET/KEY#sha256=HEX"), "{mistake}");
        }
    }

    #[test]
    fn the_stem_is_the_last_part() {
        assert_eq!(Source::Path("models/tiny/".into()).stem(), "tiny");
        assert_eq!(hub("org/name", "main").expect("valid").stem(), "name");
    }
}
