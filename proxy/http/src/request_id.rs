//! The id by which client, proxy and worker name a request, in headers, logs and traces: the client's own if it is
//! well formed, else one that is made here.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tidegate_protocol::REQUEST_ID_HEADER;

const NAME: HeaderName = HeaderName::from_static(REQUEST_ID_HEADER);

/// 1 to [`RequestId::LONGEST`] visible characters of ASCII, so that a header, a line of a log and a row of a table can
/// have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// Characters of the longest one that is taken from a client.
    pub const LONGEST: usize = 128;

    /// The one that a client states, if it is well formed.
    pub fn stated(value: &[u8]) -> Option<RequestId> {
        let is_visible = value.iter().all(u8::is_ascii_graphic);
        let fits = (1..=Self::LONGEST).contains(&value.len());
        let text = std::str::from_utf8(value).ok()?;
        (is_visible && fits).then(|| RequestId(text.into()))
    }

    /// One that no other request has: 32 hexadecimal digits. It is no secret.
    pub fn random() -> RequestId {
        let random = RandomState::new();
        let (high, low) = (random.hash_one(0), random.hash_one(1));
        RequestId(format!("{high:016x}{low:016x}").into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Gives each request an id, which its routes find in the header, and each answer the same.
pub async fn identify(mut request: Request, next: Next) -> Response {
    let stated = request.headers().get(&NAME);
    let stated = stated.and_then(|value| RequestId::stated(value.as_bytes()));
    let id = stated.unwrap_or_else(RequestId::random);
    let Ok(value) = HeaderValue::from_str(id.as_str()) else {
        return next.run(request).await;
    };
    request.headers_mut().insert(NAME, value.clone());
    let mut response = next.run(request).await;
    response.headers_mut().insert(NAME, value);
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_id_is_taken_if_it_is_short_and_visible() {
        let longest = "a".repeat(RequestId::LONGEST);
        for taken in ["a", "Root=1-67891233-abcdef;Self=1", "\"a\",b", &longest] {
            let id = RequestId::stated(taken.as_bytes());
            assert_eq!(id.as_ref().map(RequestId::as_str), Some(taken));
        }
        let too_long = format!("{longest}a");
        for refused in ["", "a b", "a\tb", "a\u{7f}", "\u{e9}", "a\n", &too_long] {
            assert_eq!(RequestId::stated(refused.as_bytes()), None, "{refused:?}");
        }
        assert_eq!(RequestId::stated(b"\xff"), None);
    }

    #[test]
    fn ids_that_are_made_differ_and_could_be_stated() {
        let made: BTreeSet<String> = (0..1000).map(|_| RequestId::random().to_string()).collect();
        assert_eq!(made.len(), 1000);
        for id in made {
            assert_eq!(id.len(), 32);
            assert!(RequestId::stated(id.as_bytes()).is_some());
        }
    }
}
