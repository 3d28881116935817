//! Who signed a request, by AWS's Signature Version 4.
//!
//! The rules are those of "Signature Version 4 signing process" in the AWS General Reference: a
//! canonical form of the request is hashed, put into a text with time and scope, and sealed with a
//! key that is derived from the caller's secret.

use std::collections::BTreeMap;
use std::fmt;

use axum::http::request::Parts;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::error::Refusal;
use crate::clock::seconds_of;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const END: &str = "aws4_request";

/// The service that clients of the runtime sign for.
const SERVICE: &str = "sagemaker";

/// How far the clocks of caller and service may be apart.
const SKEW_SECONDS: u64 = 300;

/// Without these a signature could be used for another request.
const MUST_BE_SIGNED: [&str; 2] = ["host", "x-amz-date"];

/// Secrets by access key id.
#[derive(Clone, Default)]
pub struct AccessKeys(BTreeMap<String, String>);

impl fmt::Debug for AccessKeys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "AccessKeys({})", self.0.len())
    }
}

/// What an `Authorization` header says.
struct Signed<'a> {
    key_id: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    headers: Vec<&'a str>,
    signature: &'a str,
}

impl AccessKeys {
    /// A key a line: its id, white space, its secret. `Err` is the number of a line that is not.
    pub fn parse(text: &str) -> Result<AccessKeys, usize> {
        let mut keys = BTreeMap::new();
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.split_whitespace();
            match (words.next(), words.next(), words.next()) {
                (Some(id), Some(secret), None) => keys.insert(id.to_owned(), secret.to_owned()),
                _ => return Err(index + 1),
            };
        }
        match keys.is_empty() {
            true => Err(0),
            false => Ok(AccessKeys(keys)),
        }
    }

    /// The id of the key with which the request was signed at about `now`, in seconds since 1970.
    pub fn verify(&self, parts: &Parts, body: &[u8], now: u64) -> Result<String, Refusal> {
        let header = |name: &str| {
            parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let authorization = header("authorization").ok_or_else(|| {
            refused(
                "MissingAuthenticationTokenException",
                "the request is not signed",
            )
        })?;
        let signed = Signed::parse(authorization).ok_or_else(|| {
            let expected = format!(
                "Authorization: expected {ALGORITHM} with Credential, SignedHeaders and Signature"
            );
            refused("IncompleteSignatureException", expected)
        })?;
        let secret = self
            .0
            .get(signed.key_id)
            .ok_or_else(|| refused("UnrecognizedClientException", "the access key is unknown"))?;
        let date = header("x-amz-date").unwrap_or_default();
        check_scope(&signed, date, now)?;
        let hash = header("x-amz-content-sha256")
            .map_or_else(|| hex(&Sha256::digest(body)), str::to_owned);
        if hash != hex(&Sha256::digest(body)) {
            return Err(refused(
                "InvalidSignatureException",
                "the body is not the one that was signed",
            ));
        }
        let request = canonical(parts, &signed.headers, &hash)
            .ok_or_else(|| refused("InvalidSignatureException", "a signed header is missing"))?;
        let expected = signature(secret, &signed, date, &request);
        match bool::from(expected.as_bytes().ct_eq(signed.signature.as_bytes())) {
            true => Ok(signed.key_id.to_owned()),
            false => Err(refused(
                "InvalidSignatureException",
                "the signature is not that of this request and key; if a proxy is on the way, it must keep \
                 path and Host",
            )),
        }
    }
}

impl<'a> Signed<'a> {
    fn parse(text: &'a str) -> Option<Signed<'a>> {
        let rest = text.strip_prefix(ALGORITHM)?.trim_start();
        let mut fields: BTreeMap<&str, &str> = BTreeMap::new();
        for field in rest.split(',') {
            let (name, value) = field.trim().split_once('=')?;
            fields.insert(name, value);
        }
        let scope: Vec<&str> = fields.get("Credential")?.split('/').collect();
        let [key_id, date, region, service, END] = scope[..] else {
            return None;
        };
        Some(Signed {
            key_id,
            date,
            region,
            service,
            headers: fields.get("SignedHeaders")?.split(';').collect(),
            signature: fields.get("Signature")?,
        })
    }
}

fn check_scope(signed: &Signed, date: &str, now: u64) -> Result<(), Refusal> {
    let wrong = |words: &str| Err(refused("InvalidSignatureException", words));
    if signed.service != SERVICE {
        return wrong("it is signed for another service than sagemaker");
    }
    if !MUST_BE_SIGNED
        .iter()
        .all(|name| signed.headers.contains(name))
    {
        return wrong("host and x-amz-date must be signed");
    }
    let Some(at) = seconds_of(date).filter(|_| date.starts_with(signed.date)) else {
        return wrong("x-amz-date is no time of the signed day");
    };
    match at.abs_diff(now) <= SKEW_SECONDS {
        true => Ok(()),
        false => wrong("the signature has expired, or the clocks are more than five minutes apart"),
    }
}

fn signature(secret: &str, signed: &Signed, date: &str, request: &str) -> String {
    let scope = format!("{}/{}/{}/{END}", signed.date, signed.region, signed.service);
    let text = format!(
        "{ALGORITHM}\n{date}\n{scope}\n{}",
        hex(&Sha256::digest(request))
    );
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [signed.date, signed.region, signed.service, END] {
        key = hmac(&key, part.as_bytes()).to_vec();
    }
    hex(&hmac(&key, text.as_bytes()))
}

/// The request as it is signed; `None` when it lacks a signed header.
fn canonical(parts: &Parts, signed: &[&str], hash: &str) -> Option<String> {
    let mut headers = String::new();
    for name in signed {
        let values: Vec<String> = (parts.headers.get_all(*name).iter())
            .filter_map(|value| value.to_str().ok())
            .map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        if values.is_empty() {
            return None;
        }
        headers.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    let mut query: Vec<&str> = parts.uri.query().unwrap_or_default().split('&').collect();
    query.sort_unstable();
    Some(format!(
        "{}\n{}\n{}\n{headers}\n{}\n{hash}",
        parts.method,
        encoded(parts.uri.path()),
        query.join("&"),
        signed.join(";"),
    ))
}

/// Every service but S3 encodes what is already encoded in a path once more.
fn encoded(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let encode = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    path.bytes().map(encode).collect()
}

/// HMAC with SHA-256 (RFC 2104).
fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    const BLOCK: usize = 64;
    let mut padded = [0; BLOCK];
    match key.len() > BLOCK {
        true => padded[..32].copy_from_slice(&Sha256::digest(key)),
        false => padded[..key.len()].copy_from_slice(key),
    }
    let keyed = |with: u8| Sha256::new().chain_update(padded.map(|byte| byte ^ with));
    let inner = keyed(0x36).chain_update(text).finalize();
    keyed(0x5c).chain_update(inner).finalize().into()
}

fn refused(code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal::Unauthorized {
        code,
        message: message.into(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_is_as_rfc_4231_has_it() {
        let of = |key: &[u8], text: &[u8]| hex(&hmac(key, text));
        assert_eq!(
            of(b"Jefe", b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            of(
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First"
            ),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn keys_are_two_words_a_line() {
        let keys = AccessKeys::parse("# ours\nAKIA secret\n\n").expect("a key");
        assert_eq!(format!("{keys:?}"), "AccessKeys(1)");
        assert_eq!(AccessKeys::parse("AKIA secret\nalone").err(), Some(2));
        assert_eq!(AccessKeys::parse("").err(), Some(0));
    }
}
