//! Objects of one bucket: put, put if absent, got, listed, deleted.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use reqwest::header::DATE;
use reqwest::{Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use super::aws::{Ask, Aws, Payload};
use super::{SharedError, VERSION};
use crate::clock::{seconds_of_extended, unix_seconds};
use crate::work::Shared;

pub const SERVICE: &str = "s3";

/// Of an answer that is held in memory whole: JSON, or a page of a list.
const LARGEST_TEXT: usize = 16 << 20;

pub struct Bucket {
    aws: Aws,
    /// Of the bucket, without a slash at its end.
    url: String,
    /// Before every key: empty, or with a slash at its end.
    prefix: String,
}

/// How long the words of a refusal may take.
const REFUSAL_LIMIT: Duration = Duration::from_secs(10);

/// What became of an object that was to be put where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    Done,
    /// There is one already.
    Exists,
}

/// An object as a list tells of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    pub key: String,
    pub bytes: u64,
    /// Since it was last put, by the clock of the bucket.
    pub age: Duration,
}

impl Bucket {
    pub fn new(aws: Aws, name: &str, prefix: &str, endpoint: Option<&str>) -> Bucket {
        let region = aws.region();
        let domain = match region.starts_with("cn-") {
            true => "amazonaws.com.cn",
            false => "amazonaws.com",
        };
        let endpoint = endpoint.or(aws.endpoint());
        let url = match endpoint {
            Some(base) => format!("{}/{name}", base.trim_end_matches('/')),
            None if name.contains('.') => format!("https://s3.{region}.{domain}/{name}"),
            None => format!("https://{name}.s3.{region}.{domain}"),
        };
        let prefix = match prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        Bucket { aws, url, prefix }
    }

    pub async fn put(&self, key: &str, payload: Payload) -> Result<(), SharedError> {
        let answer = self.ask(Method::PUT, key, Vec::new(), payload).await?;
        match answer.status() {
            StatusCode::OK => Ok(()),
            _ => Err(refusal(answer, format!("to put {key}")).await),
        }
    }

    /// Puts an object unless there is one: of several that do, one has `Done`, or none where the answer
    /// to it was lost.
    pub async fn put_new(&self, key: &str, payload: Payload) -> Result<Put, SharedError> {
        self.put_new_with(key, Vec::new(), payload).await
    }

    /// As [`Bucket::put_new`], with headers of its own.
    pub async fn put_new_with(
        &self,
        key: &str,
        mut headers: Vec<(&'static str, String)>,
        payload: Payload,
    ) -> Result<Put, SharedError> {
        headers.push(("if-none-match", "*".to_owned()));
        let answer = self.ask(Method::PUT, key, headers, payload).await?;
        match answer.status() {
            StatusCode::OK => Ok(Put::Done),
            StatusCode::PRECONDITION_FAILED => Ok(Put::Exists),
            _ => Err(refusal(answer, format!("to put {key}")).await),
        }
    }

    /// An object that is its key and nothing else.
    pub async fn mark(&self, key: &str) -> Result<(), SharedError> {
        self.put(key, Payload::Bytes(Bytes::new())).await
    }

    pub async fn put_json(&self, key: &str, value: &impl Serialize) -> Result<(), SharedError> {
        self.put(key, json(key, value)?).await
    }

    pub async fn put_new_json(
        &self,
        key: &str,
        value: &impl Serialize,
    ) -> Result<Put, SharedError> {
        self.put_new(key, json(key, value)?).await
    }

    /// `None` when there is no such object.
    pub async fn get_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, SharedError> {
        let Some(answer) = self.get(key, None).await? else {
            return Ok(None);
        };
        let text = text(answer, key).await?;
        from_json(key, &text).map(Some)
    }

    /// An object, or so many bytes of it from one on. `None` when there is no such object.
    pub async fn get(
        &self,
        key: &str,
        range: Option<(u64, u64)>,
    ) -> Result<Option<Response>, SharedError> {
        let range = range.map(|(from, bytes)| {
            let last = from + bytes.max(1) - 1;
            ("range", format!("bytes={from}-{last}"))
        });
        let nothing = Payload::Bytes(Bytes::new());
        let answer = self.ask(Method::GET, key, range.into_iter().collect(), nothing);
        let answer = answer.await?;
        match answer.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(Some(answer)),
            _ => match refusal(answer, format!("to get {key}")).await {
                SharedError::Refused { code, .. } if code == "NoSuchKey" => Ok(None),
                refused => Err(refused),
            },
        }
    }

