//! Refusals and failures as plain facts. Each family of routes has its own shape for them; this
//! file knows none.

use axum::http::{HeaderValue, header};
use axum::response::Response;
use tidegate_agent::Capacity;
use tidegate_protocol::{REFUSED_FULL, REFUSED_HEADER, REFUSED_NOT_READY};

/// How a family of routes answers a request that failed.
pub type Refuse = fn(ApiError) -> Response;

/// A request that is not answered with 200.
#[derive(Debug, PartialEq, Eq)]
pub struct ApiError {
    pub fault: Fault,
    pub message: String,
    /// The field of the body that it is about.
    pub param: Option<&'static str>,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The body is not JSON, or not what the route takes.
    Unreadable,
    /// A header or a field cannot be served.
    Invalid,
    /// There is nothing to compute.
    Empty,
    /// More at once than the limits allow.
    TooMany,
    /// A text of more tokens than the model reads.
    TooLong,
    /// A text or its token ids mean nothing to the tokenizer.
    Tokenizer,
    /// The model is for something else.
    WrongTask,
    NoSuchModel,
    NoSuchPath,
    WrongMethod,
    Unauthorized,
    BodyTooLarge,
    BodyTooSlow,
    /// The body is compressed, or coded otherwise.
    Coded,
    /// Every slot is taken; no work was begun.
    Full,
    /// Warming up or draining; no work was begun.
    NotReady,
    /// The deadline passed before the work was begun.
    Expired,
    /// The worker's own failure.
    Internal,
}

impl Fault {
    /// In metrics.
    pub fn label(self) -> &'static str {
        match self {
            Fault::Unreadable => "unreadable",
            Fault::Invalid => "validation",
            Fault::Empty => "empty",
            Fault::TooMany => "batch_size",
            Fault::TooLong => "context_length_exceeded",
            Fault::Tokenizer => "tokenization",
            Fault::WrongTask => "model_type",
            Fault::NoSuchModel => "model_not_found",
            Fault::NoSuchPath => "unknown_url",
            Fault::WrongMethod => "method_not_supported",
            Fault::Unauthorized => "invalid_api_key",
            Fault::BodyTooLarge => "body_too_large",
            Fault::BodyTooSlow => "body_timeout",
            Fault::Coded => "unsupported_content_encoding",
            Fault::Full => "overloaded",
            Fault::NotReady => "not_ready",
            Fault::Expired => "timeout",
            Fault::Internal => "inference",
        }
    }
}

impl Fault {
    /// Says in the header what is the same in every family: that nothing was begun, as proxies
    /// understand it, and which coding is taken.
    pub fn mark(self, response: &mut Response) {
        let why = match self {
            Fault::Coded => {
                let identity = HeaderValue::from_static("identity");
                response
                    .headers_mut()
                    .insert(header::ACCEPT_ENCODING, identity);
                return;
            }
            Fault::Full => REFUSED_FULL,
            Fault::NotReady => REFUSED_NOT_READY,
            _ => return,
        };
        let headers = response.headers_mut();
        headers.insert(REFUSED_HEADER, HeaderValue::from_static(why));
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
}

impl ApiError {
    pub fn new(fault: Fault, message: impl Into<String>) -> ApiError {
        ApiError {
            fault,
            message: message.into(),
            param: None,
        }
    }

    /// About the field `param`.
    pub fn param(fault: Fault, param: &'static str, message: impl Into<String>) -> ApiError {
        ApiError {
            param: Some(param),
            ..ApiError::new(fault, message)
        }
    }

    /// A body that `serde_json` does not take.
    pub fn unreadable(error: &serde_json::Error) -> ApiError {
        let message = format!("The body is not a valid request: {error}");
        ApiError::new(Fault::Unreadable, message)
    }

    pub fn model_not_found(asked: &str, served: &str) -> ApiError {
        let shown: String = asked.chars().take(100).collect();
        let message = format!("The model '{shown}' does not exist; this worker serves '{served}'");
        ApiError::param(Fault::NoSuchModel, "model", message)
    }

    pub fn no_such_path(method: &str, path: &str) -> ApiError {
        let shown: String = path.chars().take(100).collect();
        let message = format!("Unknown request URL: {method} {shown}");
        ApiError::new(Fault::NoSuchPath, message)
    }

    pub fn wrong_method(method: &str, path: &str) -> ApiError {
        let message = format!("Not allowed to {method} on {path}");
        ApiError::new(Fault::WrongMethod, message)
    }

    pub fn unauthorized() -> ApiError {
        let message = "This worker takes requests with its token only: Authorization: Bearer TOKEN";
        ApiError::new(Fault::Unauthorized, message)
    }

    pub fn too_large(limit: usize) -> ApiError {
        let message = format!("The body is larger than the limit of {limit} bytes");
        ApiError::new(Fault::BodyTooLarge, message)
    }

    pub fn full(capacity: Capacity) -> ApiError {
        let Capacity { requests, tokens } = capacity;
        let tokens = tokens.map_or(String::new(), |tokens| format!(" or {tokens} tokens"));
        let message = format!("All {requests} slots{tokens} are taken, try again soon");
        ApiError::new(Fault::Full, message)
    }

    pub fn not_ready(state: &str) -> ApiError {
        let message = format!("This worker accepts no requests now: it is {state}");
        ApiError::new(Fault::NotReady, message)
    }

    pub fn expired() -> ApiError {
        let message = "The request's deadline passed before it was begun";
        ApiError::new(Fault::Expired, message)
    }

    pub fn internal(message: impl Into<String>) -> ApiError {
        ApiError::new(Fault::Internal, message)
    }
}
