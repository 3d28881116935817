//! Refusals and failures in the shape that OpenAI's clients expect.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tidegate_wire::{REFUSED_FULL, REFUSED_HEADER, REFUSED_NOT_READY};

/// A request that is not answered with 200.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    detail: Detail,
    /// Value of [`REFUSED_HEADER`].
    refused: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Detail {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

#[derive(Serialize)]
struct Envelope {
    error: Detail,
}

const INVALID: &str = "invalid_request_error";
const SERVER: &str = "server_error";

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> ApiError {
        let message = message.into();
        ApiError {
            status,
            detail: Detail {
                message,
                kind,
                param: None,
                code: None,
            },
            refused: None,
        }
    }

    fn code(mut self, code: &'static str) -> ApiError {
        self.detail.code = Some(code);
        self
    }

    fn refused(mut self, why: &'static str) -> ApiError {
        self.refused = Some(why);
        self
    }

    /// The field `param` cannot be served.
    pub fn param(param: &'static str, message: impl Into<String>) -> ApiError {
        let mut error = ApiError::malformed(message);
        error.detail.param = Some(param);
        error
    }

    /// The request as a whole cannot be read.
    pub fn malformed(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, INVALID, message)
    }

    pub fn context_length(param: &'static str, message: impl Into<String>) -> ApiError {
        ApiError::param(param, message).code("context_length_exceeded")
    }

    pub fn model_not_found(asked: &str, served: &str) -> ApiError {
        let shown: String = asked.chars().take(100).collect();
        let message = format!("The model '{shown}' does not exist; this worker serves '{served}'");
        let mut error =
            ApiError::new(StatusCode::NOT_FOUND, INVALID, message).code("model_not_found");
        error.detail.param = Some("model");
        error
    }

    pub fn no_such_path(method: &str, path: &str) -> ApiError {
        let shown: String = path.chars().take(100).collect();
        let message = format!("Unknown request URL: {method} {shown}");
        ApiError::new(StatusCode::NOT_FOUND, INVALID, message).code("unknown_url")
    }

    pub fn wrong_method(method: &str, path: &str) -> ApiError {
        let message = format!("Not allowed to {method} on {path}");
        ApiError::new(StatusCode::METHOD_NOT_ALLOWED, INVALID, message).code("method_not_supported")
    }

    pub fn unauthorized() -> ApiError {
        let message = "This worker takes requests with its token only: Authorization: Bearer TOKEN";
        ApiError::new(StatusCode::UNAUTHORIZED, "authentication_error", message)
            .code("invalid_api_key")
    }

    pub fn too_large(limit: usize) -> ApiError {
        let message = format!("The body is larger than the limit of {limit} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, INVALID, message).code("body_too_large")
    }

    pub fn body_too_slow() -> ApiError {
        let message = "The body did not arrive in time";
        ApiError::new(StatusCode::REQUEST_TIMEOUT, INVALID, message).code("body_timeout")
    }

    /// Every slot is taken; no work was begun.
    pub fn full(slots: u32) -> ApiError {
        let message = format!("All {slots} slots are taken, try again soon");
        let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, SERVER, message);
        error.code("overloaded").refused(REFUSED_FULL)
    }

    /// Warming up or draining; no work was begun.
    pub fn not_ready(state: &str) -> ApiError {
        let message = format!("This worker takes no requests now: it is {state}");
        let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, SERVER, message);
        error.code("not_ready").refused(REFUSED_NOT_READY)
    }

    pub fn expired() -> ApiError {
        let message = "The request's deadline passed before it was begun";
        ApiError::new(StatusCode::GATEWAY_TIMEOUT, SERVER, message).code("timeout")
    }

    pub fn internal(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, SERVER, message)
    }

    /// The error's code, or its type where it has none.
    pub fn label(&self) -> &'static str {
        self.detail.code.unwrap_or(self.detail.kind)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(Envelope { error: self.detail })).into_response();
        if let Some(why) = self.refused {
            let headers = response.headers_mut();
            headers.insert(REFUSED_HEADER, HeaderValue::from_static(why));
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
