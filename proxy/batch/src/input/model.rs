//! The model that an input is for, as far as its first line tells. Lines may differ.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use serde::Deserialize;

use super::{Line, LineReader, RawLine};

/// A longer first line is not looked into.
const LONGEST_LINE: usize = 1 << 20;

/// The model that the first line names.
pub fn first_model(input: &Path) -> io::Result<Option<String>> {
    let mut reader = LineReader::new(BufReader::new(File::open(input)?), LONGEST_LINE);
    let Some(RawLine::Text { number, text }) = reader.read()? else {
        return Ok(None);
    };
    Ok(Line::parse(number, text).ok().and_then(|line| named(&line)))
}

fn named(line: &Line) -> Option<String> {
    #[derive(Deserialize)]
    struct Body {
        model: String,
    }
    let body: Option<Body> = serde_json::from_slice(&line.body).ok();
    body.map(|body| body.model)
}
