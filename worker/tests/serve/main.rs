//! The worker as its users meet it: the real binary, on a free port, asked over HTTP.

mod admission;
mod api;
mod beats;
mod command;
mod embeddings;
mod fake_hub;
mod fake_proxy;
mod hub;
mod shutdown;
mod tiny_model;
mod worker;