    pub async fn has(&self, key: &str) -> Result<bool, SharedError> {
        Ok(self.head(key).await?.is_some())
    }

    /// A header of an object, if both are there.
    pub async fn header(&self, key: &str, name: &str) -> Result<Option<String>, SharedError> {
        let found = self.head(key).await?;
        let value = found.as_ref().and_then(|found| found.headers().get(name));
        Ok(value.and_then(|value| Some(value.to_str().ok()?.to_owned())))
    }

    async fn head(&self, key: &str) -> Result<Option<Response>, SharedError> {
        let nothing = Payload::Bytes(Bytes::new());
        let answer = self.ask(Method::HEAD, key, Vec::new(), nothing).await?;
        match answer.status() {
            StatusCode::OK => Ok(Some(answer)),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(refusal(answer, format!("to look for {key}")).await),
        }
    }

    pub async fn delete(&self, key: &str) -> Result<(), SharedError> {
        let nothing = Payload::Bytes(Bytes::new());
        let answer = self.ask(Method::DELETE, key, Vec::new(), nothing).await?;
        match answer.status() {
            StatusCode::OK | StatusCode::NO_CONTENT | StatusCode::NOT_FOUND => Ok(()),
            _ => Err(refusal(answer, format!("to delete {key}")).await),
        }
    }

    /// All objects whose keys begin so, in the order of their keys.
    pub async fn list(&self, begin: &str) -> Result<Vec<Listed>, SharedError> {
        let mut all: Vec<Listed> = Vec::new();
        loop {
            let after = all.last().map(|last| last.key.clone());
            let (page, has_more) = self.page(begin, after.as_deref()).await?;
            let is_empty = page.is_empty();
            all.extend(page);
            if !has_more || is_empty {
                return Ok(all);
            }
        }
    }

    /// Up to a thousand of them after a key, and whether there are more.
    pub async fn page(
        &self,
        begin: &str,
        after: Option<&str>,
    ) -> Result<(Vec<Listed>, bool), SharedError> {
        let begin = encoded(&format!("{}{begin}", self.prefix), false);
        let mut url = format!("{}/?list-type=2&prefix={begin}", self.url);
        if let Some(after) = after {
            let after = encoded(&format!("{}{after}", self.prefix), false);
            url = format!("{url}&start-after={after}");
        }
        let ask = Ask {
            service: SERVICE,
            method: Method::GET,
            url,
            headers: Vec::new(),
            payload: Payload::Bytes(Bytes::new()),
        };
        let answer = self.aws.send(&ask).await?;
        if answer.status() != StatusCode::OK {
            return Err(refusal(answer, "to list".to_owned()).await);
        }
        let now = now_of(&answer);
        let text = text(answer, "a list").await?;
        let text = String::from_utf8_lossy(&text);
        let has_more = element(&text, "IsTruncated") == Some("true");
        Ok((listed(&text, &self.prefix, now), has_more))
    }

