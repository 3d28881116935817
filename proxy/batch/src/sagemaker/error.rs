//! Refusals as SageMaker's runtime makes them, so that boto3 raises its own exceptions.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// 400: the request, or the endpoint that it names.
    Validation(String),
    /// 403: who asks.
    Unauthorized { code: &'static str, message: String },
    /// 424: the model answered, and not with a result.
    Model { status: u16, message: String },
    /// 429: no worker has the model yet.
    ModelNotReady(String),
    /// 429: the caller has asked too often.
    Throttled(String),
    /// 404, as S3 says it: there is no answer, or not yet.
    NoSuchKey(String),
    /// 503: nobody is free in time.
    Unavailable(String),
    /// 500: this service is at fault.
    Internal(String),
}

impl Refusal {
    /// What it says.
    pub fn text(&self) -> String {
        let (_, _, body) = self.parts();
        body["Message"].as_str().unwrap_or_default().to_owned()
    }

    /// As an object of S3 has it: `Code` is what an answer has in a header.
    pub fn as_object(&self) -> Value {
        let (_, kind, mut body) = self.parts();
        body["Code"] = kind.into();
        body
    }

    fn parts(&self) -> (StatusCode, &str, Value) {
        let said = |message: &str| json!({"Message": message});
        match self {
            Refusal::Validation(text) => (StatusCode::BAD_REQUEST, "ValidationError", said(text)),
            Refusal::Unauthorized { code, message } => (StatusCode::FORBIDDEN, code, said(message)),
            Refusal::Model { status, message } => {
                let words = format!("Received {status} from the model with message \"{message}\".");
                let body = json!({
                    "Message": words,
                    "OriginalStatusCode": status,
                    "OriginalMessage": message,
                    "LogStreamArn": "",
                });
                (StatusCode::FAILED_DEPENDENCY, "ModelError", body)
            }
            Refusal::ModelNotReady(text) => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                (status, "ModelNotReadyException", said(text))
            }
            Refusal::Throttled(text) => (
                StatusCode::TOO_MANY_REQUESTS,
                "ThrottlingException",
                said(text),
            ),
            Refusal::NoSuchKey(text) => (StatusCode::NOT_FOUND, "NoSuchKey", said(text)),
            Refusal::Unavailable(text) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                said(text),
            ),
            Refusal::Internal(text) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalFailure",
                said(text),
            ),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, kind, body) = self.parts();
        (status, [("x-amzn-errortype", kind)], Json(body)).into_response()
    }
}

/// What an answer of the proxy that is no 2xx means to SageMaker's clients.
pub fn translate(status: u16, body: &[u8], model: &str) -> Refusal {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = &body["error"];
    let text = error["message"].as_str().or_else(|| error.as_str());
    let message = text.unwrap_or("no words").to_owned();
    // OpenAI's shape has the code inside, text-embeddings-inference's beside.
    let code = error["code"].as_str().or_else(|| body["code"].as_str());
    match (status, code.unwrap_or_default()) {
        (404, "model_not_found") => Refusal::Validation(format!("Endpoint {model} not found.")),
        (503, "no_model_yet") => Refusal::ModelNotReady(message),
        (401 | 403, _) => {
            tracing::error!("the proxy refuses the key of this service (proxy.key_file)");
            Refusal::Internal("the proxy refuses this service's key".to_owned())
        }
        (429, _) => Refusal::Throttled(message),
        (503 | 504, _) => Refusal::Unavailable(message),
        (413, "body_too_large") => Refusal::Validation(message),
        (status, _) => Refusal::Model { status, message },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_the_proxy_become_the_exceptions_that_clients_know() {
        let of = |status, body: Value| {
            let refusal = translate(status, body.to_string().as_bytes(), "e");
            let (status, kind, _) = refusal.parts();
            (status.as_u16(), kind.to_owned())
        };
        for (status, code, expected) in [
            (404, "model_not_found", (400, "ValidationError")),
            (503, "no_model_yet", (429, "ModelNotReadyException")),
            (503, "line_full", (503, "ServiceUnavailable")),
            (504, "deadline_exceeded", (503, "ServiceUnavailable")),
            (429, "rate", (429, "ThrottlingException")),
            (400, "anything", (424, "ModelError")),
            (502, "worker_failed", (424, "ModelError")),
            (401, "unauthorized", (500, "InternalFailure")),
            (413, "body_too_large", (400, "ValidationError")),
        ] {
            for body in [
                json!({"error": {"code": code, "message": "m"}}),
                json!({"error": "m", "error_type": "Validation", "code": code}),
            ] {
                let said = format!("{status} {body}");
                assert_eq!(
                    of(status, body),
                    (expected.0, expected.1.to_owned()),
                    "{said}"
                );
            }
        }
    }

    #[test]
    fn the_models_own_words_are_kept() {
        let refusal = translate(
            422,
            br#"{"error": "too long", "error_type": "Validation"}"#,
            "e",
        );
        let expected = Refusal::Model {
            status: 422,
            message: "too long".to_owned(),
        };
        assert_eq!(refusal, expected);
    }
}
