//! What a connection is for: `Connection`, `Expect`, `HEAD`, `OPTIONS`, and paths written otherwise.

use tidegate_tests::{Harness, HarnessConfig, Timed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{BODY, Case, SECOND, check, post, talk};

#[tokio::test]
async fn close_ends_a_connection_wherever_it_stands() {
    let mut cases = Vec::new();
    for lines in [
        "Connection: close",
        "Connection: keep-alive, close",
        "Connection: keep-alive\r\nConnection: close",
        "Connection: foo, CLOSE",
    ] {
        let send = post(&format!("{lines}\r\nContent-Length: 13"), BODY) + SECOND;
        cases.push(Case::new(lines, send, 200, "RFC 9112, 9.6"));
    }
    let mut stays = Case::new(
        "none",
        post("Content-Length: 13", BODY) + SECOND,
        200,
        "RFC 9112, 9.3",
    );
    stays.answers = vec![200, 200];
    cases.push(stays);
    check(cases).await;
}

#[tokio::test]
async fn an_expectation_is_met_refused_or_left_out() {
    let with = |version: &str, expect: &str| {
        format!(
            "POST /v1/embeddings {version}\r\nHost: t\r\nExpect: {expect}\r\nContent-Length: 13\r\n\r\n{BODY}"
        )
    };
    let old = with("HTTP/1.0", "100-continue");
    let unknown = with("HTTP/1.1", "tea");
    check(vec![
        Case::new(
            "HTTP/1.0 gets no 100",
            old,
            200,
            "RFC 9110, 10.1.1 and 15.2",
        ),
        Case::new("unknown", unknown, 417, "RFC 9110, 10.1.1"),
        Case::new(
            "the body is here",
            with("HTTP/1.1", "100-continue"),
            200,
            "RFC 9110, 10.1.1",
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_client_that_expects_100_gets_it_and_keeps_its_connection() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("w", &[]).await;
    let mut stream = tokio::net::TcpStream::connect(harness.listen)
        .await
        .expect("it listens");
    for _ in 0..2 {
        let head = post("Expect: 100-continue\r\nContent-Length: 13", "");
        stream.write_all(head.as_bytes()).await.expect("it reads");
        let mut word = [0; 25];
        stream.read_exact(&mut word).await.expect("a word");
        assert_eq!(&word, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(BODY.as_bytes()).await.expect("it reads");
        let mut answer = vec![0; 4096];
        let read = stream.read(&mut answer).await.expect("an answer");
        assert!(answer[..read].starts_with(b"HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn what_connection_names_goes_no_further() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("w", &[]).await;
    let lines = "Connection: x-request-id, content-type, authorization, host, content-length, \
                 x-tidegate-proxy\r\nx-request-id: a\r\ntraceparent: b\r\ncontent-type: text/plain\r\n\
                 Content-Length: 13";
    let answer =
        String::from_utf8(talk(&harness, post(lines, BODY).as_bytes()).await).expect("text");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let timed: Timed = serde_json::from_str(body).expect("the worker's answer");
    assert_eq!(timed.bytes, BODY.len());
    let header = |name: &str| timed.headers.get(name).map(String::as_str);
    assert_eq!(header("traceparent"), Some("b"));
    assert_eq!(header("content-type"), None);
    let id = header("x-request-id").expect("every request has an id");
    assert_ne!(id, "a", "that one was for the proxy alone");
    assert_eq!(header("x-tidegate-proxy"), Some("proxy"));
}

#[tokio::test]
async fn head_is_get_without_the_body_and_options_says_what_there_is() {
    let harness = Harness::start(HarnessConfig {
        proxy: "models = ['org/name']".to_owned(),
    })
    .await;
    let http = reqwest::Client::new();
    let base = format!("http://{}", harness.listen);
    for path in [
        "/livez",
        "/healthz",
        "/health",
        "/v1/models",
        "/v1/models/org%2Fname",
        "/no/such",
    ] {
        let get = http
            .get(format!("{base}{path}"))
            .send()
            .await
            .expect("an answer");
        let head = http
            .head(format!("{base}{path}"))
            .send()
            .await
            .expect("an answer");
        assert_eq!(get.status(), head.status(), "{path}");
        assert_eq!(
            get.headers()["content-length"],
            head.headers()["content-length"],
            "{path}"
        );
    }
    let embeddings = format!("{base}/v1/embeddings");
    let options = http
        .request(reqwest::Method::OPTIONS, &embeddings)
        .header("origin", "http://page");
    let options = options.send().await.expect("an answer");
    assert_eq!(
        (options.status().as_u16(), &options.headers()["allow"]),
        (204, &"POST, OPTIONS".parse().expect("a value"))
    );
    assert!(
        !options
            .headers()
            .contains_key("access-control-allow-origin"),
        "off by default"
    );
    let star = talk(&harness, b"OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n").await;
    assert!(star.starts_with(b"HTTP/1.1 204"));
}

#[tokio::test]
async fn pages_of_listed_origins_may_ask() {
    let harness = Harness::start(HarnessConfig {
        proxy: "[clients]\ncors_origins = ['http://page']".to_owned(),
    })
    .await;
    let _worker = harness.timed_worker("w", &[]).await;
    let http = reqwest::Client::new();
    let url = format!("http://{}/v1/embeddings", harness.listen);
    for (origin, allowed) in [("http://page", Some("http://page")), ("http://other", None)] {
        let preflight = http
            .request(reqwest::Method::OPTIONS, &url)
            .header("origin", origin);
        let preflight = preflight.header("access-control-request-method", "POST");
        let preflight = preflight.send().await.expect("an answer");
        let asked = http.post(&url).header("origin", origin).body("{}");
        let asked = asked.send().await.expect("an answer");
        assert_eq!(
            (preflight.status().as_u16(), asked.status().as_u16()),
            (204, 200)
        );
        for answer in [&preflight, &asked] {
            let header = answer.headers().get("access-control-allow-origin");
            assert_eq!(header.map(|value| value.to_str().expect("text")), allowed);
        }
        let methods = preflight.headers().get("access-control-allow-methods");
        assert_eq!(methods.is_some(), allowed.is_some());
    }
}

#[tokio::test]
async fn slashes_too_many_change_nothing() {
    let line =
        |path: &str| format!("POST {path} HTTP/1.1\r\nHost: t\r\nContent-Length: 13\r\n\r\n{BODY}");
    let as_peers = "nginx merges doubled slashes; FastAPI takes one at the end";
    let mut cases: Vec<Case> = ["/v1/embeddings/", "//v1/embeddings", "/v1//embeddings"]
        .map(|path| Case::new(path, line(path), 200, as_peers))
        .into();
    cases.push(Case::new(
        "another path",
        line("/v1/embeddings/x"),
        404,
        "RFC 9110, 15.5.5",
    ));
    check(cases).await;
}

#[tokio::test]
async fn a_coded_body_is_refused_and_errors_have_the_shape_of_their_path() {
    let coded = |path: &str, coding: &str| {
        let lines = format!("Content-Encoding: {coding}\r\nContent-Length: 13");
        post(&lines, BODY).replacen("/v1/embeddings", path, 1)
    };
    let mut cases = Vec::new();
    for (coding, status) in [("gzip", 415), ("identity, x", 415), ("Identity", 200)] {
        let send = coded("/v1/embeddings", coding);
        cases.push(Case::new(coding, send, status, "RFC 9110, 8.4 and 15.5.16"));
    }
    check(cases).await;
    let harness = Harness::start(HarnessConfig::default()).await;
    for (path, shape) in [
        ("/v1/embeddings", r#""type":"invalid_request_error""#),
        ("/v2/rerank", r#""type":"invalid_request_error""#),
        ("/v2/other", r#""type":"invalid_request_error""#),
        ("/embed", r#""error_type":"Validation""#),
        ("/generate", r#""error_type":"validation""#),
    ] {
        let answer = talk(&harness, coded(path, "gzip").as_bytes()).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains(shape), "{path}: {answer}");
        let takes = answer.contains("accept-encoding: identity");
        assert_eq!(takes, answer.contains(" 415 "), "{path}: {answer}");
        let head = format!("POST {path} HTTP/1.1\r\nHost : t\r\n\r\n");
        let answer = talk(&harness, head.as_bytes()).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains(shape), "{path}, in its head: {answer}");
    }
}
