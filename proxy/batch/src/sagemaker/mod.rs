//! The calls of SageMaker's runtime, for clients that know nothing else: boto3 with an
//! `endpoint_url`.
//!
//! An endpoint is a model of the proxy. The keys of a body say what it asks for, as in containers on
//! SageMaker, and the answer is returned unchanged. Requests are queued as any client's,
//! not in the class of batches.

mod deferred;
mod error;
mod frames;
mod invocation;
mod signature;

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use axum::routing::post;
use futures_util::StreamExt;
use serde_json::value::RawValue;
use tidegate_http::RequestId;
use tidegate_protocol::REQUEST_ID_HEADER;

pub use self::deferred::Deferred;
use self::error::{Refusal, translate};
pub use self::invocation::{Answerer, Ended, Invocation, Location, Places};
use self::signature::AccessKeys;
use crate::ask::Asker;
use crate::clock::unix_seconds;
use crate::config::{Callers, SageMakerRules, Unusable, read_private};
use crate::input::Endpoint;

const TARGET_MODEL: HeaderName = HeaderName::from_static("x-amzn-sagemaker-target-model");
const TARGET_VARIANT: HeaderName = HeaderName::from_static("x-amzn-sagemaker-target-variant");
const INFERENCE_ID: HeaderName = HeaderName::from_static("x-amzn-sagemaker-inference-id");
const ATTRIBUTES: HeaderName = HeaderName::from_static("x-amzn-sagemaker-custom-attributes");
const STREAM_TYPE: HeaderName = HeaderName::from_static("x-amzn-sagemaker-content-type");
const VARIANT_HEADER: HeaderName = HeaderName::from_static("x-amzn-invoked-production-variant");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const PROXY_REQUEST_ID: HeaderName = HeaderName::from_static(REQUEST_ID_HEADER);

/// The one variant that an endpoint has here.
const VARIANT: &str = "AllTraffic";

/// SageMaker's own limit.
const LONGEST_ENDPOINT: usize = 63;

/// How long the proxy may take to say whether it knows a model.
const MODEL_TIMEOUT: Duration = Duration::from_secs(5);

/// Which route takes a body with this key; the first that fits.
const ROUTES: [(&str, Endpoint); 6] = [
    ("messages", Endpoint::Chat),
    ("prompt", Endpoint::Completions),
    ("input", Endpoint::Embeddings),
    ("documents", Endpoint::Rerank),
    ("texts", Endpoint::Texts),
    ("inputs", Endpoint::Inputs),
];

pub struct Runtime {
    rules: SageMakerRules,
    /// `None`: anyone may call, signed or not.
    keys: Option<AccessKeys>,
    http: reqwest::Client,
    url: reqwest::Url,
    key: Option<String>,
}

impl Runtime {
    /// `None` when the configuration lets nobody call.
    pub fn new(rules: &SageMakerRules, asker: &Asker) -> anyhow::Result<Option<Runtime>> {
        let keys = match rules.callers {
            Callers::Nobody => return Ok(None),
            Callers::Anyone => None,
            Callers::Signed => Some(read_keys(rules.access_keys_file.as_deref())?),
        };
        let (url, key) = asker.proxy();
        Ok(Some(Runtime {
            rules: rules.clone(),
            keys,
            http: reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .build()?,
            url,
            key,
        }))
    }
}

pub fn routes(runtime: Arc<Runtime>, deferred: Deferred) -> Router {
    let now = Router::new()
        .route("/endpoints/{endpoint}/invocations", post(invoke))
        .route(
            "/endpoints/{endpoint}/invocations-response-stream",
            post(invoke_stream),
        )
        .with_state(runtime);
    now.merge(deferred::routes(Arc::new(deferred)))
}

async fn invoke(
    State(runtime): State<Arc<Runtime>>,
    Path(endpoint): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, body, _) = runtime.admit(request).await?;
    let answer = runtime.ask(&endpoint, &parts, &body).await?;
    let kind = answer.headers().get(header::CONTENT_TYPE).cloned();
    let body = answer.bytes().await.map_err(|_| broken_off())?;
    let mut response = Response::new(Body::from(body));
    if let Some(kind) = kind {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    finish(&mut response, &parts.headers);
    Ok(response)
}

