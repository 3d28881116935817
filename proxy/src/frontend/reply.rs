//! The answers that the proxy gives itself. Refusals have the shape that the clients of their path
//! understand: OpenAI's under `/v1/` and `/v2/`, that of text-generation-inference or of
//! text-embeddings-inference elsewhere.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tidegate_http1::Fault;
use tidegate_protocol::api::{Dialect, INVALID_HTTP, TgiError, openai_kind};
use tidegate_queue::{NoSuchModel, Refusal};

use super::head::{HeadWriter, Terms};

/// What a page in a browser may send beyond what all pages may.
const ALLOWED_HEADERS: &str =
    "authorization, api-key, content-type, x-request-id, x-request-timeout-ms, x-priority";

/// A whole answer.
#[derive(Debug)]
pub struct Reply {
    status: StatusCode,
    content: Content,
    retry_after: Option<Duration>,
    allow: Vec<Method>,
    preflight: bool,
}

#[derive(Debug)]
enum Content {
    Nothing,
    Body(Value),
    Error { code: &'static str, message: String },
}

impl Content {
    /// Status and body for the clients of `path`.
    fn render(self, status: StatusCode, path: &str) -> (StatusCode, Value) {
        match self {
            Content::Nothing => (status, Value::Null),
            Content::Body(body) => (status, body),
            Content::Error { code, message } if Dialect::of(path) == Dialect::OpenAi => {
                let error = json!({
                    "message": message, "type": openai_kind(status.as_u16()), "param": null, "code": code,
                });
                (status, json!({ "error": error }))
            }
            // As clients of SageMaker read it.
            Content::Error { message, .. } if path.starts_with("/endpoints/") => (
                status,
                json!({"Code": sagemaker_code(status), "Message": message}),
            ),
            Content::Error { code, message } if Dialect::of(path) == Dialect::Tgi => {
                // Its statuses are those of text-embeddings-inference.
                let (status, _) = tei_status_and_type(status, code);
                (status, json!(TgiError::new(status.as_u16(), message)))
            }
            Content::Error { code, message } => {
                let (status, error_type) = tei_status_and_type(status, code);
                let body = json!({"error": message, "error_type": error_type, "code": code});
                (status, body)
            }
        }
    }
}

fn sagemaker_code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => "ServiceUnavailable",
        status if status.is_client_error() => "ValidationError",
        _ => "InternalFailure",
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
            allow: Vec::new(),
            preflight: false,
        }
    }

    /// `code` is for programs and `message` for people.
    fn error(status: StatusCode, code: &'static str, message: String) -> Self {
        Reply {
            status,
            content: Content::Error { code, message },
            retry_after: None,
            allow: Vec::new(),
            preflight: false,
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

    pub fn wrong_method(path: &str, allowed: Vec<Method>) -> Self {
        let message = format!("{path} takes {} alone", list(&allowed));
        Reply {
            allow: allowed,
            ..Reply::error(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                message,
            )
        }
    }

    /// What a path takes, to who asks with OPTIONS; `preflight` for a browser.
    pub fn options(allowed: Vec<Method>, preflight: bool) -> Self {
        Reply {
            status: StatusCode::NO_CONTENT,
            content: Content::Nothing,
            retry_after: None,
            allow: allowed,
            preflight,
        }
    }

    /// A request that cannot be read.
    pub fn faulty(fault: Fault) -> Self {
        Reply::error(fault.status(), INVALID_HTTP, fault.to_string())
    }

    pub fn header_too_slow(limit: Duration) -> Self {
        let message = format!("the header did not arrive within {limit:?}");
        Reply::error(StatusCode::REQUEST_TIMEOUT, "header_timeout", message)
    }

    pub fn too_many_headers() -> Self {
        let message = "too many unfinished requests at once".to_owned();
        Reply::overloaded("too_many_headers", message, Duration::from_secs(1))
    }

    pub fn body_too_large(limit: usize) -> Self {
        let message = format!("the body is larger than {limit} bytes");
        Reply::error(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    }

    pub fn content_encoding() -> Self {
        let message = "bodies with a Content-Encoding are not read here; send it without";
        Reply::error(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_content_encoding",
            message.to_owned(),
        )
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

    /// A worker that was lost while its answer was passed on.
    pub fn worker_broke_off() -> Self {
        let message = "the worker was lost; the answer is not whole".to_owned();
        Reply::error(StatusCode::BAD_GATEWAY, "worker_failed", message)
    }

    pub fn no_batch_service() -> Self {
        let message = "the batch service cannot be reached".to_owned();
        Reply::overloaded("batch_unavailable", message, Duration::from_secs(1))
    }

    pub fn batch_broke_off() -> Self {
        let message = "the batch service broke off".to_owned();
        Reply::error(StatusCode::BAD_GATEWAY, "batch_failed", message)
    }

    pub fn batch_timeout(limit: Duration) -> Self {
        let message = format!("nothing was sent or answered for {limit:?}");
        Reply::error(StatusCode::GATEWAY_TIMEOUT, "batch_timeout", message)
    }

    pub fn draining() -> Self {
        let message = "this proxy is shutting down".to_owned();
        Reply::overloaded("draining", message, Duration::from_secs(1))
    }

    /// As an event of a stream whose status was sent before, for the clients of `path`.
    pub fn event(self, path: &str) -> Vec<u8> {
        let (_, body) = self.content.render(self.status, path);
        format!("data: {body}\n\n").into_bytes()
    }

    /// The whole answer for the clients of `path`, and its status.
    pub fn render(self, path: &str, terms: &Terms) -> (StatusCode, Vec<u8>) {
        let empty = matches!(self.content, Content::Nothing);
        let (status, body) = self.content.render(self.status, path);
        let body = match empty {
            true => String::new(),
            false => body.to_string(),
        };
        let mut head = HeadWriter::new(status, body.len());
        head.date();
        if !empty {
            head.field("content-type", "application/json");
            head.length(body.len() as u64);
        }
        if let Some(retry_after) = self.retry_after {
            let seconds = retry_after.as_secs_f64().ceil().max(1.0) as u64;
            head.field("retry-after", seconds.to_string());
            head.field("retry-after-ms", retry_after.as_millis().max(1).to_string());
        }
        if status == StatusCode::UNAUTHORIZED {
            head.field("www-authenticate", "Bearer");
        }
        if status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            head.field("accept-encoding", "identity");
        }
        if !self.allow.is_empty() {
            head.field("allow", list(&self.allow));
        }
        if self.preflight {
            head.field("access-control-allow-methods", list(&self.allow));
            head.field("access-control-allow-headers", ALLOWED_HEADERS);
            head.field("access-control-max-age", "600");
        }
        let mut answer = head.finish(terms);
        if !terms.head_only {
            answer.extend_from_slice(body.as_bytes());
        }
        (status, answer)
    }
}

fn list(methods: &[Method]) -> String {
    let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    names.join(", ")
}
