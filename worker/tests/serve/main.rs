//! The worker as its users meet it: the real binary, on a free port, asked over HTTP.

mod admission;
mod bounds;
mod chat;
mod command;
mod connections;
mod embeddings;
mod fake_hub;
mod fake_metadata;
mod fake_proxy;
mod fake_s3;
mod floors;
mod heartbeats;
mod hub;
mod notices;
mod openai;
mod rerank;
mod s3;
mod sagemaker;
mod seq2seq;
mod shutdown;
mod structured;
mod tei;
mod tgi;
mod tiny_model;
mod worker;
