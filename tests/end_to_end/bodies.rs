//! Bodies of every size arrive whole, however they are framed, and only what is meant for a
//! worker reaches it.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use futures_util::stream;
use tidegate_tests::{Harness, HarnessConfig, Timed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A JSON document of exactly this size; nothing at all for zero.
fn document(size: usize) -> Bytes {
    if size == 0 {
        return Bytes::new();
    }
    let frame = r#"{"p":""}"#.len();
    let filler: String = (0..size - frame)
        .map(|at| char::from(b'a' + (at % 23) as u8))
        .collect();
    Bytes::from(format!(r#"{{"p":"{filler}"}}"#))
}

fn hash(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish().to_string()
}

fn chunked(bytes: Bytes) -> reqwest::Body {
    let pieces: Vec<_> = bytes
        .chunks(10_007)
        .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
        .collect();
    reqwest::Body::wrap_stream(stream::iter(pieces))
}

#[tokio::test]
async fn bodies_of_every_size_arrive_whole() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("w", &[]).await;
    let http = reqwest::Client::new();
    let url = format!("http://{}/v1/embeddings", harness.listen);
    for size in [0, 65_535, 65_536, 65_537, 1 << 20, 25 << 20] {
        let sent = document(size);
        assert_eq!(sent.len(), size);
        let framings = [
            ("content-length", reqwest::Body::from(sent.clone())),
            ("chunked", chunked(sent.clone())),
        ];
        for (framing, body) in framings {
            let response = http.post(&url).body(body).send().await.expect("an answer");
            assert_eq!(response.status(), 200, "{size} bytes, {framing}");
            let timed: Timed = response.json().await.expect("the worker's answer");
            assert_eq!(timed.bytes, size, "{framing}");
            assert_eq!(timed.hash, hash(&sent), "{size} bytes, {framing}");
        }
    }
    for body in [
        reqwest::Body::from(document((25 << 20) + 1)),
        chunked(document((25 << 20) + 1)),
    ] {
        let response = http.post(&url).body(body).send().await;
        let response = response.expect("an answer, though the body was refused");
        assert_eq!(response.status(), 413);
    }
    assert_eq!(harness.signal().await.models[0].arrivals_total, 12);
}

#[tokio::test]
async fn only_headers_that_are_meant_for_workers_reach_them() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("w", &[]).await;
    let response = reqwest::Client::new()
        .post(format!(
            "http://{}/v1/embeddings?key=secret",
            harness.listen
        ))
        .header("authorization", "Bearer of-the-client")
        .header("cookie", "secret")
        .header("x-tidegate-proxy", "forged")
        .header("x-request-id", "r-1")
        .header("x-request-timeout-ms", "5000")
        .body("{}")
        .send()
        .await
        .expect("an answer");
    let timed: Timed = response.json().await.expect("the worker's answer");
    let header = |name: &str| timed.headers.get(name).map(String::as_str);
    assert_eq!(
        header("authorization"),
        Some("Bearer worker-token-for-tests")
    );
    assert_eq!(header("x-tidegate-proxy"), Some("proxy"));
    assert_eq!(header("x-request-id"), Some("r-1"));
    assert_eq!(header("cookie"), None);
    let left: u64 = header("x-request-timeout-ms")
        .expect("it is set")
        .parse()
        .expect("a number");
    assert!((1..=5000).contains(&left), "{left} ms left");
}

#[tokio::test]
async fn a_request_behind_another_on_one_connection_is_answered_after_it() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("w", &[]).await;
    let mut stream = harness.begin(1, r#"{"service_ms": 50}"#).await;
    let second = "GET /livez HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n";
    stream
        .write_all(second.as_bytes())
        .await
        .expect("the proxy reads");
    let mut answers = String::new();
    stream
        .read_to_string(&mut answers)
        .await
        .expect("both are answered");
    let statuses = answers.matches("HTTP/1.1 200").count();
    assert_eq!(statuses, 2, "{answers}");
    assert_eq!(harness.signal().await.models[0].aborted_total, 0);
}
