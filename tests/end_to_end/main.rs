//! Tidegate as its users meet it: real processes, real sockets.

mod access;
mod beats;
mod bodies;
mod departures;
mod drain;
mod embeddings;
mod keys;
mod line;
mod retries;
mod scaling;
mod simulated;
mod two_proxies;
mod unreachable;
