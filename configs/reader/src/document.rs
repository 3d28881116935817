//! A file parsed as TOML: reads typed values from it, and finds the line of a key.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::check::{Names, Problem, Step, path_text};
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
    /// As they were before anything was left out.
    names: Names,
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
            names: names(table.get_ref()),
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
        let mistake = with_brackets(fault.mistake, &fault.path);
        self.error(&fault.path, &fault.place, mistake)
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
            key: path_text(path, &self.names),
            mistake,
        }
    }
}

/// What the items of the arrays at the top call themselves (`name = "requests"`), where that is one
/// plain word that no other item of the array has.
fn names(root: &DeTable<'_>) -> Names {
    let name = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
        DeValue::Table(table) => match table.get("name")?.get_ref() {
            DeValue::String(name) => Some(name.to_string()).filter(|name| is_plain(name)),
            _ => None,
        },
        _ => None,
    };
    let mut names = BTreeMap::new();
    for (key, value) in root.iter() {
        if let DeValue::Array(items) = value.get_ref() {
            let own: Vec<Option<String>> = items.iter().map(name).collect();
            let is_one =
                |name: &String| own.iter().flatten().filter(|other| *other == name).count() == 1;
            let distinct: Vec<Option<String>> =
                own.iter().map(|name| name.clone().filter(is_one)).collect();
            names.insert(key.get_ref().to_string(), distinct);
        }
    }
    names
}

fn is_plain(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    !name.is_empty() && name.chars().all(allowed)
}

/// A table where an array of tables belongs: TOML writes those with two brackets.
fn with_brackets(mistake: Mistake, path: &[Step]) -> Mistake {
    match (mistake, path) {
        (Mistake::Wrong { found, expected }, [Step::Key(key)])
            if found == "a table" && expected == "an array" =>
        {
            let expected = format!("an array of tables: write [[{key}]]");
            Mistake::Wrong { found, expected }
        }
        (mistake, _) => mistake,
    }
}

fn line_of(text: &str, place: &Range<usize>) -> usize {
    let before = text.as_bytes().iter().take(place.start);
    1 + before.filter(|byte| **byte == b'\n').count()
}
