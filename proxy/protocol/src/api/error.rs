//! The shape of an error, by the family of the route that was asked.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// A family of routes whose clients expect errors of one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's: [`OpenAiError`].
    OpenAi,
    /// Those of text-embeddings-inference: [`TeiError`].
    Tei,
    /// Those of text-generation-inference: [`TgiError`].
    Tgi,
}

impl Dialect {
    /// Paths under `/v1/` and `/v2/` are OpenAI's and of those that follow it.
    pub fn of(path: &str) -> Dialect {
        match path.strip_suffix('/').unwrap_or(path) {
            "/generate" | "/generate_stream" => Dialect::Tgi,
            _ if path.starts_with("/v1/") || path.starts_with("/v2/") => Dialect::OpenAi,
            _ => Dialect::Tei,
        }
    }
}

/// The code of a request that is no HTTP/1.1.
pub const INVALID_HTTP: &str = "invalid_http";

/// OpenAI's type of an error with this status, where nothing more is known of it.
pub fn openai_kind(status: u16) -> &'static str {
    match status {
        503 => "overloaded_error",
        504 => "timeout_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    }
}

/// `{"error": {"message", "type", "param", "code"}}`, with `null` for what does not apply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenAiError<'a> {
    pub error: OpenAiDetail<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenAiDetail<'a> {
    /// For people.
    pub message: Cow<'a, str>,
    #[serde(rename = "type")]
    pub kind: Cow<'a, str>,
    /// The field of the body that it is about.
    pub param: Option<Cow<'a, str>>,
    /// For programs.
    pub code: Option<Cow<'a, str>>,
}

impl<'a> OpenAiError<'a> {
    pub fn new(
        kind: &'a str,
        code: Option<&'a str>,
        param: Option<&'a str>,
        message: impl Into<Cow<'a, str>>,
    ) -> Self {
        OpenAiError {
            error: OpenAiDetail {
                message: message.into(),
                kind: kind.into(),
                param: param.map(Cow::from),
                code: code.map(Cow::from),
            },
        }
    }
}

/// `{"error", "error_type"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeiError<'a> {
    /// For people.
    pub error: Cow<'a, str>,
    pub error_type: TeiKind,
}

/// The types that clients of text-embeddings-inference know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TeiKind {
    Validation,
    Tokenizer,
    Backend,
    Overloaded,
    Unhealthy,
    Empty,
    Unhandled,
}

impl<'a> TeiError<'a> {
    pub fn new(error_type: TeiKind, message: impl Into<Cow<'a, str>>) -> Self {
        TeiError {
            error: message.into(),
            error_type,
        }
    }
}

/// text-generation-inference's `{"error", "error_type"}`, whose types are in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TgiError<'a> {
    /// For people.
    pub error: Cow<'a, str>,
    pub error_type: Cow<'a, str>,
}

impl<'a> TgiError<'a> {
    /// Its type follows from the status.
    pub fn new(status: u16, message: impl Into<Cow<'a, str>>) -> Self {
        let error_type = match status {
            429 | 503 | 504 => "overloaded",
            424 | 500 | 502 => "generation",
            _ => "validation",
        };
        TgiError {
            error: message.into(),
            error_type: error_type.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_fields_that_clients_read() {
        let error = OpenAiError::new("invalid_request_error", None, Some("model"), "no");
        let text = serde_json::to_string(&error).expect("it serializes");
        let expected = r#"{"error":{"message":"no","type":"invalid_request_error","param":"model","code":null}}"#;
        assert_eq!(text, expected);
        let error = TeiError::new(TeiKind::Overloaded, "no");
        let text = serde_json::to_string(&error).expect("it serializes");
        assert_eq!(text, r#"{"error":"no","error_type":"Overloaded"}"#);
        let error = TgiError::new(422, "no");
        let text = serde_json::to_string(&error).expect("it serializes");
        assert_eq!(text, r#"{"error":"no","error_type":"validation"}"#);
    }

    #[test]
    fn a_path_says_which_errors_its_clients_read() {
        for (path, dialect) in [
            ("/v1/embeddings", Dialect::OpenAi),
            ("/v2/rerank", Dialect::OpenAi),
            ("/embed", Dialect::Tei),
            ("/", Dialect::Tei),
            ("/generate", Dialect::Tgi),
            ("/generate/", Dialect::Tgi),
            ("/generate_stream", Dialect::Tgi),
            ("/generated", Dialect::Tei),
        ] {
            assert_eq!(Dialect::of(path), dialect, "{path}");
        }
    }
}
