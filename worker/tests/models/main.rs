//! Models without HTTP: what they compute, and the commands that make them small and measure them.

#![allow(clippy::unwrap_used)]

mod commands;
mod decoder_commands;
mod decoders;
mod directories;
mod families;
mod hostile;
mod seq2seq;
mod seq2seq_commands;
mod serving;
mod support;
