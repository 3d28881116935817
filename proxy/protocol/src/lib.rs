//! What the daemons say to each other: heartbeats from workers to proxies, signals from proxies to
//! the scaler, orders back to workers, and how far batches are.
//!
//! Serde types and the arithmetic of their histograms, nothing else: no IO, no clock.
//! Readers ignore fields they do not know; writers of version N are read by N-1 and N+1.

pub mod api;
mod batches;
mod heartbeat;
mod histogram;
mod signal;

pub use batches::{BatchProgress, BatchesReport};
pub use heartbeat::{Heartbeat, HeartbeatReply, Order, WorkerState};
pub use histogram::{Histogram, bound_ms, bounds};
pub use signal::{ClassSignal, ModelSignal, Signal, WorkerSignal};

/// The version that this build writes into every heartbeat and signal.
pub const VERSION: u32 = 1;

/// The oldest version that this build still reads.
pub const OLDEST_VERSION: u32 = 1;

/// Where a worker posts its [`Heartbeat`] on a proxy's admin port.
pub const HEARTBEAT_PATH: &str = "/beat";

/// Where the batch service serves its [`BatchesReport`].
pub const BATCHES_PATH: &str = "/api/batches";

/// Where a proxy serves its [`Signal`] on its admin port.
pub const SIGNAL_PATH: &str = "/signal";

/// `POST /drain/ID` on a proxy's admin port stops new hand-outs to worker `ID`.
pub const DRAIN_PATH: &str = "/drain/";

/// `POST /undrain/ID` on a proxy's admin port takes a drain order back.
pub const UNDRAIN_PATH: &str = "/undrain/";

/// On a request from proxy to worker: the id of the proxy that holds the permit.
pub const PROXY_HEADER: &str = "x-tidegate-proxy";

/// On a request, from clients: the name of the class that it is to be served in.
pub const PRIORITY_HEADER: &str = "x-priority";

/// On a request from proxy to worker: how many classes go before the request's own, so that 0 is
/// the most urgent. A worker that reads it takes the smaller number first.
pub const RANK_HEADER: &str = "x-tidegate-rank";

/// On a request, from clients and onward: milliseconds the client still waits.
pub const TIMEOUT_HEADER: &str = "x-request-timeout-ms";

/// On a request and on its answer: the id by which client, proxy and worker name it.
pub const REQUEST_ID_HEADER: &str = "x-request-id";

/// On a worker's refusal, whatever its status: why it did not take the request ([`REFUSED_FULL`] or [`REFUSED_NOT_READY`]).
/// A response with this header means that no work was begun.
pub const REFUSED_HEADER: &str = "x-tidegate-refused";

/// Every slot of the worker is taken.
pub const REFUSED_FULL: &str = "full";

/// The worker is warming up or draining.
pub const REFUSED_NOT_READY: &str = "not-ready";
