//! Header fields: their grammar (RFC 9110, section 5; RFC 9112, section 5) and looking them up.

use std::ops::Range;

use crate::{Fault, Limits};

/// One field as ranges of the head: a name, and a value without white space around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    name: (u32, u32),
    value: (u32, u32),
}

/// The fields of a head together with the bytes that they are ranges of.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'b> {
    pub(crate) head: &'b [u8],
    pub(crate) lines: &'b [Field],
}

impl<'b> Fields<'b> {
    /// All of them, in their order: name and value.
    pub fn iter(self) -> impl Iterator<Item = (&'b [u8], &'b [u8])> {
        (self.lines.iter()).map(move |line| (line.name_in(self.head), line.value_in(self.head)))
    }

    /// The values of a field; `name` is in lower case.
    pub fn all(self, name: &'static str) -> impl Iterator<Item = &'b [u8]> {
        self.iter()
            .filter(move |(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// The first value of a field; `name` is in lower case.
    pub fn get(self, name: &'static str) -> Option<&'b [u8]> {
        self.all(name).next()
    }

    /// Whether `Connection` names a field, which then ends at this hop (RFC 9110, section 7.6.1).
    pub fn is_of_this_hop(self, name: &[u8]) -> bool {
        self.all("connection")
            .flat_map(list)
            .any(|named| named.eq_ignore_ascii_case(name))
    }
}

impl Field {
    fn name_in(self, head: &[u8]) -> &[u8] {
        part(head, self.name)
    }

    fn value_in(self, head: &[u8]) -> &[u8] {
        part(head, self.value)
    }
}

fn part(head: &[u8], (begin, end): (u32, u32)) -> &[u8] {
    head.get(begin as usize..end as usize).unwrap_or_default()
}

/// The members of a list, without those that are empty.
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    members(value).filter(|member| !member.is_empty())
}

/// The members of a list as they are written.
pub(crate) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim)
}

/// Without spaces and tabs around it, which is all the white space that a field may have.
pub(crate) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Whether these bytes are a token (RFC 9110, section 5.6.2).
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

pub(crate) fn is_token_byte(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// Whether these bytes may stand in a value (RFC 9110, section 5.5).
pub(crate) fn is_value(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| VALUE[usize::from(*byte)])
}

static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        table[at] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        at += 1;
    }
    table
};

static VALUE: [bool; 256] = {
    let mut table = [false; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        table[at] = matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        at += 1;
    }
    table
};

/// The line that begins at `from`, without its end, and where the next one begins.
pub(crate) fn line(head: &[u8], from: usize) -> Result<(Range<usize>, usize), Fault> {
    let rest = head.get(from..).unwrap_or_default();
    let feed = from + memchr::memchr(b'\n', rest).ok_or(Fault::LineEnd)?;
    match feed.checked_sub(1).filter(|end| *end >= from) {
        Some(end) if head[end] == b'\r' => Ok((from..end, feed + 1)),
        _ => Err(Fault::LineEnd),
    }
}

/// Reads the fields from `from` to the empty line. The head is whole.
pub(crate) fn read(head: &[u8], mut from: usize, limits: &Limits) -> Result<Vec<Field>, Fault> {
    let mut fields = Vec::with_capacity(16);
    loop {
        let (range, next) = line(head, from)?;
        if range.is_empty() {
            return Ok(fields);
        }
        if fields.len() == limits.fields {
            return Err(Fault::TooManyFields {
                fields: limits.fields,
            });
        }
        fields.push(field(head, range)?);
        from = next;
    }
}

/// Reads one line of a field.
pub(crate) fn field(head: &[u8], range: Range<usize>) -> Result<Field, Fault> {
    let bytes = &head[range.clone()];
    if matches!(bytes.first(), Some(b' ' | b'\t')) {
        return Err(Fault::Folded);
    }
    let colon = memchr::memchr(b':', bytes).ok_or(Fault::FieldName)?;
    let (name, value) = (&bytes[..colon], &bytes[colon + 1..]);
    if matches!(name.last(), Some(b' ' | b'\t')) {
        return Err(Fault::SpaceBeforeColon);
    }
    if !is_token(name) {
        return Err(Fault::FieldName);
    }
    if !is_value(value) {
        return Err(Fault::FieldValue);
    }
    let begin = value.iter().take_while(|byte| matches!(byte, b' ' | b'\t'));
    let begin = range.start + colon + 1 + begin.count();
    let end = begin + trim(value).len();
    let place = |begin: usize, end: usize| (begin as u32, end as u32);
    Ok(Field {
        name: place(range.start, range.start + colon),
        value: place(begin, end),
    })
}
