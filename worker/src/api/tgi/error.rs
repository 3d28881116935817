//! Refusals and failures as text-generation-inference says them: `{"error", "error_type"}` and its statuses.
//! Whatever is wrong with a request is 422.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tidegate_protocol::api::TgiError;

use crate::api::error::{ApiError, Fault};

pub fn refuse(error: ApiError) -> Response {
    let status = status(error.fault);
    let body = TgiError::new(status.as_u16(), error.message);
    let mut response = (status, Json(body)).into_response();
    error.fault.mark(&mut response);
    response
}

fn status(fault: Fault) -> StatusCode {
    match fault {
        Fault::Unreadable
        | Fault::Invalid
        | Fault::Empty
        | Fault::TooMany
        | Fault::TooLong
        | Fault::Tokenizer => StatusCode::UNPROCESSABLE_ENTITY,
        Fault::WrongTask | Fault::Internal => StatusCode::FAILED_DEPENDENCY,
        Fault::NoSuchModel | Fault::NoSuchPath => StatusCode::NOT_FOUND,
        Fault::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
        Fault::Unauthorized => StatusCode::UNAUTHORIZED,
        Fault::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Fault::Coded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Fault::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
        Fault::Full => StatusCode::TOO_MANY_REQUESTS,
        Fault::NotReady => StatusCode::SERVICE_UNAVAILABLE,
        Fault::Expired => StatusCode::GATEWAY_TIMEOUT,
    }
}
