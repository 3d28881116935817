//! What the headers of an asynchronous request ask for, within SageMaker's own limits.

use std::ops::RangeInclusive;

use axum::http::{HeaderMap, HeaderName};

use super::super::{INFERENCE_ID, Location, Refusal, text};
use super::failed;
use crate::id;

const INPUT_LOCATION: HeaderName = HeaderName::from_static("x-amzn-sagemaker-inputlocation");
const TTL: HeaderName = HeaderName::from_static("x-amzn-sagemaker-requestttlseconds");
const TIMEOUT: HeaderName = HeaderName::from_static("x-amzn-sagemaker-invocationtimeoutseconds");
const EXTENSION: HeaderName = HeaderName::from_static("x-amzn-sagemaker-s3outputpathextension");
const FILENAME: HeaderName = HeaderName::from_static("x-amzn-sagemaker-filename");

const TTL_SECONDS: RangeInclusive<u64> = 60..=21_600;
const TIMEOUT_SECONDS: RangeInclusive<u64> = 1..=3600;
const DEFAULT_TIMEOUT: u64 = 900;
const LONGEST_ID: usize = 64;
const LONGEST_EXTENSION: usize = 512;
const LONGEST_FILENAME: usize = 32;

#[derive(Debug, PartialEq)]
pub struct Asked {
    /// The `InferenceId`.
    pub name: String,
    pub input: Option<Location>,
    pub ttl_seconds: u64,
    pub timeout_seconds: u64,
    pub extension: Option<String>,
    pub filename: Option<String>,
}

impl Asked {
    pub fn read(headers: &HeaderMap, has_body: bool) -> Result<Asked, Refusal> {
        let input = text(headers, &INPUT_LOCATION)
            .map(Location::parse)
            .transpose();
        let input = input.map_err(|error| invalid("InputLocation", &error))?;
        match (&input, has_body) {
            (None, false) => return Err(invalid("InputLocation", &"there is none, and no Body")),
            (Some(_), true) => return Err(invalid("InputLocation", &"there is a Body as well")),
            (Some(input), false) if input.key.is_empty() => {
                return Err(invalid("InputLocation", &"it names no object"));
            }
            _ => {}
        }
        let ttl = number(headers, &TTL, "RequestTTLSeconds", TTL_SECONDS)?;
        let name = "InvocationTimeoutSeconds";
        let timeout = number(headers, &TIMEOUT, name, TIMEOUT_SECONDS)?;
        Ok(Asked {
            name: inference_id(headers)?,
            input,
            ttl_seconds: ttl.unwrap_or(*TTL_SECONDS.end()),
            timeout_seconds: timeout.unwrap_or(DEFAULT_TIMEOUT),
            extension: word(headers, &EXTENSION, "S3OutputPathExtension", is_extension)?,
            filename: word(headers, &FILENAME, "Filename", is_filename)?,
        })
    }
}

fn inference_id(headers: &HeaderMap) -> Result<String, Refusal> {
    match text(headers, &INFERENCE_ID) {
        Some(id) if (1..=LONGEST_ID).contains(&id.len()) => Ok(id.to_owned()),
        Some(_) => Err(invalid(
            "InferenceId",
            &format!("it has 1 to {LONGEST_ID} characters"),
        )),
        None => id::random().map_err(|error| failed(&error)),
    }
}

fn number(
    headers: &HeaderMap,
    header: &HeaderName,
    name: &str,
    range: RangeInclusive<u64>,
) -> Result<Option<u64>, Refusal> {
    let Some(asked) = text(headers, header) else {
        return Ok(None);
    };
    let found = asked.parse().ok().filter(|number| range.contains(number));
    let (least, most) = (range.start(), range.end());
    match found {
        Some(number) => Ok(Some(number)),
        None => Err(invalid(
            name,
            &format!("found {asked}, expected {least} to {most}"),
        )),
    }
}

fn word(
    headers: &HeaderMap,
    header: &HeaderName,
    name: &str,
    fits: fn(&str) -> bool,
) -> Result<Option<String>, Refusal> {
    match headers.get(header).map(|value| value.to_str()) {
        None => Ok(None),
        Some(Ok(word)) if fits(word) => Ok(Some(word.to_owned())),
        Some(_) => Err(invalid(name, &"it is not as botocore's model has it")),
    }
}

/// Names between slashes, none of which leads elsewhere.
fn is_extension(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!_.*'()/-".contains(&byte);
    (1..=LONGEST_EXTENSION).contains(&text.len())
        && text.bytes().all(is_plain)
        && !text.split('/').any(|name| name == "." || name == "..")
}

/// A name with at most one dot in it.
fn is_filename(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=LONGEST_FILENAME).contains(&text.len())
        && text.bytes().all(is_plain)
        && text.as_bytes()[0].is_ascii_alphanumeric()
        && text.matches('.').count() <= 1
}

fn invalid(name: &str, what: &impl std::fmt::Display) -> Refusal {
    Refusal::Validation(format!("{name}: {what}"))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn read(header: &HeaderName, value: &'static str) -> Option<Asked> {
        let mut headers = HeaderMap::new();
        headers.insert(header, HeaderValue::from_static(value));
        Asked::read(&headers, header != INPUT_LOCATION).ok()
    }

    #[test]
    fn times_are_within_sagemakers_limits() {
        let none = Asked::read(&HeaderMap::new(), true).expect("a request");
        assert_eq!((none.ttl_seconds, none.timeout_seconds), (21_600, 900));
        let ttl = |text| read(&TTL, text).map(|asked| asked.ttl_seconds);
        assert_eq!(
            (ttl("60"), ttl("59"), ttl("21601"), ttl("x")),
            (Some(60), None, None, None)
        );
        let timeout = |text| read(&TIMEOUT, text).map(|asked| asked.timeout_seconds);
        assert_eq!((timeout("3600"), timeout("0")), (Some(3600), None));
    }

    #[test]
    fn an_input_is_an_object_or_the_body() {
        let input = read(&INPUT_LOCATION, "s3://my-in/a.json").and_then(|asked| asked.input);
        assert_eq!(input, Location::parse("s3://my-in/a.json").ok());
        for wrong in ["s3://my-in", "https://my-in.s3.amazonaws.com/a", "x"] {
            assert_eq!(read(&INPUT_LOCATION, wrong), None, "{wrong}");
        }
        assert!(Asked::read(&HeaderMap::new(), false).is_err());
    }

    #[test]
    fn names_lead_nowhere_else() {
        for (text, fits) in [
            ("a/b-1", true),
            ("a//b", true),
            ("../x", false),
            ("a/..", false),
            ("a b", false),
        ] {
            assert_eq!(is_extension(text), fits, "{text}");
        }
        for (text, fits) in [
            ("a.json", true),
            ("a.b.c", false),
            (".a", false),
            ("a/b", false),
        ] {
            assert_eq!(is_filename(text), fits, "{text}");
        }
    }
}
