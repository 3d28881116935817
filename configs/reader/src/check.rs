//! Checks of a configuration beyond the types of its keys, such as `min <= max`.

use std::collections::BTreeMap;
use std::fmt::Display;

/// A configuration that can look at itself once every key has its type.
pub trait Check {
    /// The first key whose value makes no sense together with the others.
    fn check(&self) -> Result<(), Problem> {
        Ok(())
    }

    /// All of them, as far as they do not follow from each other.
    fn problems(&self) -> Vec<Problem> {
        self.check().err().into_iter().collect()
    }
}

/// A key whose value was refused by [`Check`]. The loader finds its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub(crate) path: Vec<Step>,
    pub(crate) found: String,
    pub(crate) expected: String,
}

/// One step from a table to a key in it, or from an array to an item in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Item(usize),
}

impl Problem {
    /// `key` of the checked table holds `found` where `expected` was expected:
    /// `Problem::new("min", 3, "at most max (2)")`. A key of a table inside is `fleet.min`.
    pub fn new(key: &str, found: impl Display, expected: impl Display) -> Problem {
        Problem {
            path: key
                .split('.')
                .map(|key| Step::Key(key.to_owned()))
                .collect(),
            found: found.to_string(),
            expected: expected.to_string(),
        }
    }

    /// The checked table is itself the value of `key`.
    pub fn within(mut self, key: &str) -> Problem {
        self.path.insert(0, Step::Key(key.to_owned()));
        self
    }

    /// The checked table is item `index` of the array at `key`.
    pub fn within_item(mut self, key: &str, index: usize) -> Problem {
        self.path.insert(0, Step::Item(index));
        self.within(key)
    }
}

/// The names of the items of each array at the top, in their order.
pub(crate) type Names = BTreeMap<String, Vec<Option<String>>>;

/// `signal[requests].window`; `signal[0].window` for an item without a name of its own.
pub(crate) fn path_text(path: &[Step], names: &Names) -> String {
    let mut text = String::new();
    for (at, step) in path.iter().enumerate() {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => {
                text.push('.');
                text.push_str(key);
            }
            Step::Item(index) => {
                let items = match at {
                    1 => names.get(text.as_str()),
                    _ => None,
                };
                let name = items.and_then(|items| items.get(*index)?.as_ref());
                let item = name.map_or_else(|| index.to_string(), String::clone);
                text.push_str(&format!("[{item}]"));
            }
        }
    }
    text
}
