//! Tidegate as its users see it: real processes, real sockets.

mod access;
mod bodies;
mod chat;
mod classes;
mod command_lines;
mod departures;
mod drain;
mod embeddings;
mod heartbeats;
mod keys;
mod limits;
mod models;
mod queue;
mod raw;
mod request_ids;
mod retries;
mod scaling;
mod simulated;
mod streams_traced;
mod top;
mod traces;
mod two_proxies;
mod unreachable;
