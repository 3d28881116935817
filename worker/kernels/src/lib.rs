//! Vector kernels for transformers, and an encoder and a decoder made of them.
//!
//! The encoder ([`Encoder`]) works on linear layers in int8 with a scale a channel or in f32; the
//! decoder ([`Decoder`]) on those of GGUF files, in four, five or eight bits with a scale for every 32
//! weights or in floats, over a paged cache of keys and values. What any transformer needs is beside
//! them: linear layers, norms, attention, activations, rotations, teams of threads.
//!
//! Everything is written once against a small set of vector instructions (`simd`) and compiled for
//! three isas in one binary; [`Isa::best`] picks at run time. This is the only crate of the
//! workspace with unsafe code. It knows shapes and numbers, never files, models' names, clocks or
//! sockets. Threads are started by a [`Team`] and by the [`Workspace`]s that share a batch; they end when
//! these are dropped.
//!
//! Matrices are row-major. A row is a token; rows of a batch follow each other without padding, and
//! a batch names its sequences by offsets: sequence i is rows `offsets[i]..offsets[i + 1]`.

mod aligned;
mod attention;
mod block_linear;
mod blocks;
mod decoder;
mod embed;
mod encoder;
mod error;
mod half;
mod isa;
mod linear;
mod math;
mod norm;
mod paged;
mod pool;
mod product;
mod quant;
mod rms_norm;
mod rope;
mod seq2seq;
mod simd;
mod softmax;
mod team;

pub use attention::{Attention, AttentionScratch, Mask, Queries, RelativeBias};
pub use block_linear::{BlockLinear, BlockRows, Input};
pub use blocks::{BlockType, RawWeights};
pub use decoder::{
    Chunk, Decoder, DecoderLayer, DecoderParts, DecoderShape, DecoderWorkspace, StepError, Wanted,
};
pub use embed::Table;
pub use encoder::{
    Batch, Embeddings, EncodeError, Encoder, EncoderParts, Layer, Norms, Output, Workspace,
    useful_threads,
};
pub use error::ShapeError;
pub use isa::{Isa, UnknownIsa};
pub use linear::{Activation, Dense, Epilogue, FloatLinear, Linear, Store, peak};
pub use math::activate;
pub use norm::LayerNorm;
pub use paged::{
    Bias, KvCache, KvShape, KvType, PAGE_TOKENS, PagedAttention, PagedQueries, PagedScratch,
    Visible,
};
pub use pool::{Pooling, normalize, pool};
pub use quant::{QuantRows, quantize_weights};
pub use rms_norm::RmsNorm;
pub use rope::{Rope, RopePairs, RopeTable};
pub use seq2seq::{
    CrossAttention, FeedForward, SelfAttention, Seq2Seq, Seq2SeqLayer, Seq2SeqParts, Seq2SeqShape,
    Seq2SeqWorkspace, Source, Stack, Target,
};
pub use softmax::softmax;
pub use team::{Broken, Member, Team};
