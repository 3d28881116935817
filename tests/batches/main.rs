//! Batches through the real binaries: OpenAI's own client, keys, kills, full disks, and `run`.

mod chat;
mod disk;
mod fairness;
mod files;
mod front;
mod invocations;
mod keys;
mod kills;
mod run;
mod sagemaker;
mod service;
mod shared;
mod shared_faults;
mod traces;
mod up;
