//! One signed request to a service of AWS, tried again when that may help.
//!
//! The SDK's clients are not used: S3 is asked for five things here and SQS for five, and a client of
//! S3 alone is minutes to build. Credentials and the region are found as the SDK finds them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use bytes::Bytes;
use futures_util::TryStreamExt;
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Body, Client, Method, RequestBuilder, Response};
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;

use super::SharedError;
use crate::disk::pieces;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long nothing may come or be taken; longer than a message is waited for.
const SILENCE: Duration = Duration::from_secs(30);

/// Goes before `AWS_ENDPOINT_URL`, which the SDK reads.
const ENDPOINT_VARIABLE: &str = "AWS_ENDPOINT_URL_S3";

const TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// Credentials are asked for again so long before they end.
const BEFORE_END: Duration = Duration::from_secs(300);

#[derive(Clone)]
pub struct Aws {
    common: Arc<Common>,
}

struct Common {
    http: Client,
    /// For files. A time limit of reqwest's for answers begins with the request, however long that takes to
    /// be sent.
    uploads: Client,
    region: String,
    /// Of S3, where the environment or the profile says so.
    endpoint: Option<String>,
    provider: SharedCredentialsProvider,
    known: Mutex<Option<Credentials>>,
}

/// What is asked.
pub struct Ask {
    pub service: &'static str,
    pub method: Method,
    pub url: String,
    pub headers: Vec<(&'static str, String)>,
    pub payload: Payload,
}

pub enum Payload {
    Bytes(Bytes),
    /// A file that is not changed meanwhile.
    File {
        path: PathBuf,
        bytes: u64,
        /// In hexadecimal digits: the service refuses whatever has another.
        sha256: String,
    },
}

impl Aws {
    pub async fn connect(region: Option<&str>) -> Result<Aws, SharedError> {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
        if let Some(region) = region {
            loader = loader.region(Region::new(region.to_owned()));
        }
        let aws = loader.load().await;
        let region = aws.region().map(ToString::to_string);
        let region = region.filter(|region| !region.is_empty());
        let endpoint = std::env::var(ENDPOINT_VARIABLE).ok();
        let endpoint = endpoint.or_else(|| aws.endpoint_url().map(str::to_owned));
        let provider = aws.credentials_provider();
        let client = || {
            Client::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .redirect(reqwest::redirect::Policy::none())
        };
        let http = client().read_timeout(SILENCE).build();
        let uploads = client().build();
        let common = Common {
            http: http.map_err(SharedError::unreachable("AWS"))?,
            uploads: uploads.map_err(SharedError::unreachable("AWS"))?,
            region: region.ok_or(SharedError::NoRegion)?,
            endpoint: endpoint.filter(|endpoint| !endpoint.is_empty()),
            provider: provider
                .ok_or_else(|| SharedError::NoCredentials("nothing provides them".to_owned()))?,
            known: Mutex::default(),
        };
        Ok(Aws {
            common: Arc::new(common),
        })
    }

    pub fn region(&self) -> &str {
        &self.common.region
    }

    pub fn endpoint(&self) -> Option<&str> {
        self.common.endpoint.as_deref()
    }

    /// The answer, whatever its status, unless it says that trying again may help.
    pub async fn send(&self, ask: &Ask) -> Result<Response, SharedError> {
        let mut wait = FIRST_WAIT;
        for _ in 1..TRIES {
            match self.try_once(ask).await {
                Ok(answer) if !may_pass(&answer) => return Ok(answer),
                Ok(_) | Err(SharedError::Unreachable { .. } | SharedError::Silent { .. }) => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        self.try_once(ask).await
    }

    async fn try_once(&self, ask: &Ask) -> Result<Response, SharedError> {
        let credentials = self.credentials().await?;
        let signed = signature(ask, &credentials, self.region())?;
        let http = match ask.payload {
            Payload::Bytes(_) => &self.common.http,
            Payload::File { .. } => &self.common.uploads,
        };
        let mut request = http.request(ask.method.clone(), &ask.url);
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        for (name, value) in signed {
            request = request.header(name, value);
        }
        let sent = match &ask.payload {
            Payload::Bytes(bytes) => request.body(bytes.clone()).send().await,
            Payload::File { path, bytes, .. } => {
                let file = tokio::fs::File::open(path).await;
                let file = file.map_err(SharedError::io(path))?;
                let request = request.header(CONTENT_LENGTH, *bytes);
                let service = ask.service;
                let silent = |_| SharedError::Silent { service };
                send_file(request, file).await.map_err(silent)?
            }
        };
        sent.map_err(SharedError::unreachable(ask.service))
    }

    async fn credentials(&self) -> Result<Credentials, SharedError> {
        let mut known = self.common.known.lock().await;
        let soon = SystemTime::now() + BEFORE_END;
        if let Some(known) = &*known
            && known.expiry().is_none_or(|end| end > soon)
        {
            return Ok(known.clone());
        }
        let found = self.common.provider.provide_credentials().await;
        let found = found.map_err(|error| SharedError::NoCredentials(error.to_string()))?;
        Ok(known.insert(found).clone())
    }
}

/// Nothing was taken or answered for [`SILENCE`].
struct Silent;

/// Sends a file for as long as it moves: the time that this takes depends on its size.
async fn send_file(
    request: RequestBuilder,
    file: tokio::fs::File,
) -> Result<reqwest::Result<Response>, Silent> {
    let (moved, mut moves) = watch::channel(());
    let pieces = pieces(file).inspect_ok(move |_| moved.send_replace(()));
    let mut sent = std::pin::pin!(request.body(Body::wrap_stream(pieces)).send());
    loop {
        tokio::select! {
            sent = &mut sent => return Ok(sent),
            moved = timeout(SILENCE, moves.changed()) => match moved {
                Ok(Ok(())) => {}
                // It is sent whole.
                Ok(Err(_)) => return timeout(SILENCE, sent).await.map_err(|_| Silent),
                Err(_) => return Err(Silent),
            },
        }
    }
}

/// Whether the same request may have another answer soon: 409 is two writers at one moment.
fn may_pass(answer: &Response) -> bool {
    matches!(answer.status().as_u16(), 409 | 429 | 500..=599)
}

/// The headers that let a request in.
fn signature(
    ask: &Ask,
    credentials: &Credentials,
    region: &str,
) -> Result<Vec<(String, String)>, SharedError> {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let identity = credentials.clone().into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(ask.service)
        .time(SystemTime::now())
        .settings(settings)
        .build()
        .map_err(|error| SharedError::Unsigned(error.to_string()))?
        .into();
    let body = match &ask.payload {
        Payload::Bytes(bytes) => SignableBody::Bytes(bytes),
        Payload::File { sha256, .. } => SignableBody::Precomputed(sha256.clone()),
    };
    let headers = (ask.headers.iter()).map(|(name, value)| (*name, value.as_str()));
    let request = SignableRequest::new(ask.method.as_str(), &ask.url, headers, body)
        .map_err(|error| SharedError::Unsigned(error.to_string()))?;
    let signed =
        sign(request, &params).map_err(|error| SharedError::Unsigned(error.to_string()))?;
    let (instructions, _) = signed.into_parts();
    Ok((instructions.headers())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}
