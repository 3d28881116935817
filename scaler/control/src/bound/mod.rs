//! Bound.
