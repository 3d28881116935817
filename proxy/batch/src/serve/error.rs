//! Refusals, in the shape that OpenAI's clients read.

use axum::Json;
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tracing::error;

use crate::input::BadFile;
use crate::shared::SharedError;
use crate::store::StoreError;

#[derive(Debug)]
pub struct ApiError {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    pub param: Option<&'static str>,
}

impl ApiError {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError {
            status,
            code,
            message: message.into(),
            param: None,
        }
    }

    /// 400, about one parameter.
    pub fn invalid(param: &'static str, message: impl Into<String>) -> ApiError {
        ApiError {
            param: Some(param),
            ..ApiError::new(StatusCode::BAD_REQUEST, "invalid_value", message)
        }
    }

    pub fn unauthorized() -> ApiError {
        let message = "this needs a valid key: `Authorization: Bearer KEY`, or `api-key: KEY`";
        ApiError::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message)
    }

    pub fn bad_file(bad: &BadFile) -> ApiError {
        ApiError {
            param: Some("file"),
            ..ApiError::new(StatusCode::BAD_REQUEST, "invalid_file", bad.to_string())
        }
    }

    pub fn full_disk() -> ApiError {
        let message = "there is no room for this on the disk of the batch service";
        ApiError::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "insufficient_storage",
            message,
        )
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> ApiError {
        let of = |status, code| ApiError::new(status, code, error.to_string());
        match &error {
            StoreError::NoFile(_) => of(StatusCode::NOT_FOUND, "file_not_found"),
            StoreError::NoBatch(_) => of(StatusCode::NOT_FOUND, "batch_not_found"),
            StoreError::FileInUse { .. } => of(StatusCode::BAD_REQUEST, "file_in_use"),
            StoreError::Purpose { .. } => of(StatusCode::BAD_REQUEST, "invalid_purpose"),
            StoreError::Endpoint { .. } => of(StatusCode::BAD_REQUEST, "mismatched_endpoint"),
            StoreError::Ended { .. } => of(StatusCode::BAD_REQUEST, "batch_ended"),
            StoreError::Quota { .. } => of(StatusCode::TOO_MANY_REQUESTS, "quota_exceeded"),
            _ if error.is_full_disk() => {
                error!(%error, "the disk of the store is full");
                ApiError::full_disk()
            }
            StoreError::Shared(SharedError::Newer { .. }) => {
                error!(%error, "an object of a newer version");
                let message =
                    "a newer version of the batch service wrote this; its log names the object";
                ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "store_newer", message)
            }
            StoreError::Shared(SharedError::Object { .. }) => {
                error!(%error, "the store is damaged");
                let message =
                    "what the batch service keeps of this is damaged; its log names the object";
                ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "store_damaged", message)
            }
            _ => {
                error!(%error, "the store failed");
                let message = "the batch service cannot reach its store";
                ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "store_failed", message)
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let kind = match self.status {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        let body = json!({"error": {
            "message": self.message,
            "type": kind,
            "param": self.param,
            "code": self.code,
        }});
        // Nothing that is refused here gets better within the seconds that a client retries.
        let mut response = (self.status, [("x-should-retry", "false")], Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, bearer);
        }
        response
    }
}
