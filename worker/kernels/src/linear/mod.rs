//! The int8 linear layer: packed weights, an exact integer product, and everything that can be done
//! to a result while it is still in a register.

mod epilogue;
mod forward;
mod pack;
mod peak;
mod tile;

pub use epilogue::{Epilogue, Store};
pub use pack::Linear;
pub use peak::peak;

pub use crate::math::Activation;
