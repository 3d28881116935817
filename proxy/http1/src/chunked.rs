//! The chunked transfer coding (RFC 9112, section 7.1), read byte by byte where it is control and
//! copied where it is data.

use std::io::Write;

use crate::Fault;
use crate::fields::{self, is_token_byte};

/// Bytes of all extensions of a body together; they carry nothing that is used.
const EXTENSION_BYTES: usize = 4096;

/// Bytes of all trailer fields together; they are checked and left out.
const TRAILER_BYTES: usize = 8192;

/// More digits are more bytes than there are.
const SIZE_DIGITS: u8 = 15;

#[derive(Clone, Debug)]
pub(crate) struct Chunked {
    state: State,
    size: u64,
    digits: u8,
    extension_bytes: usize,
    trailer: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Extension(Extension),
    /// The line feed behind a chunk's size.
    SizeEnd,
    Data,
    DataEnd,
    DataLineFeed,
    Trailer,
    Done,
}

/// `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extension {
    BeforeSemicolon,
    BeforeName,
    Name,
    AfterName,
    BeforeValue,
    Value,
    Quoted,
    Escaped,
    AfterValue,
}

impl Default for Chunked {
    fn default() -> Self {
        Chunked {
            state: State::Size,
            size: 0,
            digits: 0,
            extension_bytes: 0,
            trailer: Vec::new(),
        }
    }
}

impl Chunked {
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Adds the data in `input` to `data`; how many bytes of `input` belong to this body.
    pub(crate) fn read(&mut self, input: &[u8], data: &mut Vec<u8>) -> Result<usize, Fault> {
        let mut at = 0;
        while at < input.len() && !self.is_done() {
            if self.state == State::Data {
                let rest = &input[at..];
                let length =
                    usize::try_from(self.size).map_or(rest.len(), |size| size.min(rest.len()));
                data.extend_from_slice(&rest[..length]);
                self.size -= length as u64;
                at += length;
                if self.size == 0 {
                    self.state = State::DataEnd;
                }
            } else {
                self.state = self.step(input[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<State, Fault> {
        match (self.state, byte) {
            (State::Size, byte) => self.size_byte(byte),
            (State::Extension(extension), byte) => self.extension_byte(extension, byte),
            (State::SizeEnd, b'\n') => Ok(self.begin_chunk()),
            (State::SizeEnd, _) => Err(Fault::ChunkSize),
            (State::DataEnd, b'\r') => Ok(State::DataLineFeed),
            (State::DataLineFeed, b'\n') => {
                (self.size, self.digits) = (0, 0);
                Ok(State::Size)
            }
            (State::DataEnd | State::DataLineFeed, _) => Err(Fault::ChunkEnd),
            (State::Trailer, byte) => self.trailer_byte(byte),
            (State::Data | State::Done, _) => Ok(self.state),
        }
    }

    fn size_byte(&mut self, byte: u8) -> Result<State, Fault> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            self.digits += 1;
            self.size = self.size << 4 | u64::from(digit);
            return match self.digits {
                ..=SIZE_DIGITS => Ok(State::Size),
                _ => Err(Fault::ChunkSize),
            };
        }
        match byte {
            _ if self.digits == 0 => Err(Fault::ChunkSize),
            b'\r' => Ok(State::SizeEnd),
            b';' | b' ' | b'\t' => self.extension_byte(Extension::BeforeSemicolon, byte),
            _ => Err(Fault::ChunkSize),
        }
    }

    fn extension_byte(&mut self, at: Extension, byte: u8) -> Result<State, Fault> {
        use Extension::*;
        self.extension_bytes += 1;
        if self.extension_bytes > EXTENSION_BYTES {
            return Err(Fault::ChunkExtension);
        }
        let next = match (at, byte) {
            (Name | AfterName | Value | AfterValue, b'\r') => return Ok(State::SizeEnd),
            (BeforeSemicolon | Name | AfterName | Value | AfterValue, b';') => BeforeName,
            (BeforeSemicolon | BeforeName | AfterName | BeforeValue | AfterValue, b' ' | b'\t') => {
                at
            }
            (Name, b' ' | b'\t') => AfterName,
            (Value, b' ' | b'\t') => AfterValue,
            (Name | AfterName, b'=') => BeforeValue,
            (BeforeValue, b'"') => Quoted,
            (Quoted, b'"') => AfterValue,
            (Quoted, b'\\') => Escaped,
            (Quoted, b'\t' | b' '..=b'~' | 0x80..) | (Escaped, b'\t' | b' '..=b'~' | 0x80..) => {
                Quoted
            }
            (BeforeName | Name, byte) if is_token_byte(byte) => Name,
            (BeforeValue | Value, byte) if is_token_byte(byte) => Value,
            _ => return Err(Fault::ChunkExtension),
        };
        Ok(State::Extension(next))
    }

    fn begin_chunk(&self) -> State {
        match self.size {
            0 => State::Trailer,
            _ => State::Data,
        }
    }

    /// Collects a line of the trailer; an empty one ends the body.
    fn trailer_byte(&mut self, byte: u8) -> Result<State, Fault> {
        self.extension_bytes += 1;
        if self.extension_bytes > EXTENSION_BYTES + TRAILER_BYTES {
            return Err(Fault::Trailer);
        }
        self.trailer.push(byte);
        if byte != b'\n' {
            return Ok(State::Trailer);
        }
        let (line, _) = fields::line(&self.trailer, 0).map_err(|_| Fault::Trailer)?;
        if line.is_empty() {
            return Ok(State::Done);
        }
        fields::field(&self.trailer, line).map_err(|_| Fault::Trailer)?;
        self.trailer.clear();
        Ok(State::Trailer)
    }
}

/// Adds `data` as one chunk; the last chunk of a body is the one without data.
pub fn write_chunk(data: &[u8], out: &mut Vec<u8>) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{:x}\r\n", data.len());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}
