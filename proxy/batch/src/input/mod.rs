//! Input files: one request in each line, in the format of OpenAI's batches.
//!
//! The whole file is checked before any line is sent, and refused with the numbers of its first bad
//! lines. If a worker refuses a line later, that is the answer to the line, not a bad file.

mod check;
mod endpoint;
mod model;
mod reader;

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

pub use check::{BadFile, Checked, check};
pub use endpoint::{Endpoint, NoEndpoint};
pub use model::first_model;
pub use reader::{LineReader, RawLine};

/// What a file may hold.
#[derive(Clone, Copy, Debug)]
pub struct FileLimits {
    pub lines: u32,
    pub line_bytes: usize,
}

/// One request of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Its place in the file, from 1.
    pub number: u32,
    pub custom_id: String,
    pub endpoint: Endpoint,
    /// JSON, byte for byte as the file has it.
    pub body: Bytes,
}

/// A line as it is written; other keys are ignored.
#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    custom_id: Cow<'a, str>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    url: Cow<'a, str>,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// Clients look answers up by it; nobody means more than this.
const LONGEST_CUSTOM_ID: usize = 512;

impl Line {
    /// Reads one line, or says what is wrong with it.
    pub fn parse(number: u32, text: &[u8]) -> Result<Line, String> {
        let text = std::str::from_utf8(text).map_err(|_| "is not UTF-8".to_owned())?;
        let written: Written = serde_json::from_str(text).map_err(|error| why(&error))?;
        if written.custom_id.is_empty() || written.custom_id.len() > LONGEST_CUSTOM_ID {
            return Err(format!(
                "custom_id: expected 1 to {LONGEST_CUSTOM_ID} bytes"
            ));
        }
        if written.method != "POST" {
            return Err(format!(
                "method: found {:?}, expected \"POST\"",
                written.method
            ));
        }
        let endpoint = written
            .url
            .parse()
            .map_err(|error| format!("url: {error}"))?;
        let body = written.body.get();
        if !body.starts_with('{') {
            return Err("body: expected a JSON object".to_owned());
        }
        Ok(Line {
            number,
            custom_id: written.custom_id.into_owned(),
            endpoint,
            body: Bytes::copy_from_slice(body.as_bytes()),
        })
    }
}

/// A JSON error without its place, which is always line 1 of the line.
fn why(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    match error.is_data() {
        true => text.to_owned(),
        false => format!("is not JSON: {text} (column {})", error.column()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_stays_as_it_was_written() {
        let text = br#"{"custom_id": "a\u00e9", "method": "POST", "url": "/v1/embeddings", "body": {"z": 1.10, "a":  12345678901234567890123}, "extra": 1}"#;
        let line = Line::parse(7, text).expect("valid");
        assert_eq!(line.custom_id, "aé");
        assert_eq!(
            &line.body[..],
            br#"{"z": 1.10, "a":  12345678901234567890123}"#
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let with = |custom_id: &str, method: &str, url: &str, body: &str| {
            let text = format!(
                r#"{{"custom_id": "{custom_id}", "method": "{method}", "url": "{url}", "body": {body}}}"#
            );
            Line::parse(1, text.as_bytes()).expect_err("invalid")
        };
        for (found, said) in [
            (
                with("", "POST", "/v1/rerank", "{}"),
                "custom_id: expected 1 to 512 bytes",
            ),
            (
                with("a", "GET", "/v1/rerank", "{}"),
                "method: found \"GET\", expected \"POST\"",
            ),
            (
                with("a", "POST", "/v1/embedings", "{}"),
                "url: found \"/v1/embedings\", expected one of /v1/chat/completions, \
                 /v1/completions, /v1/embeddings, /v1/rerank",
            ),
            (
                with("a", "POST", "/v1/rerank", "[1]"),
                "body: expected a JSON object",
            ),
            (
                Line::parse(1, b"{\"custom_id\": 1}").expect_err("invalid"),
                "invalid type: integer `1`, expected a string",
            ),
            (
                Line::parse(1, b"{\"custom_id\": ").expect_err("invalid"),
                "is not JSON: EOF while parsing a value (column 14)",
            ),
            (
                Line::parse(1, b"{\"custom_id\": \"a\"}").expect_err("invalid"),
                "missing field `method`",
            ),
            (
                Line::parse(1, b"\xff").expect_err("invalid"),
                "is not UTF-8",
            ),
        ] {
            assert_eq!(found, said);
        }
    }
}
