//! The linear layers: int8 with packed weights and an exact integer product, f32 where a tensor
//! needs more, and everything that can be done to a result while it is still in a register.

mod dense;
mod epilogue;
mod float;
mod forward;
mod pack;
mod peak;
mod tile;

pub use dense::Dense;
pub(crate) use dense::Rows;
pub use epilogue::{Epilogue, Store};
pub use float::FloatLinear;
pub use pack::Linear;
pub use peak::peak;

pub use crate::math::Activation;
