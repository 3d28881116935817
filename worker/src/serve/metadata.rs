//! The instance metadata service of EC2, version 2: first a token, then requests with it.
//!
//! Asked by plain HTTP: it is two calls, and the answers are small.

use std::time::Duration;

use reqwest::{Client, Response, StatusCode};
use thiserror::Error;

use crate::config::{MetadataConfig, MetadataUrl};
use tidegate_agent::causes;

const TOKEN_PATH: &str = "/latest/api/token";
const TOKEN_TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";

/// The longest that there is.
const TOKEN_TTL_SECONDS: &str = "21600";

const DATA_PATH: &str = "/latest/meta-data/";

/// Of any answer that is asked for here.
const LARGEST_ANSWER_BYTES: usize = 8 << 10;

/// Tries at the instance id when the worker starts, which may be before the network is up.
const TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(250);

#[derive(Debug, Error)]
pub enum MetadataError {
    #[error("it cannot be reached: {}", causes(.0))]
    Unreachable(#[from] reqwest::Error),
    #[error("it answers {status} for {path}")]
    Status { status: StatusCode, path: String },
    #[error("its answer for {path} is longer than {LARGEST_ANSWER_BYTES} bytes")]
    Large { path: String },
    #[error("it has no instance id")]
    NoInstance,
}

pub struct Metadata {
    client: Client,
    url: MetadataUrl,
    token: Option<String>,
}

impl Metadata {
    /// `None` where the configuration names none.
    pub fn new(config: &MetadataConfig) -> Result<Option<Metadata>, MetadataError> {
        let Some(url) = config.url.clone() else {
            return Ok(None);
        };
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(*config.timeout)
            .build()?;
        Ok(Some(Metadata {
            client,
            url,
            token: None,
        }))
    }

    /// The instance's id.
    pub async fn instance_id(&mut self) -> Result<String, MetadataError> {
        let mut tries = 1;
        loop {
            let asked = self.get("instance-id").await;
            let found = asked.and_then(|id| id.ok_or(MetadataError::NoInstance));
            match found {
                Err(_) if tries < TRIES => {}
                found => return found,
            }
            tokio::time::sleep(FIRST_WAIT * 2_u32.pow(tries - 1)).await;
            tries += 1;
        }
    }

    /// What stands at a path below `meta-data`; `None` where there is nothing.
    pub async fn get(&mut self, path: &str) -> Result<Option<String>, MetadataError> {
        let mut response = self.ask(path).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            // The token has expired, or the instance was started again.
            self.token = None;
            response = self.ask(path).await?;
        }
        match response.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => text(response, path).await.map(Some),
            status => Err(MetadataError::Status {
                status,
                path: path.to_owned(),
            }),
        }
    }

    async fn ask(&mut self, path: &str) -> Result<Response, MetadataError> {
        let token = match &self.token {
            Some(token) => token.clone(),
            None => self.fetch_token().await?,
        };
        let url = format!("{}{DATA_PATH}{path}", self.url.as_str());
        let request = self.client.get(url).header(TOKEN_HEADER, token);
        Ok(request.send().await?)
    }

    async fn fetch_token(&mut self) -> Result<String, MetadataError> {
        let url = format!("{}{TOKEN_PATH}", self.url.as_str());
        let request = self.client.put(url);
        let request = request.header(TOKEN_TTL_HEADER, TOKEN_TTL_SECONDS);
        let response = request.send().await?;
        if !response.status().is_success() {
            return Err(MetadataError::Status {
                status: response.status(),
                path: TOKEN_PATH.to_owned(),
            });
        }
        let token = text(response, TOKEN_PATH).await?;
        Ok(self.token.insert(token).clone())
    }
}

async fn text(mut response: Response, path: &str) -> Result<String, MetadataError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > LARGEST_ANSWER_BYTES {
            return Err(MetadataError::Large {
                path: path.to_owned(),
            });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8_lossy(&body).trim().to_owned())
}
