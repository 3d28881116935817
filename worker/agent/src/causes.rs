//! Errors in one line, with what they came from.

use std::error::Error;

/// An error and all its causes: an HTTP client says "connection refused" three levels down.
pub fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
