//! Why a source gave no number.

use std::time::Duration as Span;

use super::page::LARGEST_ANSWER_BYTES;

#[derive(Debug, thiserror::Error)]
pub enum SourceFault {
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    #[error("it cannot be asked: {0}")]
    Aws(String),
    #[error("it cannot be asked: {what} {why}")]
    File { what: String, why: String },
    #[error("it answers with {status}{}", said_text(said))]
    Status { status: u16, said: String },
    #[error(
        "it answers with {status} and redirects to {to:?}: redirects are not followed, so set url to that address"
    )]
    Redirect { status: u16, to: String },
    #[error("there is no such queue")]
    NoQueue,
    #[error("it has no value for any whole period of the last {0:?}")]
    NoData(Span),
    #[error("it has {0} series, expected one")]
    Series(usize),
    #[error("it does not answer within {0:?}")]
    Slow(Span),
    #[error("its answer is longer than {} bytes", LARGEST_ANSWER_BYTES)]
    Large,
    #[error("its answer is not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    #[error("{found} instead of one number at {place}")]
    NotANumber { place: String, found: String },
    #[error("{place} is a counter by its # TYPE line, so the source needs rate = true")]
    Counter { place: String },
    #[error("its value {0} is below 0")]
    Negative(f64),
    #[error("its value is {age:?} old, and is valid for {fresh_for:?}")]
    Old { age: Span, fresh_for: Span },
    /// Of a counter: nothing is wrong.
    #[error("the growth of a counter is known from its second value on")]
    First,
}

impl SourceFault {
    /// Whether both are reported once and not twice: they differ in figures at most.
    pub fn is_like(&self, other: &SourceFault) -> bool {
        use SourceFault::{Aws, Status, Unreachable};
        match (self, other) {
            (Status { status: one, .. }, Status { status: two, .. }) => one == two,
            (Unreachable(one), Unreachable(two)) | (Aws(one), Aws(two)) => one == two,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl From<reqwest::Error> for SourceFault {
    fn from(error: reqwest::Error) -> SourceFault {
        SourceFault::Unreachable(cause(&error))
    }
}

/// What lies at the bottom of an error, in few words where there are some.
fn cause(error: &reqwest::Error) -> String {
    let mut deepest: &(dyn std::error::Error + 'static) = error;
    while let Some(deeper) = deepest.source() {
        deepest = deeper;
    }
    let kind = deepest
        .downcast_ref::<std::io::Error>()
        .map(std::io::Error::kind);
    let text = deepest.to_string();
    match kind {
        Some(std::io::ErrorKind::ConnectionRefused) => "connection refused".to_owned(),
        Some(std::io::ErrorKind::NetworkUnreachable) => "its network is not reachable".to_owned(),
        _ => match text.strip_prefix("failed to lookup address information: ") {
            Some(why) => format!("no such host ({why})"),
            None => text,
        },
    }
}

fn said_text(said: &str) -> String {
    match said {
        "" => String::new(),
        said => format!(": {said}"),
    }
}
