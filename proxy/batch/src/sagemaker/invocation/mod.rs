//! One asynchronous request whose answer is written to S3: `InvokeEndpointAsync` as SageMaker has it.
//!
//! It is kept (on this machine, or in the store that many share) until its answer or its failure is an
//! object at the place that the client was told. A kill before that costs the computation; the object is
//! written on the condition that there is none, so it is written once.

mod answerer;
mod location;
mod places;

use serde::{Deserialize, Serialize};

pub use self::answerer::{Answerer, Ended};
pub use self::location::Location;
pub use self::places::Places;

/// What is known of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invocation {
    pub id: String,
    /// The `InferenceId`.
    pub name: String,
    /// As its client names it.
    pub endpoint: String,
    pub model: String,
    /// `None`: the body is kept with the request.
    pub input: Option<Location>,
    pub created_at: u64,
    /// Without an answer by then it fails.
    pub expires_at: u64,
    /// How long a try may take.
    pub timeout_seconds: u64,
    pub output: Location,
    pub failure: Location,
    /// The client has named `output`: another request may have the same.
    pub is_named: bool,
}
