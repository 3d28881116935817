//! The API for clients, as far as worker and proxy must agree on it: which routes there are, how a
//! body may come, and the shape of an error. Both build their answers from these types.

mod error;
mod routes;

pub use error::{
    Dialect, INVALID_HTTP, OpenAiDetail, OpenAiError, TeiError, TeiKind, TgiError, openai_kind,
};
pub use routes::{ApiRoute, Kind, Method, ROUTES};

/// Whether a value of `Content-Encoding` leaves the body as it is; no other coding is read.
pub fn is_identity(value: &[u8]) -> bool {
    let mut codings = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    codings.all(|coding| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity"))
}
