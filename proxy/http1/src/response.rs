//! The head of an answer: status line and fields (RFC 9112, sections 4 and 5).

use http::StatusCode;

use crate::fields::{self, Field, Fields};
use crate::request::is_persistent;
use crate::{Fault, Framing, Limits, Version, framing};

/// A head that has been read.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    pub status: StatusCode,
    /// Where the body ends, if the request was not HEAD.
    pub framing: Framing,
    /// Whether the connection may be used again after this answer.
    pub persistent: bool,
    fields: Vec<Field>,
    length: usize,
}

impl ResponseHead {
    /// Reads the head at the beginning of `bytes`; `None` while it is not whole.
    pub fn read(bytes: &[u8], limits: &Limits) -> Result<Option<ResponseHead>, Fault> {
        let too_large = Fault::HeaderTooLarge {
            bytes: limits.bytes,
        };
        match memchr::memmem::find(bytes, b"\r\n\r\n") {
            Some(end) if end + 4 <= limits.bytes => read(&bytes[..end + 4], limits).map(Some),
            None if bytes.len() <= limits.bytes => Ok(None),
            _ => Err(too_large),
        }
    }

    /// Bytes of the head, its empty line included.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.length
    }

    /// The fields; `head` is what it was read from.
    pub fn fields<'b>(&'b self, head: &'b [u8]) -> Fields<'b> {
        Fields {
            head,
            lines: &self.fields,
        }
    }
}

fn read(head: &[u8], limits: &Limits) -> Result<ResponseHead, Fault> {
    let (range, next) = fields::line(head, 0)?;
    let (version, status) = status_line(&head[range])?;
    let lines = fields::read(head, next, limits)?;
    let fields = Fields {
        head,
        lines: &lines,
    };
    let bodiless = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let framing = match bodiless {
        true => Framing::Length(0),
        false => framing::of_response(fields)?,
    };
    Ok(ResponseHead {
        persistent: is_persistent(fields, version) && framing != Framing::UntilClose,
        status,
        framing,
        fields: lines,
        length: head.len(),
    })
}

fn status_line(line: &[u8]) -> Result<(Version, StatusCode), Fault> {
    let (version, rest) = match line {
        [
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            b'1',
            b'.',
            minor,
            b' ',
            rest @ ..,
        ] if minor.is_ascii_digit() => match minor {
            b'0' => (Version::Http10, rest),
            _ => (Version::Http11, rest),
        },
        _ => return Err(Fault::StatusLine),
    };
    let (status, reason) = rest.split_at_checked(3).ok_or(Fault::StatusLine)?;
    let spaced = reason.is_empty() || reason[0] == b' ';
    let status = StatusCode::from_bytes(status).map_err(|_| Fault::StatusLine)?;
    match spaced && status.as_u16() < 600 && fields::is_value(reason) {
        true => Ok((version, status)),
        false => Err(Fault::StatusLine),
    }
}
