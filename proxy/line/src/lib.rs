//! The line: who waits for which worker, who is next, and who is refused.
//!
//! The proxy drives it with real requests and the simulator with simulated ones; both get the
//! same schedule because nothing here reads a clock, a socket or a random number. Every method
//! that depends on time takes `now`, and iterates over ordered collections alone.
//!
//! - [`Line`]: one model's requests, from arrival to end.
//! - [`Seats`]: that model's workers, their slots, and which of them is next.
//! - [`Floor`]: the lines of all models, and the workers as their beats describe them.

mod ages;
mod estimate;
mod floor;
mod line;
mod record;
mod retry;
mod seats;

use std::time::Duration;

pub use floor::{
    BeatRefused, Floor, FloorConfig, LineId, NoSuchModel, Placement, Setback, UnknownWorker,
    is_name,
};
pub use line::{Ask, Grant, Line, LineConfig, Outcome, Refusal, Ticket};
pub use retry::RetryConfig;
pub use seats::{SeatId, Seats};

/// A point in time, as the time since an origin that the driver chose. Never goes backwards.
pub type Moment = Duration;
