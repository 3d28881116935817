//! The worker as its users meet it: the real binary, on a free port, asked over HTTP.

mod admission;
mod beats;
mod command;
mod connections;
mod embeddings;
mod fake_hub;
mod fake_proxy;
mod hub;
mod openai;
mod rerank;
mod shutdown;
mod tei;
mod tiny_model;
mod worker;
