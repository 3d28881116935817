//! Batches through the real binaries: OpenAI's own client, kills, full disks, and `run`.

mod disk;
mod files;
mod front;
mod kills;
mod run;
mod sagemaker;
mod service;
mod up;
