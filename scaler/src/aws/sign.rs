//! Signature Version 4 on calls that no client of the SDK makes, such as those to a managed
//! Prometheus.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use reqwest::Request;
use reqwest::header::{HeaderName, HeaderValue};
use tidegate_policy::SignRule;

use super::client::{CallLimits, LazyClient};
use crate::sources::Sign;

/// Signs by the credentials that the SDK finds.
pub struct Signer {
    config: LazyClient<SdkConfig>,
    service: String,
}

impl Signer {
    /// It looks for a region and credentials with the first call.
    pub fn new(rule: &SignRule, timeout: Duration) -> Signer {
        let limits = CallLimits::once(timeout);
        Signer {
            config: LazyClient::new(rule.endpoint(), limits, SdkConfig::clone),
            service: rule.service.clone(),
        }
    }
}

#[async_trait]
impl Sign for Signer {
    async fn sign(&self, request: &mut Request) -> Result<(), String> {
        let config = self.config.client().await;
        let config = config.map_err(|missing| missing.to_string())?;
        let provider = config.credentials_provider();
        let provider = provider.ok_or("no credentials of AWS are known")?;
        let credentials = provider.provide_credentials().await;
        let credentials = credentials.map_err(|error| format!("no credentials of AWS: {error}"))?;
        let identity = credentials.into();
        let region = config.region().map_or("", |region| region.as_ref());
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(&self.service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| error.to_string())?;
        add_signature(request, &params.into())
    }
}

fn add_signature(
    request: &mut Request,
    params: &aws_sigv4::http_request::SigningParams<'_>,
) -> Result<(), String> {
    let body = request.body().and_then(|body| body.as_bytes());
    let body = SignableBody::Bytes(body.unwrap_or_default());
    let headers = request.headers().iter();
    let headers = headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let signable = SignableRequest::new(
        request.method().as_str(),
        request.url().as_str(),
        headers,
        body,
    );
    let signable = signable.map_err(|error| error.to_string())?;
    let signed = sign(signable, params).map_err(|error| error.to_string())?;
    let (added, _signature) = signed.into_parts();
    for (name, value) in added.headers() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
        let value = HeaderValue::from_str(value).map_err(|error| error.to_string())?;
        request.headers_mut().insert(name, value);
    }
    Ok(())
}
