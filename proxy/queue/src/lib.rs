//! The queue: which requests wait for which model, which is next, and which are refused.
//!
//! The proxy drives it with real requests and the simulator with simulated ones; both get the
//! same schedule because nothing here reads a clock, a socket or a random number. Every method
//! that depends on time takes `now`, and iterates over ordered collections alone.
//!
//! - [`Queue`]: one model's requests, from arrival to end, by class and then by age.
//! - [`Endpoints`]: that model's workers, their capacity, and which of them is next.
//! - [`Registry`]: the queues of all models, and the workers as their heartbeats describe them.

mod ages;
mod class;
mod cost;
mod endpoint;
mod estimate;
mod queue;
mod record;
mod registry;
mod retry;
mod speed;

use std::time::Duration;

pub use class::{Class, ClassConfig};
pub use cost::cost;
pub use endpoint::{Capacity, EndpointId, Endpoints, Usage};
pub use queue::{Ask, Grant, Outcome, Queue, QueueConfig, Refusal, Ticket};
pub use registry::{
    AttemptError, HeartbeatRefused, NoSuchModel, Placement, QueueId, Registry, RegistryConfig,
    UnknownWorker, is_name,
};
pub use retry::RetryConfig;

/// A point in time, as the time since an origin that the driver chose. Never goes backwards.
pub type Moment = Duration;
