//! One way to a client of any service of AWS: the region, the credentials, the time a call may
//! take and how often it is tried again.
//!
//! Credentials come from the environment, a profile, the container's or the instance's role, in
//! the order in which the SDK looks for them.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use serde::Deserialize;
use tidegate_config::Problem;
use tokio::sync::OnceCell;

/// For the connection alone; whoever does not take it within that is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Where a service is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Place {
    /// What the environment, the profile or the instance says when absent.
    pub region: Option<String>,
    /// Another address than AWS's own, such as an emulator's.
    pub endpoint_url: Option<String>,
}

/// How long a call may take, and how often it is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// One try.
    pub attempt: Duration,
    /// All tries of one call, with the waits between them.
    pub call: Duration,
    pub attempts: u32,
}

impl Patience {
    /// One try, for what is asked again soon anyway.
    pub fn once(limit: Duration) -> Patience {
        Patience {
            attempt: limit,
            call: limit,
            attempts: 1,
        }
    }
}

impl Place {
    pub fn check(&self) -> Result<(), Problem> {
        let quoted = |text: &str| format!("\"{text}\"");
        if let Some(region) = self.region.as_deref().filter(|text| !is_region(text)) {
            let expected = "a region such as \"eu-central-1\"";
            return Err(Problem::new("region", quoted(region), expected));
        }
        match self.endpoint_url.as_deref().filter(|text| !is_base(text)) {
            Some(url) => {
                let expected = "a base URL such as \"http://127.0.0.1:5000\"";
                Err(Problem::new("endpoint_url", quoted(url), expected))
            }
            None => Ok(()),
        }
    }
}

fn is_region(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.contains('-') && text.bytes().all(plain)
}

fn is_base(text: &str) -> bool {
    let parsed = reqwest::Url::parse(text);
    parsed.is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty()
    })
}

/// Why a client could not be made. The next use tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unplaced {
    #[error(
        "no region is known: the policy, the environment and the profile say none, and the \
         instance's metadata do not answer"
    )]
    NoRegion,
    #[error("no region was found within {0:?}; a region in the policy needs no asking")]
    Slow(Duration),
}

/// A client of one service, made at its first use, as it may have to ask the instance for its
/// region. One that could not be made is tried again at the next use: an instance's metadata may
/// answer later than the daemon starts.
pub struct Link<C> {
    place: Place,
    patience: Patience,
    make: fn(&SdkConfig) -> C,
    client: OnceCell<C>,
}

impl<C> Link<C> {
    /// `make` is the service's own `Client::new`.
    pub fn new(place: Place, patience: Patience, make: fn(&SdkConfig) -> C) -> Link<C> {
        Link {
            place,
            patience,
            make,
            client: OnceCell::new(),
        }
    }

    /// Takes as long as one call may.
    ///
    /// # Errors
    /// When no region is known by then.
    pub async fn client(&self) -> Result<&C, Unplaced> {
        self.client.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<C, Unplaced> {
        let limit = self.patience.call;
        let config = tokio::time::timeout(limit, sdk_config(&self.place, self.patience)).await;
        let config = config.map_err(|_| Unplaced::Slow(limit))?;
        // A variable that is set to nothing counts as a region with the SDK.
        let is_known = config
            .region()
            .is_some_and(|region| !region.as_ref().is_empty());
        match is_known {
            true => Ok((self.make)(&config)),
            false => Err(Unplaced::NoRegion),
        }
    }
}

/// What every client of the SDK is made from.
async fn sdk_config(place: &Place, patience: Patience) -> SdkConfig {
    // The SDK's own default brings a second TLS library.
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT.min(patience.attempt))
        .operation_attempt_timeout(patience.attempt)
        .operation_timeout(patience.call)
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(patience.attempts));
    if let Some(region) = &place.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(url) = &place.endpoint_url {
        loader = loader.endpoint_url(url);
    }
    loader.load().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_cannot_be_are_refused() {
        let place = |region: &str, url: &str| Place {
            region: Some(region.to_owned()),
            endpoint_url: Some(url.to_owned()),
        };
        assert!(Place::default().check().is_ok());
        assert!(
            place("eu-central-1", "https://vpce.example")
                .check()
                .is_ok()
        );
        for (region, url) in [
            ("Frankfurt", "http://127.0.0.1:5000"),
            ("eu-central-1", "127.0.0.1:5000"),
            ("eu-central-1", "http://user:secret@host"),
        ] {
            assert!(place(region, url).check().is_err(), "{region} {url}");
        }
    }
}
