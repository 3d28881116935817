//! All mistakes of a file, not only the first: what is wrong is set aside and the rest is read.
//!
//! A misspelt key counts as the one that it is most like, so that this one is not missing; any
//! other key with a mistake is left out. What may only follow from that is not told.

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
    let mut faults: Vec<Fault> = Vec::new();
    let value = loop {
        match document.deserialize::<T>() {
            Ok(value) => break Some(value),
            Err(fault) => {
                let follows = faults.iter().any(|earlier| earlier.path == fault.path);
                let can_go_on = !follows && document.set_aside(&fault);
                if !follows {
                    faults.push(fault);
                }
                if !can_go_on || faults.len() >= MOST {
                    break None;
                }
            }
        }
    };
    let mut errors: Vec<ConfigError> = Vec::new();
    if let Some(value) = &value {
        let mut problems = value.problems();
        problems.dedup();
        problems.retain(|problem| !faults.iter().any(|fault| may_cause(fault, problem)));
        errors.extend(
            problems
                .into_iter()
                .map(|problem| document.problem(problem)),
        );
    }
    let faults = faults.into_iter().map(|fault| document.fault(fault));
    let mut errors: Vec<ConfigError> = faults.chain(errors).collect();
    errors.sort_by_key(ConfigError::line);
    match (value, errors.len()) {
        (Some(value), 0) => Ok(value),
        (_, 1) => Err(errors.remove(0)),
        (_, _) => Err(ConfigError::Several(errors)),
    }
}

/// Whether a problem lies in the table in which a key was left out.
fn may_cause(fault: &Fault, problem: &Problem) -> bool {
    let table = |path: &[Step]| path.split_last().map(|(_, table)| table.to_vec());
    let is_renamed = matches!(fault.mistake, Mistake::UnknownKey { .. });
    !is_renamed && table(&fault.path) == table(&problem.path)
}
