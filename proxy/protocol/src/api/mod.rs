//! The API for clients, as far as worker and proxy must agree on it: which routes there are, and
//! the shape of an error. Both build their answers from these types.

mod error;
mod routes;

pub use error::{Dialect, OpenAiDetail, OpenAiError, TeiError, TeiKind};
pub use routes::{ApiRoute, Kind, Method, ROUTES};
