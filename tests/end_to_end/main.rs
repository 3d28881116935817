//! Tidegate as its users meet it: real processes, real sockets.

mod beats;
mod bodies;
mod departures;
mod drain;
mod embeddings;
mod line;
mod retries;
mod scaling;
