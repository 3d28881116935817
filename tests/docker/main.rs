//! Tidegate in containers: the images, and configs/compose.yaml as its users run it.
//!
//! Needs a container engine and the images; `make test-docker` sees to both.

mod batches;
mod images;
mod load;
mod stack;
mod story;
