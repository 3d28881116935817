//! What can be wrong with a file, and where in it.

use thiserror::Error;

/// A file that cannot be used: what is wrong with it, and the byte where it was noticed.
#[derive(Debug, Error)]
#[error("at byte {at}: {problem}")]
pub struct GgufError {
    pub at: u64,
    #[source]
    pub problem: Problem,
}

#[derive(Debug, Error)]
pub enum Problem {
    #[error("reading failed: {0}")]
    Io(#[from] std::io::Error),
    #[error("it is no GGUF file: it begins with {0:?}, expected \"GGUF\"")]
    Magic(String),
    #[error("it was written for big-endian machines")]
    BigEndian,
    #[error("it is of version {0}; versions 2 and 3 can be read")]
    Version(u32),
    #[error("{what} would take {needed} bytes, {left} are left of the file")]
    CutOff {
        what: &'static str,
        needed: u64,
        left: u64,
    },
    #[error("its header has more than {0} bytes")]
    LongHeader(u64),
    #[error("{count} {what} cannot fit into the {left} bytes that are left of the file")]
    Count {
        what: &'static str,
        count: u64,
        left: u64,
    },
    #[error("{count} {what}; at most {max} are read", max = crate::MAX_ENTRIES)]
    Entries { what: &'static str, count: u64 },
    #[error("a name of {0} bytes; expected 1 to {max}", max = crate::parse::MAX_NAME_BYTES)]
    NameLength(u64),
    #[error("{0} is not valid UTF-8")]
    NotUtf8(String),
    #[error("{what} {name:?} appears twice")]
    Twice { what: &'static str, name: String },
    #[error("attribute {key:?}: {found} is no type of a value; expected 0 to 12")]
    ValueType { key: String, found: u32 },
    #[error("attribute {key:?}: arrays of arrays are not supported")]
    Nested { key: String },
    #[error("attribute {key:?}: {found} is no boolean; expected 0 or 1")]
    Bool { key: String, found: u8 },
    #[error("general.alignment is {0}; expected a power of two from 8 to 65536")]
    Alignment(String),
    #[error("tensor {name:?}: {found} dimensions; expected 1 to 4")]
    Dimensions { name: String, found: u32 },
    #[error("tensor {name:?}: {problem}")]
    Shape { name: String, problem: String },
    #[error("tensor {name:?} is stored as {stored}, which is not supported; {supported} are", supported = crate::kind::SUPPORTED)]
    Kind { name: String, stored: String },
    #[error(
        "tensor {name:?} begins at {offset}, which is no multiple of the alignment {alignment}"
    )]
    Unaligned {
        name: String,
        offset: u64,
        alignment: u64,
    },
    #[error(
        "tensor {name:?} would end at byte {end} of the data, which has {data}: the file is cut off or damaged"
    )]
    Outside { name: String, end: u64, data: u64 },
    #[error("tensors {first:?} and {second:?} overlap")]
    Overlap { first: String, second: String },
}
