//! The answers that the proxy gives itself, in the shape that OpenAI's clients understand.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use pingora_core::protocols::http::ServerSession;
use pingora_http::ResponseHeader;
use serde_json::{Value, json};
use tidegate_line::{NoSuchModel, Refusal};

/// A whole answer.
#[derive(Debug)]
pub struct Reply {
    status: StatusCode,
    body: Value,
    retry_after: Option<Duration>,
    allow: Option<&'static str>,
}

impl Reply {
    pub fn ok(body: Value) -> Self {
        Reply {
            status: StatusCode::OK,
            body,
            retry_after: None,
            allow: None,
        }
    }

    /// `{"error":{message,type,param,code}}`, the type by the status.
    fn error(status: StatusCode, code: &str, message: String) -> Self {
        let kind = match status {
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                "invalid_request_error"
            }
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => "invalid_request_error",
            StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
            StatusCode::GATEWAY_TIMEOUT => "timeout_error",
            _ => "server_error",
        };
        Reply {
            status,
            ..Reply::ok(json!({"error": {
                "message": message, "type": kind, "param": null, "code": code,
            }}))
        }
    }

    pub fn bad_request(code: &str, message: impl Into<String>) -> Self {
        Reply::error(StatusCode::BAD_REQUEST, code, message.into())
    }

    pub fn no_route(path: &str) -> Self {
        let message = format!("no such path: {path}");
        Reply::error(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub fn wrong_method(path: &str, allowed: &'static str) -> Self {
        let message = format!("{path} takes {allowed} alone");
        Reply {
            allow: Some(allowed),
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
                let message = "the line is full".to_owned();
                Reply::overloaded("line_full", message, retry_after)
            }
            Refusal::TooLate { retry_after } => {
                let message = "the deadline cannot be met: too many requests wait".to_owned();
                Reply::overloaded("deadline_unreachable", message, retry_after)
            }
        }
    }

    /// 503 that says when to come back.
    pub fn overloaded(code: &str, message: String, retry_after: Duration) -> Self {
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
        let body = Bytes::from(self.body.to_string());
        let mut header = ResponseHeader::build(self.status, Some(4))?;
        header.insert_header(CONTENT_TYPE, "application/json")?;
        header.insert_header(CONTENT_LENGTH, body.len())?;
        if let Some(retry_after) = self.retry_after {
            header.insert_header(
                RETRY_AFTER,
                retry_after.as_secs_f64().ceil().max(1.0) as u64,
            )?;
            header.insert_header("retry-after-ms", retry_after.as_millis().max(1) as u64)?;
        }
        if let Some(allow) = self.allow {
            header.insert_header(ALLOW, allow)?;
        }
        session.write_response_header(Box::new(header)).await?;
        session.write_response_body(body, true).await
    }
}
