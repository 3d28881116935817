//! A client of the proxy.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Value, json};

/// Speaks to one proxy.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
}

/// What came back, and when.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
    /// Microseconds since 1970.
    pub sent_us: u64,
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
            token: None,
        }
    }

    /// A client of a worker, which asks for its token.
    pub fn with_token(url: String, token: &str) -> Self {
        Client {
            token: Some(token.to_owned()),
            ..Client::new(url)
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
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
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
        let (sent, sent_us) = (Instant::now(), now_us());
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await?;
        Ok(Answer {
            status,
            headers,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            sent_us,
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

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("it is after 1970").as_micros() as u64
}

/// A small generator of random numbers, the same for the same seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(seed)
    }

    /// Uniform over 0 to 1 (SplitMix64).
    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Exponential with this mean: the gaps of a Poisson process.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.uniform()).ln()
    }
}
