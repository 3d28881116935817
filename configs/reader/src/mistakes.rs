//! Finds all mistakes of a file, not only the first: sets each mistake aside and reads the rest.
//!
//! A misspelt key counts as the most similar key, so that this one is not missing; any
//! other key with a mistake is left out. A mistake that may only follow from that one is not reported.

use serde::de::DeserializeOwned;

use crate::check::{Check, Problem, Step};
use crate::document::{Document, Fault};
use crate::error::{ConfigError, Mistake};

/// People mend a few at a time.
const MOST: usize = 20;

/// Reads a document that was parsed.
///
/// # Errors
/// With all mistakes that can be found at once.
pub(crate) fn read<T: DeserializeOwned + Check>(
    document: &mut Document<'_>,
) -> Result<T, ConfigError> {
    let mut found = Found {
        faults: Vec::new(),
        set_aside: Vec::new(),
        is_whole: true,
    };
    let value = loop {
        match document.deserialize::<T>() {
            Ok(value) => break Some(value),
            Err(fault) => {
                if !found.take(document, fault) {
                    break None;
                }
            }
        }
    };
    let Found {
        faults, is_whole, ..
    } = found;
    let mut errors: Vec<ConfigError> = Vec::new();
    if let Some(value) = value.as_ref().filter(|_| is_whole) {
        let mut problems = value.problems();
        problems.dedup();
        problems.retain(|problem| !faults.iter().any(|fault| may_cause(fault, problem)));
        errors.extend(
            problems
                .into_iter()
                .map(|problem| document.problem(problem)),
        );
    }
    errors.extend(faults.into_iter().map(|fault| document.fault(fault)));
    errors.sort_by_key(ConfigError::line);
    match (value, errors.len()) {
        (Some(value), 0) => Ok(value),
        (_, 1) => Err(errors.remove(0)),
        (_, _) => Err(ConfigError::Several(errors)),
    }
}

/// What was wrong so far, and what is not looked at any more because of it.
struct Found {
    faults: Vec<Fault>,
    set_aside: Vec<Vec<Step>>,
    /// No table was left out, so that keys in different tables can be held against each other.
    is_whole: bool,
}

impl Found {
    /// Takes a mistake, and out of the document what it makes unreadable. Whether the rest can be
    /// read then.
    fn take(&mut self, document: &mut Document<'_>, fault: Fault) -> bool {
        let table = table_of(&fault.path).to_vec();
        let can_go_on = match &fault.mistake {
            // The table cannot be read without it; the others can.
            Mistake::Missing => {
                self.is_whole = false;
                self.set_aside.push(table.clone());
                document.remove(&table)
            }
            Mistake::UnknownKey {
                nearest: Some(nearest),
                ..
            } => document.rename(&fault.path, nearest),
            _ => {
                self.set_aside.push(fault.path.clone());
                document.remove(&fault.path)
            }
        };
        let is_missing = fault.mistake == Mistake::Missing;
        let follows = is_missing && self.set_aside.contains(&fault.path);
        if !follows {
            self.faults.push(fault);
        }
        can_go_on && self.faults.len() < MOST
    }
}

/// The table that a key is in; for one in an item of an array, the array.
fn table_of(path: &[Step]) -> &[Step] {
    let mut table = path.split_last().map_or(path, |(_, table)| table);
    while let Some((Step::Item(_), array)) = table.split_last() {
        table = array;
    }
    table
}

/// Whether a problem lies in the table in which a key was left out. One that is unknown is not
/// missed there.
fn may_cause(fault: &Fault, problem: &Problem) -> bool {
    let table = |path: &[Step]| path.split_last().map(|(_, table)| table.to_vec());
    let is_unknown = matches!(fault.mistake, Mistake::UnknownKey { .. });
    !is_unknown && table(&fault.path) == table(&problem.path)
}
