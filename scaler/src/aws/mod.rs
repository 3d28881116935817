//! What the scaler asks of AWS. The SDK is known in here alone.

pub mod client;
