//! Tidegate as its users meet it: real processes, real sockets.

mod access;
mod bodies;
mod chat;
mod classes;
mod departures;
mod drain;
mod embeddings;
mod heartbeats;
mod keys;
mod limits;
mod models;
mod queue;
mod raw;
mod retries;
mod scaling;
mod simulated;
mod two_proxies;
mod unreachable;
