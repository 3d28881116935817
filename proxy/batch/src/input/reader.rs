//! Reads a file line by line; no line takes more memory than a limit.

use std::io::{self, BufRead};

/// A line with its number, from 1. Lines of nothing but white space are passed over.
pub enum RawLine<'a> {
    Text { number: u32, text: &'a [u8] },
    TooLong { number: u32 },
}

pub struct LineReader<R> {
    input: R,
    most: usize,
    number: u32,
    text: Vec<u8>,
}

impl<R: BufRead> LineReader<R> {
    /// Lines of at most `most` bytes, their ends not counted.
    pub fn new(input: R, most: usize) -> Self {
        LineReader {
            input,
            most,
            number: 0,
            text: Vec::new(),
        }
    }

    /// The next line; `None` at the end.
    pub fn read(&mut self) -> io::Result<Option<RawLine<'_>>> {
        loop {
            self.text.clear();
            let length = self.read_one()?;
            if length == 0 {
                return Ok(None);
            }
            let number = self.number;
            if length > self.most + 1 {
                return Ok(Some(RawLine::TooLong { number }));
            }
            if !self.text.trim_ascii().is_empty() {
                break;
            }
        }
        Ok(Some(RawLine::Text {
            number: self.number,
            text: self.text.trim_ascii(),
        }))
    }

    /// Reads to the end of a line and gives its length with that; keeps no more than the limit.
    fn read_one(&mut self) -> io::Result<usize> {
        let mut length = 0;
        loop {
            let piece = self.input.fill_buf()?;
            if piece.is_empty() {
                break;
            }
            let end = piece.iter().position(|byte| *byte == b'\n');
            let used = end.map_or(piece.len(), |end| end + 1);
            let room = (self.most + 1).saturating_sub(self.text.len());
            self.text.extend_from_slice(&piece[..used.min(room)]);
            self.input.consume(used);
            length += used;
            if end.is_some() {
                break;
            }
        }
        if length > 0 {
            self.number = self.number.saturating_add(1);
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(u32, Option<String>)> {
        let mut reader = LineReader::new(io::BufReader::with_capacity(3, text.as_bytes()), 5);
        let mut found = Vec::new();
        while let Some(line) = reader.read().expect("it is in memory") {
            found.push(match line {
                RawLine::Text { number, text } => {
                    (number, Some(String::from_utf8_lossy(text).into_owned()))
                }
                RawLine::TooLong { number } => (number, None),
            });
        }
        found
    }

    #[test]
    fn lines_keep_their_numbers() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            read("a\n\n b \r\nlong line\n12345\nend"),
            [
                (1, some("a")),
                (3, some("b")),
                (4, None),
                (5, some("12345")),
                (6, some("end")),
            ]
        );
        assert_eq!(read(""), []);
        assert_eq!(read("\n \n"), []);
    }
}
