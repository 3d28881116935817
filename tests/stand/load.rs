//! A client of the proxy.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

/// Speaks to one proxy.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
}

/// What came back, and when.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
    pub sent: Instant,
    pub took: Duration,
}

/// What a timed worker says of one request.
#[derive(Clone, Debug, Deserialize)]
pub struct Timed {
    /// Requests this worker has answered, this one included.
    pub order: u64,
    pub began_us: u64,
    pub ended_us: u64,
    pub bytes: usize,
    pub hash: String,
    pub headers: std::collections::BTreeMap<String, String>,
}

impl Client {
    pub fn new(url: String) -> Self {
        Client {
            http: reqwest::Client::new(),
            url,
        }
    }

    /// A request that takes its worker `service_ms`.
    pub async fn timed(&self, service_ms: u64) -> Answer {
        self.post(&json!({"service_ms": service_ms})).await
    }

    pub async fn post(&self, body: &Value) -> Answer {
        self.post_with(body, &[]).await
    }

    pub async fn post_with(&self, body: &Value, headers: &[(&'static str, &str)]) -> Answer {
        self.try_post(body, headers)
            .await
            .expect("the proxy answers")
    }

    pub async fn try_post(
        &self,
        body: &Value,
        headers: &[(&'static str, &str)],
    ) -> reqwest::Result<Answer> {
        let mut request = self
            .http
            .post(format!("{}/v1/embeddings", self.url))
            .json(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(request).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        let request = self.http.get(format!("{}{path}", self.url));
        Answer::of(request).await.expect("the proxy answers")
    }
}

impl Answer {
    async fn of(request: reqwest::RequestBuilder) -> reqwest::Result<Self> {
        let sent = Instant::now();
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await?;
        Ok(Answer {
            status,
            headers,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            sent,
            took: sent.elapsed(),
        })
    }

    /// What the timed worker said; fails the test when it was not answered by one.
    pub fn timed(&self) -> Timed {
        assert_eq!(self.status, 200, "{}", self.body);
        serde_json::from_value(self.body.clone()).expect("a timed worker answered")
    }

    /// The code of an OpenAI-shaped error.
    pub fn error_code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or("none")
    }
}
