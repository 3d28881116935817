//! A model's small files, in a directory or inside one model file; their readers need not know which.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::ModelError;

/// What is said of a file that has to be there and is not.
pub const WHAT_A_DIRECTORY_HOLDS: &str =
    "a model directory holds config.json, tokenizer.json and model.safetensors";

/// What is said of a file that git-lfs has not fetched yet.
pub const POINTER: &str =
    "it is a git-lfs pointer, not the file itself; fetch the files by `git lfs pull`";

/// The largest file beside the weights; the largest tokenizer.json known has 34 MB.
const LARGEST_BYTES: u64 = 256 << 20;

/// Whether a file only says where git-lfs has it.
pub fn is_pointer(content: &[u8]) -> bool {
    content.starts_with(b"version https://git-lfs.github.com/spec/")
}

/// A file's content, if it is a regular file no larger than the limit.
fn read_regular(path: &Path) -> std::io::Result<Vec<u8>> {
    // Before it is opened: opening a pipe waits for its other end.
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    let mut content = Vec::new();
    let mut bounded = File::open(path)?.take(LARGEST_BYTES + 1);
    let length = bounded.read_to_end(&mut content)?;
    match length as u64 > LARGEST_BYTES {
        true => Err(std::io::Error::other(format!(
            "it is larger than {} MB",
            LARGEST_BYTES >> 20
        ))),
        false => Ok(content),
    }
}

/// Files by their path within the model, such as `1_Pooling/config.json`.
#[derive(Debug)]
pub struct Files {
    place: PathBuf,
    /// Their content, if they are inside a model file.
    inside: Option<BTreeMap<String, Vec<u8>>>,
    /// What was found so far: all that this model needs of its directory.
    found: RefCell<BTreeSet<String>>,
}

impl Files {
    pub fn in_directory(place: &Path) -> Files {
        Files {
            place: place.to_owned(),
            inside: None,
            found: RefCell::default(),
        }
    }

    pub fn inside(model_file: &Path, files: BTreeMap<String, Vec<u8>>) -> Files {
        Files {
            place: model_file.to_owned(),
            inside: Some(files),
            found: RefCell::default(),
        }
    }

    /// The directory, or the model file.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Where a file is or would be, for messages.
    pub fn path(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }

    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, ModelError> {
        let content = match &self.inside {
            Some(files) => files.get(name).cloned(),
            None => match read_regular(&self.path(name)) {
                Ok(content) => Some(content),
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(error) => {
                    return Err(ModelError::Unreadable {
                        file: self.path(name),
                        error,
                    });
                }
            },
        };
        if content.as_ref().is_some_and(|content| is_pointer(content)) {
            return Err(self.invalid(name, POINTER));
        }
        if content.is_some() {
            self.found.borrow_mut().insert(name.to_owned());
        }
        Ok(content)
    }

    /// Reads a file that has to be there.
    pub fn need(&self, name: &str) -> Result<Vec<u8>, ModelError> {
        self.read(name)?.ok_or_else(|| ModelError::Missing {
            file: self.path(name),
            hint: WHAT_A_DIRECTORY_HOLDS,
        })
    }

    /// Parses a JSON file if it is there.
    pub fn json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, ModelError> {
        let Some(text) = self.read(name)? else {
            return Ok(None);
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| self.invalid(name, error))
    }

    /// Parses a JSON file that has to be there.
    pub fn need_json<T: DeserializeOwned>(&self, name: &str) -> Result<T, ModelError> {
        serde_json::from_slice(&self.need(name)?).map_err(|error| self.invalid(name, error))
    }

    pub fn invalid(&self, name: &str, problem: impl ToString) -> ModelError {
        ModelError::Invalid {
            file: self.path(name),
            problem: problem.to_string(),
        }
    }

    /// The files that were found so far, with their content.
    pub fn found(&self) -> Result<BTreeMap<String, Vec<u8>>, ModelError> {
        let names = self.found.borrow().clone();
        let content = names.into_iter().map(|name| {
            let content = self.need(&name)?;
            Ok((name, content))
        });
        content.collect()
    }
}
