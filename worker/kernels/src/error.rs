//! What the checked constructors and entry points refuse.

use std::fmt;

use crate::isa::Isa;

/// Two sizes that had to agree and do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShapeError {
    /// What was measured, such as "bias length".
    pub what: &'static str,
    pub expected: usize,
    pub found: usize,
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: expected {}, found {}",
            self.what, self.expected, self.found
        )
    }
}

impl std::error::Error for ShapeError {}

/// Refuses a size that must be exact.
pub(crate) fn exactly(what: &'static str, expected: usize, found: usize) -> Result<(), ShapeError> {
    if found == expected {
        Ok(())
    } else {
        Err(ShapeError {
            what,
            expected,
            found,
        })
    }
}

/// Refuses a size above its limit; `expected` in the error is the limit.
pub(crate) fn at_most(what: &'static str, limit: usize, found: usize) -> Result<(), ShapeError> {
    if found <= limit {
        Ok(())
    } else {
        Err(ShapeError {
            what,
            expected: limit,
            found,
        })
    }
}

/// Refuses a size below its minimum; `expected` in the error is the minimum.
pub(crate) fn at_least(what: &'static str, least: usize, found: usize) -> Result<(), ShapeError> {
    if found >= least {
        Ok(())
    } else {
        Err(ShapeError {
            what,
            expected: least,
            found,
        })
    }
}

/// Refuses to mix what was packed for different isas.
pub(crate) fn same_isa(expected: Isa, found: Isa) -> Result<(), ShapeError> {
    exactly(
        "operands packed for the same isa",
        1,
        usize::from(expected == found),
    )
}
