//! The body behind a head, taken from bytes as they come.

use crate::chunked::Chunked;
use crate::{Fault, Framing};

/// Finds the data and the end of one body.
#[derive(Clone, Debug)]
pub struct BodyDecoder(Inner);

#[derive(Clone, Debug)]
enum Inner {
    Length(u64),
    Chunked(Box<Chunked>),
    UntilClose,
}

impl BodyDecoder {
    pub fn new(framing: Framing) -> Self {
        BodyDecoder(match framing {
            Framing::Length(length) => Inner::Length(length),
            Framing::Chunked => Inner::Chunked(Box::default()),
            Framing::UntilClose => Inner::UntilClose,
        })
    }

    /// Whether the whole body was read. One that ends with the connection never is.
    pub fn is_done(&self) -> bool {
        match &self.0 {
            Inner::Length(left) => *left == 0,
            Inner::Chunked(chunked) => chunked.is_done(),
            Inner::UntilClose => false,
        }
    }

    /// Whether it is right that the connection ends here.
    pub fn may_end(&self) -> bool {
        matches!(self.0, Inner::UntilClose) || self.is_done()
    }

    /// Bytes that are still to come, where that is known.
    pub fn left(&self) -> Option<u64> {
        match &self.0 {
            Inner::Length(left) => Some(*left),
            _ => None,
        }
    }

    /// Adds the data in `input` to `data`; how many bytes of `input` belong to this body.
    pub fn read(&mut self, input: &[u8], data: &mut Vec<u8>) -> Result<usize, Fault> {
        match &mut self.0 {
            Inner::Chunked(chunked) => chunked.read(input, data),
            Inner::UntilClose => {
                data.extend_from_slice(input);
                Ok(input.len())
            }
            Inner::Length(left) => {
                let length =
                    usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                data.extend_from_slice(&input[..length]);
                *left -= length as u64;
                Ok(length)
            }
        }
    }

    /// `length` bytes of a body of known length were read by other means.
    pub fn advance(&mut self, length: usize) {
        if let Inner::Length(left) = &mut self.0 {
            *left = left.saturating_sub(length as u64);
        }
    }
}
