//! Where a body ends (RFC 9112, section 6).

use crate::fields::{Fields, list, members};
use crate::{Fault, Version};

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After this many bytes; none at all is 0.
    Length(u64),
    /// After the last chunk.
    Chunked,
    /// With the connection; answers alone end so.
    UntilClose,
}

/// Of a request. What two readers could read in two ways is refused, not mended.
pub(crate) fn of_request(fields: Fields, version: Version) -> Result<Framing, Fault> {
    let length = length(fields)?;
    if fields.get("transfer-encoding").is_none() {
        return Ok(Framing::Length(length.unwrap_or(0)));
    }
    if version == Version::Http10 {
        return Err(Fault::CodingInHttp10);
    }
    chunked(fields)?;
    match length {
        Some(_) => Err(Fault::LengthAndCoding),
        None => Ok(Framing::Chunked),
    }
}

/// Of an answer that has a body.
pub(crate) fn of_response(fields: Fields) -> Result<Framing, Fault> {
    if fields.get("transfer-encoding").is_some() {
        return chunked(fields).map(|()| Framing::Chunked);
    }
    Ok(match length(fields)? {
        Some(length) => Framing::Length(length),
        None => Framing::UntilClose,
    })
}

/// `Content-Length`, which must be one number.
fn length(fields: Fields) -> Result<Option<u64>, Fault> {
    let mut values = fields.all("content-length");
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() || value.contains(&b',') {
        return Err(Fault::TwoLengths);
    }
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(value).ok().filter(|_| digits);
    // More than a signed number holds is an overflow in some reader behind this one.
    let number = number.and_then(|text| text.parse::<i64>().ok());
    let number = number.and_then(|number| u64::try_from(number).ok());
    number.map(Some).ok_or(Fault::Length)
}

/// `Transfer-Encoding`, which must be `chunked` alone.
fn chunked(fields: Fields) -> Result<(), Fault> {
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let codings = || fields.all("transfer-encoding").flat_map(list);
    let empty = (fields.all("transfer-encoding").flat_map(members)).any(|coding| coding.is_empty());
    let times = codings().filter(|coding| is_chunked(coding)).count();
    if empty || times != 1 || !codings().last().is_some_and(is_chunked) {
        return Err(Fault::Coding);
    }
    match codings().count() {
        1 => Ok(()),
        _ => Err(Fault::UnknownCoding),
    }
}
