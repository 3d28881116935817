//! A value in a page: a Prometheus query, a scraped metric, a field of any JSON, over HTTP or HTTPS.

use std::path::Path;
use std::time::Duration as Span;

use async_trait::async_trait;
use reqwest::header::LOCATION;
use reqwest::{Certificate, Client, Request, Response, Url};
use serde_json::Value;
use tidegate_policy::SourceRule;
use tokio::time::Instant;

use super::answer::{self, Answer};
use super::rate::Growth;
use super::{Ask, Sample, SourceFault};
use crate::{clock, http};

pub const LARGEST_ANSWER_BYTES: usize = 4 << 20;

/// A file with a token or a password holds a line.
const LARGEST_SECRET_BYTES: usize = 16 << 10;

/// So much of what comes with a refusal is shown.
const SHOWN: usize = 200;

/// Adds what shows by whose authority a call is made.
#[async_trait]
pub trait Sign: Send + Sync {
    /// # Errors
    /// In words, when it cannot be signed.
    async fn sign(&self, request: &mut Request) -> Result<(), String>;
}

/// Reads one number of one page.
pub struct PageReader {
    rule: SourceRule,
    signer: Option<Box<dyn Sign>>,
    /// Made at the first call, and again after one that failed where it is made from a file.
    client: Option<Client>,
    growth: Growth,
}

impl PageReader {
    pub fn new(rule: &SourceRule, signer: Option<Box<dyn Sign>>) -> PageReader {
        PageReader {
            rule: rule.clone(),
            signer,
            client: None,
            growth: Growth::default(),
        }
    }

    async fn read(&mut self) -> Result<Answer, SourceFault> {
        let limit = Span::from(self.rule.timeout);
        let called = tokio::time::timeout(limit, self.call()).await;
        let bytes = called.unwrap_or(Err(SourceFault::Slow(limit)));
        if bytes.is_err() && self.rule.ca_file.is_some() {
            self.client = None;
        }
        answer::read(&self.rule, &bytes?, clock::wall())
    }

    async fn call(&mut self) -> Result<Vec<u8>, SourceFault> {
        let client = match &self.client {
            Some(client) => client.clone(),
            None => self.client.insert(client(&self.rule)?).clone(),
        };
        let mut request = request(&client, &self.rule)?;
        if let Some(signer) = &self.signer {
            let signed = signer.sign(&mut request).await;
            signed.map_err(SourceFault::Aws)?;
        }
        let response = client.execute(request).await?;
        accepted(response).await
    }
}

/// # Errors
/// When there is no answer in time, or no number in it.
#[async_trait]
impl Ask for PageReader {
    async fn ask(&mut self) -> Result<Sample, SourceFault> {
        let answer = self.read().await?;
        let value = match self.rule.rate {
            Some(true) => {
                let grown = self.growth.per_second(Instant::now(), &answer);
                grown.ok_or(SourceFault::First)?
            }
            Some(false) | None => answer.value(),
        };
        Ok(Sample {
            value,
            age: answer.age,
            is_partial: answer.is_partial,
        })
    }
}

fn client(rule: &SourceRule) -> Result<Client, SourceFault> {
    let mut builder = http::builder();
    if let Some(file) = &rule.ca_file {
        let read = std::fs::read(file).map_err(|error| of_file(file, error))?;
        let all = Certificate::from_pem_bundle(&read).map_err(|error| of_file(file, error))?;
        if all.is_empty() {
            return Err(of_file(file, "holds no certificate in PEM"));
        }
        builder = builder.tls_built_in_root_certs(false);
        builder = (all.into_iter()).fold(builder, |builder, one| builder.add_root_certificate(one));
    }
    Ok(builder.build()?)
}

fn request(client: &Client, rule: &SourceRule) -> Result<Request, SourceFault> {
    let url = rule.url.as_deref().unwrap_or_default();
    let mut request = match &rule.query {
        Some(query) => {
            let base = url.trim_end_matches('/');
            let request = client.post(format!("{base}/api/v1/query"));
            let kind = "application/x-www-form-urlencoded";
            let body = form(&[("query", query)]);
            request.header("content-type", kind).body(body)
        }
        None => client.get(url),
    };
    for (name, value) in &rule.headers {
        request = request.header(name, value);
    }
    if let Some(file) = &rule.bearer_file {
        request = request.bearer_auth(secret(file)?);
    }
    if let Some(basic) = &rule.basic {
        request = request.basic_auth(&basic.user, Some(secret(&basic.password_file)?));
    }
    Ok(request.build()?)
}

/// The line in a file.
fn secret(file: &Path) -> Result<String, SourceFault> {
    let text = std::fs::read_to_string(file).map_err(|error| of_file(file, error))?;
    match text.trim() {
        "" => Err(of_file(file, "is empty")),
        text if text.len() > LARGEST_SECRET_BYTES || text.contains(char::is_control) => {
            Err(of_file(file, "holds more than a line of text"))
        }
        text => Ok(text.to_owned()),
    }
}

fn of_file(file: &Path, why: impl std::fmt::Display) -> SourceFault {
    SourceFault::File {
        what: file.display().to_string(),
        why: why.to_string(),
    }
}

fn form(pairs: &[(&str, &str)]) -> String {
    let url = Url::parse_with_params("http://form", pairs);
    url.ok()
        .and_then(|url| url.query().map(str::to_owned))
        .unwrap_or_default()
}

/// The body of an answer that is one.
async fn accepted(response: Response) -> Result<Vec<u8>, SourceFault> {
    let status = response.status();
    if status.is_redirection() {
        let to = response.headers().get(LOCATION);
        let to = to.map(|to| String::from_utf8_lossy(to.as_bytes()).into_owned());
        return Err(SourceFault::Redirect {
            status: status.as_u16(),
            to: to.unwrap_or_default(),
        });
    }
    let bytes = body(response).await;
    if status.is_success() {
        return bytes;
    }
    Err(SourceFault::Status {
        status: status.as_u16(),
        said: refusal(&bytes.unwrap_or_default()),
    })
}

/// What a server says of why it refuses: Prometheus' own reason, or the beginning of the page.
fn refusal(bytes: &[u8]) -> String {
    let answer: Option<Value> = serde_json::from_slice(bytes).ok();
    let reason = answer.as_ref().and_then(answer::reason);
    let text = String::from_utf8_lossy(bytes);
    let first = text.lines().map(str::trim).find(|line| !line.is_empty());
    let said = reason.unwrap_or_else(|| first.unwrap_or_default().to_owned());
    said.chars()
        .filter(|c| !c.is_control())
        .take(SHOWN)
        .collect()
}

async fn body(mut response: Response) -> Result<Vec<u8>, SourceFault> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > LARGEST_ANSWER_BYTES {
            return Err(SourceFault::Large);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_its_reason_in_a_line() {
        let prometheus = br#"{"status":"error","errorType":"bad_data",
            "error":"1:10: parse error: unclosed left parenthesis"}"#;
        let expected = "1:10: parse error: unclosed left parenthesis";
        assert_eq!(refusal(prometheus), expected);
        assert_eq!(refusal(b"\n not\x1b here \nand more"), "not here");
        assert_eq!(refusal(b""), "");
    }
}
