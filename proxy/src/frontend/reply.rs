//! The answers that the proxy gives itself. Refusals have the shape that the clients of their path
//! understand: OpenAI's under `/v1/`, that of text-embeddings-inference elsewhere.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Method, StatusCode};
use pingora_core::protocols::http::ServerSession;
use pingora_http::ResponseHeader;
use serde_json::{Value, json};
use tidegate_queue::{NoSuchModel, Refusal};

/// A whole answer.
#[derive(Debug)]
pub struct Reply {
    status: StatusCode,
    content: Content,
    retry_after: Option<Duration>,
    allow: Option<Method>,
}

#[derive(Debug)]
enum Content {
    Body(Value),
    Error { code: &'static str, message: String },
}

impl Content {
    /// Status and body for the clients of `path`.
    fn render(self, status: StatusCode, path: &str) -> (StatusCode, Value) {
        match self {
            Content::Body(body) => (status, body),
            Content::Error { code, message } if path.starts_with("/v1/") => {
                let error = json!({
                    "message": message, "type": openai_type(status), "param": null, "code": code,
                });
                (status, json!({ "error": error }))
            }
            Content::Error { code, message } => {
                let (status, error_type) = tei_status_and_type(status, code);
                (status, json!({"error": message, "error_type": error_type}))
            }
        }
    }
}

fn openai_type(status: StatusCode) -> &'static str {
    match status {
        StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
        StatusCode::GATEWAY_TIMEOUT => "timeout_error",
        status if status.is_client_error() => "invalid_request_error",
        _ => "server_error",
    }
}

/// Its statuses are its own where a client acts on them: 429 for come back later, 422 for a body
/// that cannot be read.
fn tei_status_and_type(status: StatusCode, code: &str) -> (StatusCode, &'static str) {
    match (code, status) {
        ("line_full" | "deadline_unreachable" | "too_many_bytes", _) => {
            (StatusCode::TOO_MANY_REQUESTS, "Overloaded")
        }
        ("invalid_json" | "invalid_body", _) => (StatusCode::UNPROCESSABLE_ENTITY, "Validation"),
        (_, StatusCode::SERVICE_UNAVAILABLE) => (status, "Unhealthy"),
        (_, StatusCode::GATEWAY_TIMEOUT) => (status, "Overloaded"),
        (_, StatusCode::BAD_GATEWAY) => (status, "Backend"),
        _ => (status, "Validation"),
    }
}

impl Reply {
    pub fn ok(body: Value) -> Self {
        Reply {
            status: StatusCode::OK,
            content: Content::Body(body),
            retry_after: None,
            allow: None,
        }
    }

    /// `code` is for programs and `message` for people.
    fn error(status: StatusCode, code: &'static str, message: String) -> Self {
        Reply {
            status,
            content: Content::Error { code, message },
            retry_after: None,
            allow: None,
        }
    }

    pub fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Reply::error(StatusCode::BAD_REQUEST, code, message.into())
    }

    pub fn unauthorized() -> Self {
        let message = "this needs a valid key: `Authorization: Bearer KEY`, or `api-key: KEY`";
        let message = message.to_owned();
        Reply::error(StatusCode::UNAUTHORIZED, "invalid_api_key", message)
    }

    pub fn no_route(path: &str) -> Self {
        let message = format!("no such path: {path}");
        Reply::error(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub fn wrong_method(path: &str, allowed: &Method) -> Self {
        let message = format!("{path} takes {allowed} alone");
        Reply {
            allow: Some(allowed.clone()),
            ..Reply::error(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                message,
            )
        }
    }

    pub fn body_too_large(limit: usize) -> Self {
        let message = format!("the body is larger than {limit} bytes");
        Reply::error(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    }

    pub fn too_many_bytes() -> Self {
        let message = "too many large requests at once".to_owned();
        Reply::overloaded("too_many_bytes", message, Duration::from_secs(1))
    }

    pub fn body_too_slow(limit: Duration) -> Self {
        let message = format!("the body did not arrive within {limit:?}");
        Reply::error(StatusCode::REQUEST_TIMEOUT, "body_timeout", message)
    }

    pub fn no_such_model(reason: NoSuchModel, named: Option<&str>, known: &[String]) -> Self {
        let known = known.join(", ");
        match reason {
            NoSuchModel::Unknown => {
                let named = named.unwrap_or_default();
                let message = format!("the model `{named}` does not exist; served here: {known}");
                Reply::error(StatusCode::NOT_FOUND, "model_not_found", message)
            }
            NoSuchModel::Ambiguous => {
                let message = format!("name a `model`; served here: {known}");
                Reply::bad_request("model_required", message)
            }
            NoSuchModel::NoneYet => {
                let message = "no worker has announced a model yet".to_owned();
                Reply::overloaded("no_model_yet", message, Duration::from_secs(1))
            }
        }
    }

    pub fn refused(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Full { retry_after } => {
                let message = "the queue is full".to_owned();
                Reply::overloaded("line_full", message, retry_after)
            }
            Refusal::TooLate { retry_after } => {
                let message = "the deadline cannot be met: too many requests wait".to_owned();
                Reply::overloaded("deadline_unreachable", message, retry_after)
            }
        }
    }

    /// 503 that says when to come back.
    pub fn overloaded(code: &'static str, message: String, retry_after: Duration) -> Self {
        Reply {
            retry_after: Some(retry_after),
            ..Reply::error(StatusCode::SERVICE_UNAVAILABLE, code, message)
        }
    }

    pub fn expired() -> Self {
        let message = "the request waited to its deadline".to_owned();
        Reply::error(StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded", message)
    }

    pub fn workers_failed() -> Self {
        let message = "the workers that tried this request failed".to_owned();
        Reply::error(StatusCode::BAD_GATEWAY, "worker_failed", message)
    }

    pub fn draining() -> Self {
        let message = "this proxy is shutting down".to_owned();
        Reply::overloaded("draining", message, Duration::from_secs(1))
    }

    /// Writes the answer whole.
    pub async fn write(self, session: &mut ServerSession) -> pingora_core::Result<()> {
        let path = session.req_header().uri.path();
        let (status, body) = self.content.render(self.status, path);
        let body = Bytes::from(body.to_string());
        let mut header = ResponseHeader::build(status, Some(4))?;
        header.insert_header(CONTENT_TYPE, "application/json")?;
        header.insert_header(CONTENT_LENGTH, body.len())?;
        if let Some(retry_after) = self.retry_after {
            header.insert_header(
                RETRY_AFTER,
                retry_after.as_secs_f64().ceil().max(1.0) as u64,
            )?;
            header.insert_header("retry-after-ms", retry_after.as_millis().max(1) as u64)?;
        }
        if status == StatusCode::UNAUTHORIZED {
            header.insert_header(WWW_AUTHENTICATE, "Bearer")?;
        }
        if let Some(allow) = self.allow {
            header.insert_header(ALLOW, allow.as_str())?;
        }
        session.write_response_header(Box::new(header)).await?;
        session.write_response_body(body, true).await
    }
}
