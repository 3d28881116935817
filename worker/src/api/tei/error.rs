//! Refusals and failures as text-embeddings-inference says them: `{"error", "error_type"}` and
//! its statuses. Where it has no type of its own for something, the nearest is taken.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::api::error::{ApiError, Fault};

#[derive(Serialize)]
struct Body {
    error: String,
    error_type: &'static str,
}

pub fn refuse(error: ApiError) -> Response {
    let (status, error_type) = status_and_type(error.fault);
    let body = Body {
        error: error.message,
        error_type,
    };
    let mut response = (status, Json(body)).into_response();
    error.fault.mark(&mut response);
    response
}

fn status_and_type(fault: Fault) -> (StatusCode, &'static str) {
    match fault {
        Fault::Unreadable => (StatusCode::UNPROCESSABLE_ENTITY, "Validation"),
        Fault::Empty => (StatusCode::BAD_REQUEST, "Empty"),
        Fault::Invalid | Fault::TooMany | Fault::TooLong | Fault::BodyTooLarge => {
            (StatusCode::PAYLOAD_TOO_LARGE, "Validation")
        }
        Fault::Tokenizer => (StatusCode::UNPROCESSABLE_ENTITY, "Tokenizer"),
        Fault::WrongTask | Fault::Internal => (StatusCode::FAILED_DEPENDENCY, "Backend"),
        Fault::NoSuchModel | Fault::NoSuchPath => (StatusCode::NOT_FOUND, "Validation"),
        Fault::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, "Validation"),
        Fault::Unauthorized => (StatusCode::UNAUTHORIZED, "Validation"),
        Fault::Coded => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "Validation"),
        Fault::BodyTooSlow => (StatusCode::REQUEST_TIMEOUT, "Validation"),
        Fault::Full => (StatusCode::TOO_MANY_REQUESTS, "Overloaded"),
        Fault::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "Unhealthy"),
        Fault::Expired => (StatusCode::GATEWAY_TIMEOUT, "Overloaded"),
    }
}
