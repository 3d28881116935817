//! The parts of a batch: ranges of its input's lines, and the answers to one as an object.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use super::VERSION;
use crate::journal::Counts;
use crate::work::Order;

/// A range of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Lines of the input ahead of it.
    pub before: u32,
    /// Its first byte.
    pub offset: u64,
    pub bytes: u64,
}

/// Cuts an input after so many lines or bytes, whichever comes first, and at ends of lines alone.
pub fn split(mut input: impl BufRead, lines: u32, bytes: u64) -> io::Result<Vec<Part>> {
    let mut parts = Vec::new();
    let mut part = Part {
        before: 0,
        offset: 0,
        bytes: 0,
    };
    let mut count = 0;
    loop {
        let length = skip_line(&mut input)?;
        let is_end = length == 0;
        if part.bytes > 0 && (is_end || count == lines || part.bytes + length > bytes) {
            parts.push(part);
            part = Part {
                before: part.before + count,
                offset: part.offset + part.bytes,
                bytes: 0,
            };
            count = 0;
        }
        if is_end {
            return Ok(parts);
        }
        part.bytes += length;
        count += 1;
    }
}

/// The bytes of the next line with its end; none at the end.
fn skip_line(input: &mut impl BufRead) -> io::Result<u64> {
    let mut length = 0;
    loop {
        let piece = input.fill_buf()?;
        let end = piece.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(piece.len(), |end| end + 1);
        input.consume(used);
        length += used as u64;
        if end.is_some() || used == 0 {
            return Ok(length);
        }
    }
}

/// The first line of a part's answers: how it came to its end. Then a line for each answer: `o` or `e`, a
/// space, and the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub version: u32,
    pub ending: Ending,
    /// How many answers follow. Versions before this did not say.
    #[serde(default)]
    pub answers: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    Completed,
    Expired,
    Cancelled,
}

impl From<Order> for Ending {
    fn from(order: Order) -> Ending {
        match order {
            Order::Cancel => Ending::Cancelled,
            Order::Expire => Ending::Expired,
            Order::Work | Order::Pause => Ending::Completed,
        }
    }
}

impl Head {
    pub fn write(ending: Ending, counts: Counts, out: &mut impl Write) -> io::Result<()> {
        let head = Head {
            version: VERSION,
            ending,
            answers: Some(counts.output + counts.error),
        };
        serde_json::to_writer(&mut *out, &head)?;
        out.write_all(b"\n")
    }
}

/// The key under which a part's counts are: nothing has to be read to know them.
pub fn counts_key(part: u32, counts: Counts) -> String {
    format!("{part:05}.{}.{}", counts.output, counts.error)
}

/// What such a key says.
pub fn read_counts(key: &str) -> Option<(u32, Counts)> {
    let mut numbers = key.split('.').map(|number| number.parse::<u32>().ok());
    let mut number = || numbers.next().flatten();
    let part = number()?;
    let counts = Counts {
        output: number()?,
        error: number()?,
    };
    Some((part, counts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str, lines: u32, bytes: u64) -> Vec<(u32, u64, u64)> {
        let input = io::BufReader::with_capacity(3, text.as_bytes());
        let parts = split(input, lines, bytes).expect("it is in memory");
        (parts.iter())
            .map(|part| (part.before, part.offset, part.bytes))
            .collect()
    }

    #[test]
    fn every_byte_is_in_one_part_and_no_line_in_two() {
        assert_eq!(parts("", 2, 100), []);
        assert_eq!(parts("a\nb\nc\n", 2, 100), [(0, 0, 4), (2, 4, 2)]);
        assert_eq!(parts("a\nb\nc", 3, 100), [(0, 0, 5)]);
        assert_eq!(parts("\n\nc\nd", 2, 100), [(0, 0, 2), (2, 2, 3)]);
        assert_eq!(
            parts("a\nlong line\nc\nd\n", 9, 4),
            [(0, 0, 2), (1, 2, 10), (2, 12, 4)]
        );
    }

    #[test]
    fn counts_are_in_the_name() {
        let counts = Counts {
            output: 499,
            error: 1,
        };
        assert_eq!(counts_key(7, counts), "00007.499.1");
        assert_eq!(read_counts("00007.499.1"), Some((7, counts)));
        assert_eq!(read_counts("00007.x.1"), None);
    }
}
