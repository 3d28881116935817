//! Refusals and failures in the shape that OpenAI's clients expect:
//! `{"error": {message, type, param, code}}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::api::error::{ApiError, Fault};

#[derive(Serialize)]
struct Envelope {
    error: Detail,
}

#[derive(Serialize)]
struct Detail {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

pub fn refuse(error: ApiError) -> Response {
    let fault = error.fault;
    let (status, envelope) = envelope(error);
    let mut response = (status, Json(envelope)).into_response();
    fault.mark(&mut response);
    response
}

/// The body alone, as an event of a stream whose status was sent before.
pub fn body(error: ApiError) -> serde_json::Value {
    serde_json::json!(envelope(error).1)
}

fn envelope(error: ApiError) -> (StatusCode, Envelope) {
    let (status, code) = status_and_code(error.fault);
    let kind = match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    };
    let detail = Detail {
        message: error.message,
        kind,
        param: error.param,
        code,
    };
    (status, Envelope { error: detail })
}

fn status_and_code(fault: Fault) -> (StatusCode, Option<&'static str>) {
    let status = match fault {
        Fault::Unreadable | Fault::Invalid | Fault::Empty | Fault::TooMany | Fault::Tokenizer => {
            return (StatusCode::BAD_REQUEST, None);
        }
        Fault::Internal => return (StatusCode::INTERNAL_SERVER_ERROR, None),
        Fault::WrongTask => return (StatusCode::BAD_REQUEST, Some("wrong_model_type")),
        Fault::TooLong => StatusCode::BAD_REQUEST,
        Fault::NoSuchModel | Fault::NoSuchPath => StatusCode::NOT_FOUND,
        Fault::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
        Fault::Unauthorized => StatusCode::UNAUTHORIZED,
        Fault::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Fault::Coded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Fault::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
        Fault::Full | Fault::NotReady => StatusCode::SERVICE_UNAVAILABLE,
        Fault::Expired => StatusCode::GATEWAY_TIMEOUT,
    };
    (status, Some(fault.label()))
}