    async fn ask(
        &self,
        method: Method,
        key: &str,
        headers: Vec<(&'static str, String)>,
        payload: Payload,
    ) -> Result<Response, SharedError> {
        let key = encoded(&format!("{}{key}", self.prefix), true);
        let ask = Ask {
            service: SERVICE,
            method,
            url: format!("{}/{key}", self.url),
            headers,
            payload,
        };
        self.aws.send(&ask).await
    }
}

/// A file as it is put, with its hash.
pub fn payload_of(path: &Path) -> Result<Payload, SharedError> {
    let hashed = || {
        let mut hash = Sha256::new();
        let bytes = std::io::copy(&mut std::fs::File::open(path)?, &mut hash)?;
        Ok((bytes, hash.finalize()))
    };
    let (bytes, digest) = hashed().map_err(SharedError::io(path))?;
    Ok(Payload::File {
        path: path.to_owned(),
        bytes,
        sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}

fn json(key: &str, value: &impl Serialize) -> Result<Payload, SharedError> {
    Ok(Payload::Bytes(to_json(key, value)?.into()))
}

/// A record as it is kept, with the version of whoever wrote it.
#[derive(Serialize)]
struct Versioned<'a, T> {
    version: u32,
    #[serde(flatten)]
    record: &'a T,
}

/// Records without one are of the first version.
#[derive(Deserialize)]
struct Version {
    #[serde(default)]
    version: u32,
}

pub fn to_json(key: &str, record: &impl Serialize) -> Result<Vec<u8>, SharedError> {
    let version = VERSION;
    let text = serde_json::to_vec(&Versioned { version, record });
    text.map_err(|error| strange_object(key, error.to_string()))
}

pub fn from_json<T: DeserializeOwned>(key: &str, text: &[u8]) -> Result<T, SharedError> {
    let read = |error: serde_json::Error| strange_object(key, error.to_string());
    let Version { version } = serde_json::from_slice(text).map_err(read)?;
    check_version(key, version)?;
    serde_json::from_slice(text).map_err(read)
}

fn check_version(key: &str, found: u32) -> Result<(), SharedError> {
    match found > VERSION {
        true => Err(SharedError::Newer {
            key: key.to_owned(),
            found,
        }),
        false => Ok(()),
    }
}

pub fn strange_object(key: &str, why: String) -> SharedError {
    let key = key.to_owned();
    SharedError::Object { key, why }
}

/// An object whole, and the room in memory that it takes, which is waited for. `None` when there is no such
/// object.
pub async fn read_whole(
    bucket: &Bucket,
    key: &str,
    most: u64,
    shared: &Shared,
) -> Result<Option<(Vec<u8>, OwnedSemaphorePermit)>, SharedError> {
    let Some(bytes) = bucket.get(key, None).await?.map(length) else {
        return Ok(None);
    };
    let too_large = |bytes| SharedError::TooLarge {
        key: key.to_owned(),
        bytes,
        most,
    };
    if bytes > most {
        return Err(too_large(bytes));
    }
    let room = shared.room(bytes as usize).await;
    let room = room.map_err(|_| strange(key, "there is no room any more"))?;
    // Nobody waits for it while there is no room.
    let Some(mut answer) = bucket.get(key, None).await? else {
        return Ok(None);
    };
    let mut whole = Vec::with_capacity(bytes as usize);
    loop {
        let piece = answer.chunk().await;
        match piece.map_err(SharedError::unreachable(SERVICE))? {
            Some(piece) if (whole.len() + piece.len()) as u64 > bytes => {
                return Err(strange(key, "it has grown while it was read"));
            }
            Some(piece) => whole.extend_from_slice(&piece),
            None if whole.len() as u64 == bytes => return Ok(Some((whole, room))),
            None => return Err(strange(key, "it has shrunk while it was read")),
        }
    }
}

fn length(answer: Response) -> u64 {
    answer.content_length().unwrap_or(u64::MAX)
}

fn strange(what: &str, found: &str) -> SharedError {
    SharedError::Strange {
        service: SERVICE,
        what: what.to_owned(),
        found: found.to_owned(),
    }
}

async fn text(mut answer: Response, what: &str) -> Result<Vec<u8>, SharedError> {
    let mut text = Vec::new();
    loop {
        let piece = answer.chunk().await;
        match piece.map_err(SharedError::unreachable(SERVICE))? {
            Some(piece) if text.len() + piece.len() > LARGEST_TEXT => {
                return Err(SharedError::Strange {
                    service: SERVICE,
                    what: what.to_owned(),
                    found: format!("more than {LARGEST_TEXT} bytes"),
                });
            }
            Some(piece) => text.extend_from_slice(&piece),
            None => return Ok(text),
        }
    }
}

async fn refusal(answer: Response, what: String) -> SharedError {
    let status = answer.status().as_u16();
    let body = tokio::time::timeout(REFUSAL_LIMIT, text(answer, &what)).await;
    let body = body.ok().and_then(Result::ok).unwrap_or_default();
    let body = String::from_utf8_lossy(&body);
    let said = |name| element(&body, name).unwrap_or("nothing").to_owned();
    SharedError::Refused {
        service: SERVICE,
        what,
        status,
        code: said("Code"),
        message: said("Message"),
    }
}

/// The text of the first element of this name.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

/// The bucket's own time, in seconds since 1970.
fn now_of(answer: &Response) -> u64 {
    let date = answer
        .headers()
        .get(DATE)
        .and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
    let since = date.and_then(|date| date.duration_since(UNIX_EPOCH).ok());
    since.map_or_else(unix_seconds, |since| since.as_secs())
}

/// Keys are made here of letters that XML has no other way to write.
fn listed(xml: &str, prefix: &str, now: u64) -> Vec<Listed> {
    let entries = xml.split("<Contents>").skip(1);
    entries
        .filter_map(|entry| {
            let key = element(entry, "Key")?.strip_prefix(prefix)?.to_owned();
            let bytes = element(entry, "Size")?.parse().ok()?;
            let changed = element(entry, "LastModified").and_then(seconds_of_extended);
            let age = now.saturating_sub(changed.unwrap_or(now));
            let age = Duration::from_secs(age);
            Some(Listed { key, bytes, age })
        })
        .collect()
}

/// As S3 expects it: everything encoded but what never is, and slashes in a path.
fn encoded(text: &str, is_path: bool) -> String {
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (is_path && byte == b'/')
    };
    let encode = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_without_its_prefix() {
        let xml = "<ListBucketResult><IsTruncated>false</IsTruncated>\
                   <Contents><Key>p/a/1</Key><LastModified>2026-11-27T08:54:50.000Z</LastModified>\
                   <Size>12</Size></Contents>\
                   <Contents><Size>0</Size><Key>p/a/2</Key></Contents>\
                   <Contents><Key>other</Key><Size>1</Size></Contents></ListBucketResult>";
        let of = |key: &str, bytes, seconds| Listed {
            key: key.to_owned(),
            bytes,
            age: Duration::from_secs(seconds),
        };
        let found = listed(xml, "p/", 1_795_769_700);
        assert_eq!(found, [of("a/1", 12, 10), of("a/2", 0, 0)]);
        assert_eq!(element(xml, "IsTruncated"), Some("false"));
    }

    #[test]
    fn a_record_of_a_newer_version_is_told_from_a_damaged_one() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Record {
            bytes: u64,
        }
        let read = |text: &[u8]| from_json::<Record>("k", text);
        let written = to_json("k", &Record { bytes: 1 }).expect("JSON");
        assert_eq!(written, br#"{"version":1,"bytes":1}"#);
        for text in [&written[..], br#"{"bytes":1}"#] {
            assert_eq!(read(text).expect("of this version"), Record { bytes: 1 });
        }
        let newer = read(br#"{"version":2,"size":1}"#);
        assert!(matches!(newer, Err(SharedError::Newer { found: 2, .. })));
        let damaged = read(br#"{"version":1,"byt"#);
        assert!(matches!(damaged, Err(SharedError::Object { .. })));
    }

    #[test]
    fn names_are_encoded_as_s3_has_them() {
        assert_eq!(encoded("a/b c+ü", true), "a/b%20c%2B%C3%BC");
        assert_eq!(encoded("a/b", false), "a%2Fb");
    }
}
