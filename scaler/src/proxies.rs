//! The configured proxies: their signals are read, and drain orders are given to them.

use std::error::Error;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use tidegate_config::Tokens;
use tidegate_control::Answer;
use tidegate_wire::{
    DRAIN_PATH, OLDEST_VERSION, Order, SIGNAL_PATH, Signal, UNDRAIN_PATH, VERSION,
};

use crate::http;

/// Room for the signals of ten thousand workers.
const LARGEST_SIGNAL_BYTES: usize = 16 << 20;

/// Why a proxy did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ProxyFault {
    #[error("it cannot be reached: {why}")]
    Unreachable { why: String },
    #[error("it does not answer within {after:?}")]
    Slow { after: Duration },
    #[error("it refuses the operator token")]
    Token,
    #[error("it answers with {status}")]
    Status { status: StatusCode },
    #[error("its signal cannot be read: {why}")]
    NotASignal { why: String },
    #[error(
        "its signal has version {found}, expected {OLDEST_VERSION} to {}",
        VERSION + 1
    )]
    Version { found: u32 },
}

/// All configured proxies.
#[derive(Debug)]
pub struct Proxies {
    client: Client,
    urls: Vec<String>,
    tokens: Tokens,
    timeout: Duration,
}

impl Proxies {
    pub fn new(urls: Vec<String>, tokens: Tokens, timeout: Duration) -> Proxies {
        Proxies {
            client: http::client(),
            urls,
            tokens,
            timeout,
        }
    }

    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    /// Every proxy's signal, asked for at the same time; in the configuration's order.
    pub async fn signals(&self) -> Vec<Result<Signal, ProxyFault>> {
        join_all(self.urls.iter().map(|url| self.signal(url))).await
    }

    /// Gives one order; giving it again changes nothing.
    pub async fn order(&self, url: &str, order: Order, worker: &str) -> Result<(), ProxyFault> {
        let path = match order {
            Order::Drain => DRAIN_PATH,
            Order::Undrain => UNDRAIN_PATH,
        };
        let request = self.client.post(format!("{url}{path}{worker}"));
        self.send(request).await.map(drop)
    }

    async fn signal(&self, url: &str) -> Result<Signal, ProxyFault> {
        let read = async {
            let request = self.client.get(format!("{url}{SIGNAL_PATH}"));
            let body = body(self.send(request).await?).await?;
            serde_json::from_slice(&body).map_err(|error| {
                let why = error.to_string();
                ProxyFault::NotASignal { why }
            })
        };
        let after = self.timeout;
        let slow = ProxyFault::Slow { after };
        let signal: Signal = tokio::time::timeout(after, read)
            .await
            .unwrap_or(Err(slow))?;
        match signal.version {
            OLDEST_VERSION.. if signal.version <= VERSION + 1 => Ok(signal),
            found => Err(ProxyFault::Version { found }),
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ProxyFault> {
        let after = self.timeout;
        let request = request.bearer_auth(self.tokens.current()).timeout(after);
        let response = request
            .send()
            .await
            .map_err(|error| match error.is_timeout() {
                true => ProxyFault::Slow { after },
                false => unreachable(&error),
            })?;
        match response.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(ProxyFault::Token),
            status if status.is_success() => Ok(response),
            status => Err(ProxyFault::Status { status }),
        }
    }
}

/// Pairs each proxy's answer with its name.
pub fn answers(urls: &[String], signals: &[Result<Signal, ProxyFault>]) -> Vec<Answer> {
    let pairs = urls.iter().zip(signals);
    pairs
        .map(|(url, signal)| Answer {
            source: url.clone(),
            signal: signal.as_ref().ok().cloned(),
        })
        .collect()
}

async fn body(mut response: Response) -> Result<Vec<u8>, ProxyFault> {
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| unreachable(&error))?
    {
        if body.len() + chunk.len() > LARGEST_SIGNAL_BYTES {
            let why = format!("it is longer than {LARGEST_SIGNAL_BYTES} bytes");
            return Err(ProxyFault::NotASignal { why });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What lies at the bottom of a client's error, such as `Connection refused (os error 111)`.
fn unreachable(error: &reqwest::Error) -> ProxyFault {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let why = cause.to_string();
    ProxyFault::Unreachable { why }
}
