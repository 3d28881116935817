//! HTTP/1 messages as bytes: heads, framing and chunked coding after RFC 9110 and RFC 9112.
//!
//! Strict: what the grammar does not allow, and what two readers could take for two different
//! messages, is a [`Fault`] with the status that the authority asks for. Nothing here does IO,
//! reads a clock or keeps a message: the caller gives bytes and gets ranges of them.
//!
//! - [`RequestHead`]: request line and fields of a client's request.
//! - [`ResponseHead`]: status line and fields of a worker's answer.
//! - [`BodyDecoder`]: the body behind either, by length, chunked or up to the end.

mod body;
mod chunked;
mod fault;
mod fields;
mod framing;
mod host;
mod request;
mod response;
mod target;

pub use body::BodyDecoder;
pub use chunked::write_chunk;
pub use fault::Fault;
pub use fields::{Field, Fields};
pub use framing::Framing;
pub use request::{Expectation, RequestHead, RequestReader, asked_path};
pub use response::ResponseHead;
pub use target::Target;

/// How large a head may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the head, its empty line included.
    pub bytes: usize,
    /// Lines of fields.
    pub fields: usize,
}

/// The minor version of HTTP/1 that a message is to be read by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Http10,
    /// Any later one too (RFC 9110, section 2.5).
    Http11,
}
