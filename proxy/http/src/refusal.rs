//! The answer to a request that is no HTTP/1.1, in the shape that the clients of its path know.

use axum::Json;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tidegate_http1::Fault;
use tidegate_protocol::api::{Dialect, OpenAiError, TeiError, TeiKind};

/// Says what is wrong, and that nothing more is read on this connection.
pub fn refusal(fault: Fault, path: &str) -> Response {
    let (status, message) = (fault.status(), fault.to_string());
    let mut answer = match Dialect::of(path) {
        Dialect::OpenAi => {
            let error = OpenAiError::new(kind(status), None, None, message);
            (status, Json(error)).into_response()
        }
        Dialect::Tei => {
            let error = TeiError::new(TeiKind::Validation, message);
            (status, Json(error)).into_response()
        }
    };
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(CONNECTION, close);
    answer
}

fn kind(status: StatusCode) -> &'static str {
    match status.is_client_error() {
        true => "invalid_request_error",
        false => "server_error",
    }
}