async fn invoke_stream(
    State(runtime): State<Arc<Runtime>>,
    Path(endpoint): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, body, _) = runtime.admit(request).await?;
    let answer = runtime.ask(&endpoint, &parts, &body).await?;
    let kind = answer.headers().get(header::CONTENT_TYPE).cloned();
    let pieces = answer.bytes_stream().map(|piece| match piece {
        Ok(piece) => frames::part(&piece),
        Err(_) => frames::broken(),
    });
    let pieces = pieces.map(Ok::<_, std::convert::Infallible>);
    let mut response = Response::new(Body::from_stream(pieces));
    let event_stream = HeaderValue::from_static("application/vnd.amazon.eventstream");
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, event_stream);
    if let Some(kind) = kind {
        response.headers_mut().insert(STREAM_TYPE, kind);
    }
    finish(&mut response, &parts.headers);
    Ok(response)
}

impl Runtime {
    /// Reads the request whole and looks who has signed it.
    /// Gives the id of its key, where keys are looked at.
    async fn admit(&self, request: Request) -> Result<(Parts, Bytes, Option<String>), Refusal> {
        let (parts, body) = request.into_parts();
        let most = self.rules.body_bytes;
        let body = axum::body::to_bytes(body, most);
        let body = tokio::time::timeout(*self.rules.timeout, body).await;
        let body = body.map_err(|_| {
            let limit = self.rules.timeout;
            Refusal::Validation(format!("the body did not arrive within {limit}"))
        })?;
        let body = body.map_err(|_| {
            Refusal::Validation(format!(
                "the body is larger than {most} bytes, or broke off"
            ))
        })?;
        let key = match &self.keys {
            Some(keys) => Some(keys.verify(&parts, &body, unix_seconds())?),
            None => None,
        };
        Ok((parts, body, key))
    }

