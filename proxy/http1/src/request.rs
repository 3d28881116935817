//! The head of a request: request line and fields (RFC 9112, sections 3 and 5).

use std::ops::Range;

use http::Method;

use crate::fields::{self, Field, Fields, list};
use crate::host::is_authority;
use crate::target::{self, Target};
use crate::{Fault, Framing, Limits, Version, framing};

/// Longer than any method that is known.
const METHOD_BYTES: usize = 32;

/// Finds the end of a head in bytes that come piece by piece, and reads it once it is whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestReader {
    /// Up to here there is no end of the head.
    seen: usize,
    /// Whether the request line was looked at.
    line_seen: bool,
}

/// A head that has been read.
#[derive(Clone, Debug)]
pub struct RequestHead {
    pub method: Method,
    pub version: Version,
    pub target: Target,
    /// Where the body ends.
    pub framing: Framing,
    /// Whether the client would send another request on this connection.
    pub persistent: bool,
    pub expectation: Expectation,
    fields: Vec<Field>,
    length: usize,
}

/// What a client waits for before it sends the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    None,
    Continue,
}

impl RequestReader {
    /// Reads the head at the beginning of `bytes`, which grow from call to call. `None` while it
    /// is not whole; a fault may be found before.
    pub fn read(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<RequestHead>, Fault> {
        let begin = skip_empty_lines(bytes);
        let Some(end) = end_of_head(bytes, self.seen.max(begin)) else {
            self.seen = bytes.len().saturating_sub(3).max(begin);
            return self.check_early(bytes, begin, limits).map(|()| None);
        };
        if end > limits.bytes {
            return Err(too_large(&bytes[begin..], limits));
        }
        RequestHead::read(&bytes[..end], begin, limits).map(Some)
    }

    /// What can be said of a head that is not whole: a client that speaks something else is not
    /// waited for.
    fn check_early(&mut self, bytes: &[u8], begin: usize, limits: &Limits) -> Result<(), Fault> {
        if bytes.len() > limits.bytes {
            return Err(too_large(&bytes[begin..], limits));
        }
        let rest = &bytes[begin..];
        if (rest.first()).is_some_and(|byte| *byte != b'\r' && !fields::is_token_byte(*byte)) {
            return Err(Fault::RequestLine);
        }
        if !self.line_seen && memchr::memchr(b'\n', rest).is_some() {
            self.line_seen = true;
            request_line(bytes, begin)?;
        }
        Ok(())
    }
}

/// The path that a head seems to ask for, however wrong the head is; empty where there is none. It decides about
/// nothing but the shape of an error.
pub fn asked_path(bytes: &[u8]) -> &str {
    let rest = &bytes[skip_empty_lines(bytes)..];
    let line = rest.split(|byte| matches!(byte, b'\r' | b'\n')).next();
    let mut words = line
        .unwrap_or_default()
        .split(|byte| *byte == b' ')
        .filter(|word| !word.is_empty());
    let target = words.nth(1).unwrap_or_default();
    let target = match std::str::from_utf8(target) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&target[..error.valid_up_to()]).unwrap_or_default(),
    };
    let path = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.find('/').map_or("", |at| &rest[at..])
        }
        _ => target,
    };
    path.split(['?', '#']).next().unwrap_or_default()
}

impl RequestHead {
    /// Reads a whole head that begins at `begin` and ends with the last of the bytes.
    fn read(head: &[u8], begin: usize, limits: &Limits) -> Result<RequestHead, Fault> {
        let (line, fields_at) = request_line(head, begin)?;
        let lines = fields::read(head, fields_at, limits)?;
        let fields = Fields {
            head,
            lines: &lines,
        };
        check_host(fields, line.version)?;
        Ok(RequestHead {
            framing: framing::of_request(fields, line.version)?,
            persistent: is_persistent(fields, line.version),
            expectation: expectation(fields, line.version)?,
            method: line.method,
            version: line.version,
            target: line.target,
            fields: lines,
            length: head.len(),
        })
    }

    /// Bytes of the head, empty lines before and after it included.
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

