//! What makes a server a worker of the fleet: slots that end, a state that proxies see change, and
//! heartbeats that announce both. The worker is built on it, and so is the tests' worker with set
//! service times, so that proxies are tested against what they meet.
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
