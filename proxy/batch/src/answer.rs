//! The answer to one line: a line of an output or an error file, as OpenAI's batches have them.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::input::Line;

/// The code of a line that asks for an answer in pieces.
pub const STREAMED: &str = "stream_not_supported";

/// In which file a line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It was answered with 2xx.
    Output,
    /// It was refused, or never answered.
    Error,
}

impl Kind {
    /// As journals and parts have it.
    pub fn letter(self) -> u8 {
        match self {
            Kind::Output => b'o',
            Kind::Error => b'e',
        }
    }
}

/// One line of an output or error file, without its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The line of the input that it answers.
    pub line: u32,
    pub kind: Kind,
    /// One JSON object; holds no line end.
    pub text: Vec<u8>,
    /// Tokens that the answer says it took.
    pub tokens: u64,
}

/// Why a line has no answer of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    Cancelled,
    Expired,
    /// The answer cannot stand in a file of JSON lines.
    NotJson,
    TooLarge,
    /// Answers in pieces have no place in a file.
    Streamed,
    /// Connections broke, on every try.
    Broken,
}

#[derive(Serialize)]
struct Written<'a> {
    id: String,
    custom_id: &'a str,
    response: Option<Response<'a>>,
    error: Option<Failure>,
}

#[derive(Serialize)]
struct Response<'a> {
    status_code: u16,
    request_id: &'a str,
    body: &'a RawValue,
}

#[derive(Serialize)]
struct Failure {
    code: &'static str,
    message: &'static str,
}

impl NoAnswer {
    fn failure(self) -> Failure {
        let (code, message) = match self {
            NoAnswer::Cancelled => (
                "batch_cancelled",
                "The batch was cancelled before this line was sent.",
            ),
            NoAnswer::Expired => (
                "batch_expired",
                "This line could not be answered before the batch expired.",
            ),
            NoAnswer::NotJson => ("answer_not_json", "The answer is not JSON."),
            NoAnswer::TooLarge => (
                "answer_too_large",
                "The answer is larger than the service stores.",
            ),
            NoAnswer::Streamed => (
                STREAMED,
                "A line of a batch cannot be streamed; leave `stream` out.",
            ),
            NoAnswer::Broken => (
                "connection_broken",
                "The connection broke before the answer was complete, on every attempt.",
            ),
        };
        Failure { code, message }
    }
}

impl Answer {
    /// What came back over HTTP. `None` when the body is not JSON.
    pub fn of(line: &Line, batch: &str, status: u16, request: &str, body: &[u8]) -> Option<Answer> {
        // Between tokens a line end is white space, and inside of them JSON has none.
        let body: Vec<u8> = (body.iter())
            .map(|byte| match byte {
                b'\n' | b'\r' => b' ',
                other => *other,
            })
            .collect();
        let body: &RawValue = serde_json::from_slice(body.trim_ascii()).ok()?;
        let is_success = (200..300).contains(&status);
        let written = Written {
            id: id(batch, line.number),
            custom_id: &line.custom_id,
            response: Some(Response {
                status_code: status,
                request_id: request,
                body,
            }),
            error: None,
        };
        Some(Answer {
            line: line.number,
            kind: if is_success {
                Kind::Output
            } else {
                Kind::Error
            },
            text: serde_json::to_vec(&written).ok()?,
            tokens: tokens_of(body),
        })
    }

    /// That there is none.
    pub fn none(line: &Line, batch: &str, why: NoAnswer) -> Answer {
        let written = Written {
            id: id(batch, line.number),
            custom_id: &line.custom_id,
            response: None,
            error: Some(why.failure()),
        };
        Answer {
            line: line.number,
            kind: Kind::Error,
            // Strings and numbers alone: that cannot fail.
            text: serde_json::to_vec(&written).unwrap_or_default(),
            tokens: 0,
        }
    }
}

/// The same for the same line, whenever it is answered.
fn id(batch: &str, line: u32) -> String {
    let batch = batch.strip_prefix("batch_").unwrap_or(batch);
    format!("batch_req_{batch}_{line}")
}

fn tokens_of(body: &RawValue) -> u64 {
    #[derive(serde::Deserialize)]
    struct Body {
        usage: Option<Usage>,
    }
    #[derive(serde::Deserialize)]
    struct Usage {
        total_tokens: Option<u64>,
    }
    let body: Option<Body> = serde_json::from_str(body.get()).ok();
    body.and_then(|body| body.usage?.total_tokens).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::*;
    use crate::input::Endpoint;

    fn line() -> Line {
        Line {
            number: 3,
            custom_id: "a \"b\"".to_owned(),
            endpoint: Endpoint::Chat,
            body: Bytes::from_static(b"{}"),
        }
    }

    fn read(answer: &Answer) -> Value {
        assert!(!answer.text.contains(&b'\n'));
        serde_json::from_slice(&answer.text).expect("JSON")
    }

    #[test]
    fn answers_are_lines() {
        let body = b"{\n \"usage\": {\"total_tokens\": 7},\r\n \"x\": 0.10}\n";
        let answer = Answer::of(&line(), "batch_12", 200, "r1", body).expect("JSON");
        assert_eq!((answer.kind, answer.tokens), (Kind::Output, 7));
        assert!(String::from_utf8_lossy(&answer.text).contains("\"x\": 0.10"));
        assert_eq!(
            read(&answer),
            json!({
                "id": "batch_req_12_3",
                "custom_id": "a \"b\"",
                "response": {
                    "status_code": 200,
                    "request_id": "r1",
                    "body": {"usage": {"total_tokens": 7}, "x": 0.10},
                },
                "error": null,
            })
        );
        let refused = Answer::of(&line(), "batch_12", 400, "r1", b"{}").expect("JSON");
        assert_eq!(refused.kind, Kind::Error);
        assert_eq!(
            Answer::of(&line(), "batch_12", 200, "r1", b"data: {}"),
            None
        );
    }

    #[test]
    fn a_line_without_an_answer_says_why() {
        let answer = Answer::none(&line(), "batch_12", NoAnswer::Expired);
        assert_eq!(read(&answer)["error"]["code"], "batch_expired");
        assert_eq!(read(&answer)["response"], Value::Null);
    }
}
