//! The GGUF file format, as llama.cpp defines it (ggml's docs/gguf.md), versions 2 and 3.
//!
//! [`Gguf::read`] reads the header of a file: attributes by key, and where each tensor's bytes
//! stand. It reads no tensor: whoever loads one asks the file for the range that [`Tensor`] names.
//!
//! A file is not trusted. Every count, length, offset and alignment is checked against the length of
//! the file before anything is allocated for it, memory grows only as bytes are read, and arrays are
//! kept in no more bytes than they take in the file. Nothing here panics on any input.

mod error;
mod kind;
mod parse;
mod tensor;
mod value;
mod write;

use std::collections::BTreeMap;
use std::io::Read;

pub use error::{GgufError, Problem};
pub use kind::Kind;
pub use tensor::Tensor;
pub use value::{Numbers, Scalar, Strings, Value};
pub use write::{Writer, attribute_bytes};

/// Tensors begin at a multiple of this where the file does not say otherwise.
pub const DEFAULT_ALIGNMENT: u64 = 32;

/// The key that says otherwise.
pub const ALIGNMENT_KEY: &str = "general.alignment";

/// The longest header that is read. The largest vocabularies known, 262,144 tokens with scores and
/// merges, take about 16 MB.
pub const MAX_HEADER_BYTES: u64 = 128 << 20;

/// The most attributes, and the most tensors, that a file may have. A small entry takes more memory
/// than bytes; models have some dozens of attributes and some thousands of tensors.
pub const MAX_ENTRIES: u64 = 1 << 16;

/// The header of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Gguf {
    version: u32,
    alignment: u64,
    attributes: BTreeMap<String, Value>,
    tensors: BTreeMap<String, Tensor>,
}

impl Gguf {
    /// Reads the header from the beginning of a file of `length` bytes.
    pub fn read(source: impl Read, length: u64) -> Result<Gguf, GgufError> {
        parse::header(source, length)
    }

    pub fn version(&self) -> u32 {
        self.version
    }

    pub fn alignment(&self) -> u64 {
        self.alignment
    }

    pub fn attribute(&self, key: &str) -> Option<&Value> {
        self.attributes.get(key)
    }

    /// All attributes, by key.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.attributes.iter().map(|(key, value)| (&key[..], value))
    }

    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// All tensors, by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors
            .iter()
            .map(|(name, tensor)| (&name[..], tensor))
    }
}
