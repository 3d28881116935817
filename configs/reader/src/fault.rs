//! A mistake as serde reports it, with its key path and position.

use std::fmt;
use std::ops::Range;

use serde::de::{self, Expected, Unexpected};

use crate::check::Step;
use crate::error::{Mistake, nearest};

/// A mistake on its way up from where it was made; the path grows from its far end.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) mistake: Mistake,
    /// From the mistake outwards.
    pub(crate) path: Vec<Step>,
    pub(crate) place: Option<Range<usize>>,
}

impl Fault {
    fn new(mistake: Mistake) -> Fault {
        Fault {
            mistake,
            path: Vec::new(),
            place: None,
        }
    }

    pub(crate) fn wrong(found: Unexpected<'_>, expected: impl fmt::Display) -> Fault {
        Fault::new(Mistake::Wrong {
            found: found_text(found),
            expected: expected.to_string(),
        })
    }

    pub(crate) fn under(mut self, step: Step) -> Fault {
        self.path.push(step);
        self
    }

    pub(crate) fn at(mut self, place: Range<usize>) -> Fault {
        self.place.get_or_insert(place);
        self
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mistake.fmt(f)
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Fault::new(Mistake::Refused {
            found: String::new(),
            why: message.to_string(),
        })
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Fault::wrong(found, expected_text(&expected.to_string()))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Fault::wrong(found, expected_text(&expected.to_string()))
    }

    fn unknown_variant(found: &str, expected: &'static [&'static str]) -> Self {
        Fault::new(Mistake::UnknownWord {
            found: found.to_owned(),
            expected: expected.to_vec(),
            nearest: nearest(found, expected),
        })
    }

    fn unknown_field(found: &str, expected: &'static [&'static str]) -> Self {
        Fault::new(Mistake::UnknownKey {
            expected: expected.to_vec(),
            nearest: nearest(found, expected),
        })
    }

    fn missing_field(key: &'static str) -> Self {
        Fault::new(Mistake::Missing).under(Step::Key(key.to_owned()))
    }
}

pub(crate) fn found_text(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(value) => format!("{value:?}"),
        Unexpected::Str(value) => format!("{value:?}"),
        Unexpected::Seq => "an array".to_owned(),
        Unexpected::Map => "a table".to_owned(),
        other => other.to_string(),
    }
}

/// Serde's names for Rust's types, in the words of someone who writes TOML.
fn expected_text(rust: &str) -> String {
    let plain = match rust {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "a nonzero u32" | "a nonzero u64" | "a nonzero usize" => "a whole number, 1 or more",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        "path string" => "a path in quotes",
        "a string" => "text in quotes",
        _ if rust.starts_with("struct ") => "a table",
        _ => rust,
    };
    plain.to_owned()
}