    /// The model that a request is for.
    fn model<'a>(&'a self, endpoint: &'a str, headers: &'a HeaderMap) -> Result<&'a str, Refusal> {
        if endpoint.len() > LONGEST_ENDPOINT {
            let words = format!("an endpoint's name has at most {LONGEST_ENDPOINT} characters");
            return Err(Refusal::Validation(words));
        }
        let variant = text(headers, &TARGET_VARIANT).filter(|variant| *variant != VARIANT);
        if let Some(variant) = variant {
            let words =
                format!("Variant {variant} of endpoint {endpoint} not found; there is {VARIANT}.");
            return Err(Refusal::Validation(words));
        }
        let named = (self.rules.endpoints.get(endpoint)).map_or(endpoint, String::as_str);
        Ok(text(headers, &TARGET_MODEL).unwrap_or(named))
    }

    /// Refuses a model that the proxy knows not to exist. One that it cannot tell of may come yet.
    async fn check_model(&self, model: &str, endpoint: &str) -> Result<(), Refusal> {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().extend(["v1", "models", model]);
        }
        let mut request = self.http.get(url).timeout(MODEL_TIMEOUT);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let Ok(answer) = request.send().await else {
            return Ok(());
        };
        match answer.status().as_u16() {
            404 => Err(translate(
                404,
                &answer.bytes().await.unwrap_or_default(),
                endpoint,
            )),
            _ => Ok(()),
        }
    }

    /// The proxy's answer of 2xx.
    async fn ask(
        &self,
        endpoint: &str,
        parts: &Parts,
        body: &[u8],
    ) -> Result<reqwest::Response, Refusal> {
        let model = self.model(endpoint, &parts.headers)?;
        let (to, body) = understand(body, model)?;
        let mut url = self.url.clone();
        url.set_path(to.path());
        let mut request = self
            .http
            .post(url)
            .header(header::CONTENT_TYPE, "application/json");
        // That of the proxy in front, where the client names none that can be one.
        let id = text(&parts.headers, &INFERENCE_ID);
        let id = id.filter(|id| RequestId::stated(id.as_bytes()).is_some());
        if let Some(id) = id.or_else(|| text(&parts.headers, &PROXY_REQUEST_ID)) {
            request = request.header(PROXY_REQUEST_ID, id);
        }
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let answer = request.timeout(*self.rules.timeout).body(body).send().await;
        let answer = answer.map_err(|error| match error.is_timeout() {
            true => Refusal::Unavailable("the model did not answer in time".to_owned()),
            false => Refusal::Unavailable("the proxy cannot be reached".to_owned()),
        })?;
        match answer.status().as_u16() {
            200..=299 => Ok(answer),
            status => {
                let body = answer.bytes().await.map_err(|_| broken_off())?;
                Err(translate(status, &body, endpoint))
            }
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Where a body goes, and the body with the model's name in it.
fn understand(body: &[u8], model: &str) -> Result<(Endpoint, Vec<u8>), Refusal> {
    let invalid = |words: String| Refusal::Model {
        status: 422,
        message: words,
    };
    let quoted = serde_json::value::to_raw_value(model)
        .map_err(|error| Refusal::Internal(error.to_string()))?;
    let parsed: Result<std::collections::BTreeMap<String, &RawValue>, _> =
        serde_json::from_slice(body);
    let mut parsed = parsed.map_err(|error| invalid(format!("expected a JSON object: {error}")))?;
    let route = ROUTES.iter().find(|(key, _)| parsed.contains_key(*key));
    let (_, endpoint) = route.ok_or_else(|| {
        let known = ROUTES.map(|(key, _)| key).join(", ");
        invalid(format!("expected one of the keys {known}"))
    })?;
    parsed.insert("model".to_owned(), &quoted);
    let body = serde_json::to_vec(&parsed).map_err(|error| Refusal::Internal(error.to_string()))?;
    Ok((*endpoint, body))
}

fn finish(response: &mut Response, asked: &HeaderMap) {
    let headers = response.headers_mut();
    headers.insert(VARIANT_HEADER, HeaderValue::from_static(VARIANT));
    if let Some(attributes) = asked.get(ATTRIBUTES) {
        headers.insert(ATTRIBUTES, attributes.clone());
    }
    if let Some(id) = asked.get(PROXY_REQUEST_ID) {
        headers.insert(REQUEST_ID, id.clone());
    }
}

fn broken_off() -> Refusal {
    Refusal::Model {
        status: 502,
        message: "the answer broke off".to_owned(),
    }
}

fn read_keys(file: Option<&FilePath>) -> Result<AccessKeys, Unusable> {
    const KEY: &str = "sagemaker.access_keys_file";
    let Some(file) = file else {
        return Err(Unusable(format!(
            "sagemaker.callers is \"signed\": set {KEY}"
        )));
    };
    let text = read_private(KEY, file)?;
    AccessKeys::parse(&text).map_err(|line| {
        let name = file.display();
        Unusable(format!(
            "{KEY} {name}:{line}: expected an access key id and its secret"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_says_by_its_keys_where_it_goes() {
        for (body, path) in [
            (r#"{"inputs": ["a"], "normalize": true}"#, "/"),
            (r#"{"input": "a"}"#, "/v1/embeddings"),
            (
                r#"{"messages": [], "model": "theirs"}"#,
                "/v1/chat/completions",
            ),
            (r#"{"prompt": "a"}"#, "/v1/completions"),
            (r#"{"query": "a", "documents": []}"#, "/v1/rerank"),
            (r#"{"query": "a", "texts": []}"#, "/rerank"),
        ] {
            let (found, sent) = understand(body.as_bytes(), "ours").expect("it is understood");
            assert_eq!(found.path(), path, "{body}");
            let sent: serde_json::Value = serde_json::from_slice(&sent).expect("JSON");
            assert_eq!(sent["model"], "ours");
        }
        for wrong in ["", "[1]", "{\"x\": 1}", "text"] {
            assert!(matches!(
                understand(wrong.as_bytes(), "m"),
                Err(Refusal::Model { status: 422, .. })
            ));
        }
    }
}
