//! The HTTP client that brings spans to the collector.

use bytes::Bytes;
use http::{Request, Response};
use opentelemetry_http::{HttpClient, HttpError};
use reqwest::redirect::Policy;

/// A longer answer of the collector is not read to its end.
const LARGEST_ANSWER: usize = 1 << 20;

/// Follows no redirect, so that headers with secrets reach no other address.
#[derive(Clone, Debug)]
pub struct CollectorClient(reqwest::Client);

impl CollectorClient {
    pub fn new() -> reqwest::Result<CollectorClient> {
        let client = reqwest::Client::builder()
            .redirect(Policy::none())
            .build()?;
        Ok(CollectorClient(client))
    }
}

#[async_trait::async_trait]
impl HttpClient for CollectorClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut answer = self.0.execute(request.try_into()?).await?;
        let mut response = Response::builder().status(answer.status());
        if let Some(headers) = response.headers_mut() {
            headers.clone_from(answer.headers());
        }
        let mut body = Vec::new();
        while body.len() < LARGEST_ANSWER
            && let Some(piece) = answer.chunk().await?
        {
            body.extend_from_slice(&piece);
        }
        Ok(response.body(Bytes::from(body))?)
    }
}
