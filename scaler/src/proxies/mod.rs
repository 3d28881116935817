//! The configured proxies: their signals are read, and drain orders are given to them.
//!
//! A proxy is called by its address, also where the configuration has a name for several.

mod names;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use tidegate_config::Tokens;
use tidegate_control::Answer;
use tidegate_protocol::{
    DRAIN_PATH, OLDEST_VERSION, Order, SIGNAL_PATH, Signal, UNDRAIN_PATH, VERSION,
};

use crate::http;
use names::{Place, Target};

pub use names::{Resolve, System};

/// Room for the signals of ten thousand workers.
const LARGEST_SIGNAL_BYTES: usize = 16 << 20;

/// Why a proxy did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ProxyFault {
    #[error("it cannot be reached: {why}")]
    Unreachable { why: String },
    #[error("the name has no known address: {why}")]
    Unresolved { why: String },
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

/// What asking one proxy brought.
#[derive(Debug)]
pub struct Reply {
    /// What the proxy is called: its URL.
    pub source: String,
    pub signal: Result<Signal, ProxyFault>,
}

/// Which proxies are asked, and how.
#[derive(Clone)]
pub struct Addressees {
    /// Base URLs of their admin ports.
    pub urls: Vec<String>,
    pub tokens: Tokens,
    /// For one call to one proxy.
    pub timeout: Duration,
}

/// Where signals come from and orders go to.
#[async_trait]
pub trait Signals: Send + Sync {
    /// Goes on with these proxies. Who is known behind a name that stays is not forgotten.
    fn follow(&mut self, addressees: Addressees);

    /// Every proxy's signal, asked for at the same time.
    async fn signals(&mut self) -> Vec<Reply>;

    /// Gives one order to a proxy by its source; giving it again changes nothing.
    async fn order(&self, source: &str, order: Order, worker: &str) -> Result<(), ProxyFault>;
}

/// All configured proxies.
pub struct Proxies {
    client: Client,
    places: Vec<Place>,
    resolver: Arc<dyn Resolve>,
    tokens: Tokens,
    timeout: Duration,
}

impl Proxies {
    pub fn of(addressees: Addressees) -> Proxies {
        let Addressees {
            urls,
            tokens,
            timeout,
        } = addressees;
        Proxies {
            client: http::client(),
            places: urls.iter().map(|url| Place::new(url)).collect(),
            resolver: Arc::new(System),
            tokens,
            timeout,
        }
    }

    /// As [`Proxies::of`], with a resolver of the caller's for names.
    #[must_use]
    pub fn resolved_by(self, resolver: Arc<dyn Resolve>) -> Proxies {
        Proxies { resolver, ..self }
    }

    /// Whom to ask now; who is behind two of the configured URLs is asked once.
    async fn targets(&mut self) -> Vec<Target> {
        let resolver = &self.resolver;
        join_all(self.places.iter_mut().map(|place| place.refresh(resolver))).await;
        let mut targets = Vec::new();
        for target in self.places.iter().flat_map(Place::targets) {
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        targets
    }

    async fn ask(&self, target: &Target) -> Result<Signal, ProxyFault> {
        match target {
            Target::At(url) => self.signal(url).await,
            Target::Unknown { why, .. } => Err(ProxyFault::Unresolved { why: why.clone() }),
        }
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

#[async_trait]
impl Signals for Proxies {
    fn follow(&mut self, addressees: Addressees) {
        let mut known = std::mem::take(&mut self.places);
        let places = addressees.urls.iter().map(|url| {
            let found = known.iter().position(|place| place.url() == url);
            found.map_or_else(|| Place::new(url), |found| known.swap_remove(found))
        });
        self.places = places.collect();
        (self.tokens, self.timeout) = (addressees.tokens, addressees.timeout);
    }

    async fn signals(&mut self) -> Vec<Reply> {
        let targets = self.targets().await;
        let signals = join_all(targets.iter().map(|target| self.ask(target))).await;
        let mut replies = Vec::new();
        for (target, signal) in targets.iter().zip(signals) {
            let source = target.url().to_owned();
            if signal.is_ok() {
                let places = self.places.iter_mut();
                places.for_each(|place| place.answered(&source));
            }
            replies.push(Reply { source, signal });
        }
        replies
    }

    async fn order(&self, source: &str, order: Order, worker: &str) -> Result<(), ProxyFault> {
        let path = match order {
            Order::Drain => DRAIN_PATH,
            Order::Undrain => UNDRAIN_PATH,
        };
        let request = self.client.post(format!("{source}{path}{worker}"));
        self.send(request).await.map(drop)
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies")
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}

/// What the replies are to the law.
pub fn answers(replies: &[Reply]) -> Vec<Answer> {
    let answers = replies.iter().map(|reply| Answer {
        source: reply.source.clone(),
        signal: reply.signal.as_ref().ok().cloned(),
    });
    answers.collect()
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
