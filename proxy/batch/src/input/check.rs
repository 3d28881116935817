//! Checks an input file: every line well formed, no custom_id twice, one endpoint.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead};

use super::{Endpoint, FileLimits, Line, LineReader, RawLine};

/// So many bad lines are named; the rest are counted.
const NAMED: usize = 10;

/// What is known of a good file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Checked {
    pub lines: u32,
    pub endpoint: Endpoint,
}

/// What is wrong with one line.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub line: u32,
    pub what: String,
}

/// Why a file is refused.
#[derive(Clone, Debug, PartialEq)]
pub enum BadFile {
    Empty,
    TooManyLines {
        most: u32,
    },
    /// The first of the bad lines, and how many there are.
    Lines {
        first: Vec<Fault>,
        total: u64,
    },
}

/// Reads a file to its end.
///
/// # Errors
/// The outer one when it cannot be read, the inner one when it is bad.
pub fn check(input: impl BufRead, limits: FileLimits) -> io::Result<Result<Checked, BadFile>> {
    let mut reader = LineReader::new(input, limits.line_bytes);
    let mut checker = Checker::default();
    while let Some(line) = reader.read()? {
        checker.count += 1;
        if checker.count > limits.lines {
            return Ok(Err(BadFile::TooManyLines { most: limits.lines }));
        }
        match line {
            RawLine::Text { number, text } => checker.take(number, text),
            RawLine::TooLong { number } => {
                checker.fault(number, format!("has more than {} bytes", limits.line_bytes));
            }
        }
    }
    Ok(checker.verdict())
}

#[derive(Default)]
struct Checker {
    count: u32,
    /// The first line's number and endpoint; all others are to have the same.
    endpoint: Option<(u32, Endpoint)>,
    /// Lines by a hash of their custom_id, keyed by chance so that nobody can aim at a clash.
    seen: HashMap<u64, u32>,
    hasher: RandomState,
    first: Vec<Fault>,
    total: u64,
}

impl Checker {
    fn take(&mut self, number: u32, text: &[u8]) {
        let line = match Line::parse(number, text) {
            Ok(line) => line,
            Err(what) => return self.fault(number, what),
        };
        match self.seen.entry(self.hasher.hash_one(&line.custom_id)) {
            Entry::Occupied(other) => {
                let other = other.get();
                let what = format!("custom_id {:?} is that of line {other}", line.custom_id);
                return self.fault(number, what);
            }
            Entry::Vacant(place) => {
                place.insert(number);
            }
        }
        match self.endpoint {
            None => self.endpoint = Some((number, line.endpoint)),
            Some((first, endpoint)) if endpoint != line.endpoint => {
                let found = line.endpoint;
                let what = format!("url: found {found}, expected {endpoint} as in line {first}");
                self.fault(number, what);
            }
            Some(_) => {}
        }
    }

    fn fault(&mut self, line: u32, what: String) {
        self.total += 1;
        if self.first.len() < NAMED {
            self.first.push(Fault { line, what });
        }
    }

    fn verdict(self) -> Result<Checked, BadFile> {
        if self.total > 0 {
            return Err(BadFile::Lines {
                first: self.first,
                total: self.total,
            });
        }
        match self.endpoint {
            Some((_, endpoint)) => Ok(Checked {
                lines: self.count,
                endpoint,
            }),
            None => Err(BadFile::Empty),
        }
    }
}

impl fmt::Display for BadFile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadFile::Empty => out.write_str("the file has no lines"),
            BadFile::TooManyLines { most } => {
                write!(out, "the file has more than {most} lines")
            }
            BadFile::Lines { first, total } => {
                let lines = if *total == 1 { "line is" } else { "lines are" };
                write!(out, "{total} {lines} bad")?;
                for Fault { line, what } in first {
                    write!(out, "; line {line}: {what}")?;
                }
                match *total > first.len() as u64 {
                    true => write!(out, "; and so on"),
                    false => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: FileLimits = FileLimits {
        lines: 20,
        line_bytes: 200,
    };

    fn line(id: &str, url: &str) -> String {
        format!("{{\"custom_id\":\"{id}\",\"method\":\"POST\",\"url\":\"{url}\",\"body\":{{}}}}\n")
    }

    fn verdict(text: &str) -> Result<Checked, BadFile> {
        check(text.as_bytes(), LIMITS).expect("it is in memory")
    }

    #[test]
    fn a_good_file_says_what_it_asks() {
        let text: String = (0..20)
            .map(|n| line(&n.to_string(), "/v1/embeddings"))
            .collect();
        let checked = verdict(&text).expect("good");
        assert_eq!(
            (checked.lines, checked.endpoint),
            (20, Endpoint::Embeddings)
        );
        let more = text + &line("20", "/v1/embeddings");
        assert_eq!(verdict(&more), Err(BadFile::TooManyLines { most: 20 }));
        assert_eq!(verdict("\n\n"), Err(BadFile::Empty));
    }

    #[test]
    fn the_first_ten_bad_lines_are_named() {
        let good = line("a", "/v1/embeddings");
        let text = format!(
            "{good}{good}{}{}\n{}",
            line("b", "/v1/rerank"),
            "x".repeat(201),
            "nonsense\n".repeat(10)
        );
        let bad = verdict(&text).expect_err("bad");
        let said = bad.to_string();
        let begin = "13 lines are bad; line 2: custom_id \"a\" is that of line 1; line 3: url: found \
                     /v1/rerank, expected /v1/embeddings as in line 1; line 4: has more than 200 \
                     bytes; line 5: is not JSON: expected ident (column 2)";
        assert!(said.starts_with(begin), "{said}");
        assert!(
            said.ends_with("; line 11: is not JSON: expected ident (column 2); and so on"),
            "{said}"
        );
    }
}
