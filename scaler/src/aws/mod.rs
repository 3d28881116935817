//! What the scaler asks of AWS. The SDK is known in here alone.

pub mod autoscaling;
pub mod client;
