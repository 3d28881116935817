//! The answer to a request that is no HTTP/1.1, in the shape that the clients of its path know.

use axum::Json;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::response::{IntoResponse, Response};
use tidegate_http1::Fault;
use tidegate_protocol::api::{
    Dialect, INVALID_HTTP, OpenAiError, TeiError, TeiKind, TgiError, openai_kind,
};

/// Says what is wrong, and that nothing more is read on this connection.
pub fn refusal(fault: Fault, dialect: Dialect) -> Response {
    let (status, message) = (fault.status(), fault.to_string());
    let mut answer = match dialect {
        Dialect::OpenAi => {
            let error = OpenAiError::new(
                openai_kind(status.as_u16()),
                Some(INVALID_HTTP),
                None,
                message,
            );
            (status, Json(error)).into_response()
        }
        Dialect::Tei => {
            let error = TeiError::new(TeiKind::Validation, message);
            (status, Json(error)).into_response()
        }
        Dialect::Tgi => {
            let error = TgiError::new(status.as_u16(), message);
            (status, Json(error)).into_response()
        }
    };
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(CONNECTION, close);
    answer
}
