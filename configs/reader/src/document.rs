//! A file parsed as TOML: reads typed values from it, and finds the line of a key.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::check::{Problem, Step, path_text};
use crate::error::{ConfigError, Mistake};
use crate::read::Reader;

/// A mistake, with where it is in the document.
pub(crate) struct Fault {
    pub path: Vec<Step>,
    pub place: Range<usize>,
    pub mistake: Mistake,
}

/// A parsed file, not yet typed.
pub(crate) struct Document<'i> {
    file: PathBuf,
    text: &'i str,
    root: Spanned<DeValue<'i>>,
}

impl<'i> Document<'i> {
    pub(crate) fn parse(text: &'i str, file: &Path) -> Result<Self, ConfigError> {
        let table = DeTable::parse(text).map_err(|error| {
            let place = error.span().unwrap_or(0..0);
            ConfigError::Syntax {
                file: file.to_owned(),
                line: line_of(text, &place),
                near: text.get(place).unwrap_or_default().trim().to_owned(),
                message: error.message().to_owned(),
            }
        })?;
        Ok(Document {
            file: file.to_owned(),
            text,
            root: Spanned::new(table.span(), DeValue::Table(table.into_inner())),
        })
    }

    pub(crate) fn deserialize<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        T::deserialize(Reader(&self.root)).map_err(|mut fault| {
            fault.path.reverse();
            Fault {
                path: fault.path,
                place: fault.place.unwrap_or(0..0),
                mistake: fault.mistake,
            }
        })
    }

    /// Leaves out the value at a path. Whether it was there.
    pub(crate) fn remove(&mut self, path: &[Step]) -> bool {
        let Some((Step::Key(key), table)) = path.split_last() else {
            return false;
        };
        let table = self.table(table);
        table.is_some_and(|table| table.remove(key.as_str()).is_some())
    }

    /// Takes a key for another one, unless that is there as well; then it is left out.
    pub(crate) fn rename(&mut self, path: &[Step], other: &'static str) -> bool {
        let Some((Step::Key(key), table)) = path.split_last() else {
            return false;
        };
        let Some(table) = self.table(table) else {
            return false;
        };
        let Some((name, value)) = table.remove_entry(key.as_str()) else {
            return false;
        };
        if !table.contains_key(other) {
            table.insert(Spanned::new(name.span(), Cow::Borrowed(other)), value);
        }
        true
    }

    fn table(&mut self, path: &[Step]) -> Option<&mut DeTable<'i>> {
        let mut value = self.root.get_mut();
        for step in path {
            let inner = match (step, value) {
                (Step::Key(key), DeValue::Table(table)) => table.get_mut(key.as_str())?,
                (Step::Item(index), DeValue::Array(items)) => items.get_mut(*index)?,
                _ => return None,
            };
            value = inner.get_mut();
        }
        match value {
            DeValue::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(crate) fn fault(&self, fault: Fault) -> ConfigError {
        self.error(&fault.path, &fault.place, fault.mistake)
    }

    /// The error for a problem that was found after typing, at the line of its key or, where that
    /// key was left out, of the innermost table around it.
    pub(crate) fn problem(&self, problem: Problem) -> ConfigError {
        let mut place = self.root.span();
        let mut value = self.root.get_ref();
        for step in &problem.path {
            let (step_place, inner) = match (step, value) {
                (Step::Key(key), DeValue::Table(table)) => match table.get_key_value(&**key) {
                    Some((key, inner)) => (key.span(), inner),
                    None => break,
                },
                (Step::Item(index), DeValue::Array(items)) => match items.get(*index) {
                    Some(inner) => (inner.span(), inner),
                    None => break,
                },
                _ => break,
            };
            place = step_place;
            value = inner.get_ref();
        }
        let (found, expected) = (problem.found, problem.expected);
        self.error(&problem.path, &place, Mistake::Wrong { found, expected })
    }

    fn error(&self, path: &[Step], place: &Range<usize>, mistake: Mistake) -> ConfigError {
        ConfigError::Key {
            file: self.file.clone(),
            line: line_of(self.text, place),
            key: path_text(path),
            mistake,
        }
    }
}

fn line_of(text: &str, place: &Range<usize>) -> usize {
    let before = text.as_bytes().iter().take(place.start);
    1 + before.filter(|byte| **byte == b'\n').count()
}
