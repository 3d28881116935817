//! One signed request to S3: an object from a byte on.
//!
//! The SDK's client of S3 is not used: it is minutes to build and megabytes large for the one
//! call that a worker makes. Credentials are found as the SDK finds them.

use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, RANGE};
use reqwest::{Client, Response, StatusCode};

use super::{Address, S3Config, S3Error};
use crate::units::Bytes;

/// For a connection, and for each piece of the answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Of the words of a refusal.
const LARGEST_REFUSAL_BYTES: usize = 16 << 10;

/// A bucket as one object of it is asked for.
pub struct Bucket {
    client: Client,
    credentials: Credentials,
    region: String,
    url: String,
    address: Address,
    most: Bytes,
}

/// The answer, while it comes in.
pub struct Part {
    response: Response,
    address: Address,
    /// Its first byte's place in the object.
    pub from: u64,
    /// Bytes of the whole object, where the answer says so.
    pub whole: Option<u64>,
}

impl Bucket {
    pub async fn connect(address: &Address, config: &S3Config) -> Result<Bucket, S3Error> {
        let address = address.clone();
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
        if let Some(region) = &config.region {
            loader = loader.region(Region::new(region.clone()));
        }
        let aws = loader.load().await;
        let Some(region) = aws.region().map(ToString::to_string) else {
            return Err(S3Error::NoRegion { address });
        };
        let no_credentials = |why: String| S3Error::NoCredentials {
            address: address.clone(),
            why,
        };
        let provider = aws.credentials_provider();
        let provider =
            provider.ok_or_else(|| no_credentials("nothing provides them".to_owned()))?;
        let credentials = provider.provide_credentials().await;
        let credentials =
            credentials.map_err(|error| no_credentials(tidegate_agent::causes(&error)))?;
        let endpoint = config.endpoint.as_deref().or(aws.endpoint_url());
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(*config.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build();
        Ok(Bucket {
            client: client.map_err(S3Error::Client)?,
            credentials,
            url: url(&address, &region, endpoint),
            region,
            address,
            most: config.max_size,
        })
    }

    /// The object from byte `from` on; `None` when it has no more than that.
    pub async fn get(&self, from: u64) -> Result<Option<Part>, S3Error> {
        let mut request = self.client.get(&self.url).headers(self.signature()?);
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let response = request.send().await.map_err(|error| self.broken(error))?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => {}
            StatusCode::RANGE_NOT_SATISFIABLE => return Ok(None),
            _ => return Err(self.refusal(response).await),
        }
        let from = match response.status() {
            StatusCode::PARTIAL_CONTENT => from,
            _ => 0,
        };
        let part = Part {
            from,
            whole: whole(response.headers()),
            address: self.address.clone(),
            response,
        };
        match part.whole.filter(|whole| *whole > self.most.0) {
            Some(whole) => Err(part.too_large(whole, self.most)),
            None => Ok(Some(part)),
        }
    }

    /// What the request must carry to be let in.
    fn signature(&self) -> Result<HeaderMap, S3Error> {
        let unsigned = |why: String| S3Error::Unsigned {
            address: self.address.clone(),
            why,
        };
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let identity = self.credentials.clone().into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("s3")
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .map_err(|error| unsigned(error.to_string()))?
            .into();
        let nothing = SignableBody::Bytes(&[]);
        let request = SignableRequest::new("GET", &self.url, std::iter::empty(), nothing)
            .map_err(|error| unsigned(error.to_string()))?;
        let signed = sign(request, &params).map_err(|error| unsigned(error.to_string()))?;
        let (instructions, _) = signed.into_parts();
        let mut headers = HeaderMap::new();
        for (name, value) in instructions.headers() {
            let name = reqwest::header::HeaderName::try_from(name);
            let value = reqwest::header::HeaderValue::try_from(value);
            let (Ok(name), Ok(value)) = (name, value) else {
                return Err(unsigned("a header cannot be sent".to_owned()));
            };
            headers.insert(name, value);
        }
        Ok(headers)
    }

    async fn refusal(&self, mut response: Response) -> S3Error {
        let address = self.address.clone();
        let status = response.status();
        let region = response.headers().get("x-amz-bucket-region");
        let region = region.and_then(|region| region.to_str().ok());
        if let Some(found) = region.filter(|found| *found != self.region) {
            return S3Error::OtherRegion {
                address,
                found: found.to_owned(),
                expected: self.region.clone(),
            };
        }
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await
            && body.len() < LARGEST_REFUSAL_BYTES
        {
            body.extend_from_slice(&chunk);
        }
        let body = String::from_utf8_lossy(&body);
        let said = |name: &str| element(&body, name).unwrap_or("nothing").to_owned();
        let (code, message) = (said("Code"), said("Message"));
        match status {
            StatusCode::FORBIDDEN => S3Error::Forbidden {
                address,
                code,
                message,
            },
            StatusCode::NOT_FOUND => S3Error::Absent { address, code },
            status => S3Error::Status {
                address,
                status: status.as_u16(),
                code,
                message,
            },
        }
    }

    fn broken(&self, error: reqwest::Error) -> S3Error {
        S3Error::Broken {
            address: self.address.clone(),
            error: error.without_url(),
        }
    }
}

impl Part {
    pub async fn chunk(&mut self) -> Result<Option<impl AsRef<[u8]> + use<>>, S3Error> {
        let chunk = self.response.chunk().await;
        chunk.map_err(|error| S3Error::Broken {
            address: self.address.clone(),
            error: error.without_url(),
        })
    }

    pub fn too_large(&self, found: u64, most: Bytes) -> S3Error {
        S3Error::TooLarge {
            address: self.address.clone(),
            found,
            most,
        }
    }
}

/// The object's size: after the slash of a range, or the length of an answer without one.
fn whole(headers: &HeaderMap) -> Option<u64> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match text(CONTENT_RANGE) {
        Some(range) => range.rsplit_once('/')?.1.parse().ok(),
        None => text(CONTENT_LENGTH)?.parse().ok(),
    }
}

/// The text of the first element of this name.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

/// Where an object is: below the bucket's own name, unless TLS has no certificate for that.
fn url(address: &Address, region: &str, endpoint: Option<&str>) -> String {
    let (bucket, key) = (&address.bucket, encoded(&address.key));
    let domain = match region.starts_with("cn-") {
        true => "amazonaws.com.cn",
        false => "amazonaws.com",
    };
    match endpoint {
        Some(base) => format!("{}/{bucket}/{key}", base.trim_end_matches('/')),
        None if bucket.contains('.') => format!("https://s3.{region}.{domain}/{bucket}/{key}"),
        None => format!("https://{bucket}.s3.{region}.{domain}/{key}"),
    }
}

/// As S3 expects it in a path: everything but slashes and what is never encoded.
fn encoded(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let encode = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    key.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_where_s3_has_them() {
        let hash = "0".repeat(64);
        let of = |place: &str, region: &str, endpoint: Option<&str>| {
            let address = format!("s3://{place}#sha256={hash}")
                .parse()
                .expect("valid");
            url(&address, region, endpoint)
        };
        assert_eq!(
            of("models/v1/a b+ü.st", "eu-central-1", None),
            "https://models.s3.eu-central-1.amazonaws.com/v1/a%20b%2B%C3%BC.st"
        );
        assert_eq!(
            of("my.models/m", "cn-north-1", None),
            "https://s3.cn-north-1.amazonaws.com.cn/my.models/m"
        );
        assert_eq!(
            of("models/m", "any-1", Some("http://127.0.0.1:9/")),
            "http://127.0.0.1:9/models/m"
        );
    }
}
