//! What a server needs to be a worker of a fleet: slots, a state, and heartbeats that announce both.
//! The worker and the tests' worker with set service times are built on it, so that proxies are tested
//! against the real code.
//!
//! It knows no model and no route.

pub mod admission;
mod causes;
mod heartbeats;
mod lifecycle;
mod proxy_url;

pub use admission::{Admission, Capacity, Full, Held, Slot};
pub use causes::causes;
pub use heartbeats::{Announced, Heartbeats, Identity, Intervals, Subject};
pub use lifecycle::{Lifecycle, StateWatch};
pub use proxy_url::{ProxyUrl, ProxyUrlError, is_http_base};
