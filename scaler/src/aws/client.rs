//! Makes the client for any service of AWS: region, credentials, timeout and retries.
//!
//! Credentials come from the environment, a profile, the container's or the instance's role, in
//! the order in which the SDK looks for them.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use tidegate_policy::AwsEndpoint;
use tokio::sync::OnceCell;

/// For the connection alone; whoever does not take it within that is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a call may take, and how often it is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// One try.
    pub attempt: Duration,
    /// All tries of one call, with the waits between them.
    pub call: Duration,
    pub attempts: u32,
}

impl CallLimits {
    /// One try, for what is asked again soon anyway.
    pub fn once(limit: Duration) -> CallLimits {
        CallLimits {
            attempt: limit,
            call: limit,
            attempts: 1,
        }
    }
}

/// Why a client could not be made. The next use tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoClient {
    #[error(
        "no region is known: the policy, the environment and the profile have none, and the instance's metadata service does not answer"
    )]
    NoRegion,
    #[error("no region was found within {0:?}; set region in the policy")]
    Slow(Duration),
}

/// A client of one service, made at its first use, as it may have to ask the instance for its
/// region. One that could not be made is tried again at the next use: an instance's metadata may
/// answer later than the daemon starts.
pub struct LazyClient<C> {
    endpoint: AwsEndpoint,
    limits: CallLimits,
    make: fn(&SdkConfig) -> C,
    client: OnceCell<C>,
}

impl<C> LazyClient<C> {
    /// `make` is the service's own `Client::new`.
    pub fn new(
        endpoint: AwsEndpoint,
        limits: CallLimits,
        make: fn(&SdkConfig) -> C,
    ) -> LazyClient<C> {
        LazyClient {
            endpoint,
            limits,
            make,
            client: OnceCell::new(),
        }
    }

    /// Takes as long as one call may.
    ///
    /// # Errors
    /// When no region is known by then.
    pub async fn client(&self) -> Result<&C, NoClient> {
        self.client.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<C, NoClient> {
        let limit = self.limits.call;
        let config = tokio::time::timeout(limit, sdk_config(&self.endpoint, self.limits)).await;
        let config = config.map_err(|_| NoClient::Slow(limit))?;
        // A variable that is set to nothing counts as a region with the SDK.
        let is_known = config
            .region()
            .is_some_and(|region| !region.as_ref().is_empty());
        match is_known {
            true => Ok((self.make)(&config)),
            false => Err(NoClient::NoRegion),
        }
    }
}

/// What every client of the SDK is made from.
async fn sdk_config(endpoint: &AwsEndpoint, limits: CallLimits) -> SdkConfig {
    // The SDK's own default brings a second TLS library.
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT.min(limits.attempt))
        .operation_attempt_timeout(limits.attempt)
        .operation_timeout(limits.call)
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(limits.attempts));
    if let Some(region) = &endpoint.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(url) = &endpoint.endpoint_url {
        loader = loader.endpoint_url(url);
    }
    loader.load().await
}