    /// The path as it was sent, without query; `*` for the server as a whole.
    pub fn path<'b>(&self, head: &'b [u8]) -> &'b str {
        let bytes = match &self.target {
            Target::Path(Some(range)) => head.get(range.clone()).unwrap_or_default(),
            Target::Path(None) => b"/",
            Target::Server => b"*",
        };
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// Path and query as they were sent; `*` for the server as a whole.
    pub fn path_and_query<'b>(&self, head: &'b [u8]) -> &'b str {
        let Target::Path(Some(path)) = &self.target else {
            return self.path(head);
        };
        let rest = head.get(path.start..).unwrap_or_default();
        let length = memchr::memchr(b' ', rest).unwrap_or(path.len());
        std::str::from_utf8(&rest[..length]).unwrap_or_default()
    }
}

struct RequestLine {
    method: Method,
    target: Target,
    version: Version,
}

/// Empty lines before a request are left out (RFC 9112, section 2.2).
fn skip_empty_lines(bytes: &[u8]) -> usize {
    let mut at = 0;
    while bytes[at..].starts_with(b"\r\n") {
        at += 2;
    }
    at
}

/// The place behind the empty line; ends that are not CR LF count, to be refused.
fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    memchr::memchr_iter(b'\n', rest).find_map(|feed| match &rest[feed + 1..] {
        [b'\n', ..] => Some(from + feed + 2),
        [b'\r', b'\n', ..] => Some(from + feed + 3),
        _ => None,
    })
}

fn too_large(head: &[u8], limits: &Limits) -> Fault {
    let line = &head[..head.len().min(limits.bytes)];
    match memchr::memchr(b'\n', line) {
        Some(_) => Fault::HeaderTooLarge {
            bytes: limits.bytes,
        },
        None => Fault::TargetTooLong,
    }
}

/// The request line, and where the fields begin.
fn request_line(head: &[u8], begin: usize) -> Result<(RequestLine, usize), Fault> {
    let (range, next) = fields::line(head, begin)?;
    let line = &head[range.clone()];
    let first = memchr::memchr(b' ', line).ok_or(Fault::RequestLine)?;
    let last = memchr::memrchr(b' ', line).filter(|last| *last > first);
    let last = last.ok_or(Fault::RequestLine)?;
    if memchr::memchr(b' ', &line[first + 1..last]).is_some() {
        return Err(Fault::RequestLine);
    }
    let version = version(&line[last + 1..])?;
    let method = method(&line[..first])?;
    let target: Range<usize> = begin + first + 1..begin + last;
    Ok((
        RequestLine {
            target: target::read(head, target, &method)?,
            method,
            version,
        },
        next,
    ))
}

/// `CONNECT` is known to all and implemented by proxies of another kind.
fn method(bytes: &[u8]) -> Result<Method, Fault> {
    if !fields::is_token(bytes) {
        return Err(Fault::RequestLine);
    }
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::OPTIONS,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
        Method::TRACE,
    ];
    let short = bytes.len() <= METHOD_BYTES;
    let method = Method::from_bytes(bytes).ok().filter(|_| short);
    (method.filter(|method| known.contains(method))).ok_or(Fault::UnknownMethod)
}

fn version(bytes: &[u8]) -> Result<Version, Fault> {
    match bytes {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            match major {
                b'1' => Ok(Version::Http11),
                _ => Err(Fault::Version),
            }
        }
        _ => Err(Fault::VersionSyntax),
    }
}

/// One `Host` that names a host; older requests may have none (RFC 9112, section 3.2).
fn check_host(fields: Fields, version: Version) -> Result<(), Fault> {
    let mut hosts = fields.all("host");
    match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::Http10 => Ok(()),
        (None, _) => Err(Fault::NoHost),
        (Some(_), Some(_)) => Err(Fault::TwoHosts),
        (Some(host), None) if is_authority(host) => Ok(()),
        (Some(_), None) => Err(Fault::Host),
    }
}

/// RFC 9112, section 9.3; `close` goes before all else.
pub(crate) fn is_persistent(fields: Fields, version: Version) -> bool {
    let names = |option: &'static str| {
        let mut options = fields.all("connection").flat_map(list);
        options.any(|found| found.eq_ignore_ascii_case(option.as_bytes()))
    };
    !names("close") && (version == Version::Http11 || names("keep-alive"))
}

/// An older client's expectation is left out (RFC 9110, section 10.1.1).
fn expectation(fields: Fields, version: Version) -> Result<Expectation, Fault> {
    let mut expected = fields.all("expect").flat_map(list).peekable();
    if version == Version::Http10 || expected.peek().is_none() {
        return Ok(Expectation::None);
    }
    match expected.all(|one| one.eq_ignore_ascii_case(b"100-continue")) {
        true => Ok(Expectation::Continue),
        false => Err(Fault::Expectation),
    }
}
