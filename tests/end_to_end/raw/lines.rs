//! The request line and `Host`.

use super::{BODY, Case, check};

fn request(line: &str, host: &[u8]) -> Vec<u8> {
    let begin = format!("{line}\r\n").into_bytes();
    let end = format!("Content-Length: 13\r\n\r\n{BODY}").into_bytes();
    [begin, host.to_vec(), end].concat()
}

const HOST: &[u8] = b"Host: t\r\n";

#[tokio::test]
async fn a_host_is_a_name_or_an_address_once() {
    const INVALID: &str = "RFC 9112, 3.2: an invalid Host is answered with 400";
    let line = "POST /v1/embeddings HTTP/1.1";
    let mut cases = Vec::new();
    for value in [
        &b"a, b"[..],
        b"u:p@t",
        b"t/x",
        b"a b",
        b"t:80x",
        b"t:99999",
        b"t#x",
        b"t?x",
        b"http://t",
        b"[::1",
        b"[::1]x",
        b"[t]",
        b"::1",
        b"t\\x",
        b"\"t\"",
        b"t\x0bx",
        b"t\xff",
        b"t^",
        b"t%zz",
        b"t%2",
        b"t\r\nHost: t",
        b"t\r\nHost: u",
        b"t\r\nhost: t",
    ] {
        let host = [b"Host: ", value, b"\r\n"].concat();
        let name = String::from_utf8_lossy(&host).into_owned();
        cases.push(Case::new(&name, request(line, &host), 400, INVALID));
    }
    for value in [
        "t",
        "T:80",
        "t:",
        "t_1.example",
        "127.0.0.1:8080",
        "[::1]:80",
        "t%41",
        "[v1.a:b]",
    ] {
        let host = format!("Host: {value}\r\n");
        cases.push(Case::new(
            &host,
            request(line, host.as_bytes()),
            200,
            "RFC 3986, 3.2.2",
        ));
    }
    cases.push(Case::new("none", request(line, b""), 400, "RFC 9112, 3.2"));
    cases.push(Case::new(
        "none behind a space",
        request(line, b"Host : t\r\n"),
        400,
        "RFC 9112, 5.1",
    ));
    let old = "POST /v1/embeddings HTTP/1.0";
    cases.push(Case::new(
        "none in HTTP/1.0",
        request(old, b""),
        200,
        "RFC 9112, 3.2",
    ));
    let two = b"Host: t\r\nHost: t\r\n";
    cases.push(Case::new(
        "two in HTTP/1.0",
        request(old, two),
        400,
        "RFC 9112, 3.2",
    ));
    let own = "GET /livez HTTP/1.1\r\nHost: a b\r\n\r\n";
    cases.push(Case::new(
        "on a route of the proxy's own",
        own,
        400,
        INVALID,
    ));
    check(cases).await;
}

#[tokio::test]
async fn targets_are_paths_or_http_uris() {
    let mut cases = Vec::new();
    for (target, status, authority) in [
        (
            "http://t/v1/embeddings",
            200,
            "RFC 9112, 3.2.2: absolute-form must be accepted",
        ),
        (
            "http://T/v1/embeddings",
            200,
            "RFC 9110, 4.2.3: a host has no case",
        ),
        (
            "http://t:80/v1/embeddings",
            200,
            "RFC 9110, 4.2.3: the default port",
        ),
        (
            "http://u/v1/embeddings",
            200,
            "RFC 9112, 3.2.2: the target goes before Host",
        ),
        ("HTTP://t/v1/embeddings", 200, "RFC 3986, 3.1"),
        ("http://t@u/v1/embeddings", 400, "RFC 9110, 4.2.4"),
        ("http:///v1/embeddings", 400, "RFC 9110, 4.2.1"),
        ("ftp://t/v1/embeddings", 400, "RFC 9112, 3.2.2"),
        ("embed", 400, "RFC 9112, 3.2"),
        ("*", 400, "RFC 9112, 3.2.4: for OPTIONS alone"),
        ("/v1/embeddings#x", 400, "RFC 9112, 3.2.1"),
        ("/v1/embeddings HTTP/1.1", 400, "RFC 9112, 3"),
        ("/v1/embeddings ", 400, "RFC 9112, 3"),
        (" /v1/embeddings", 400, "RFC 9112, 3"),
        ("/v1/embeddings?a=b", 200, "RFC 9112, 3.2.1"),
    ] {
        let line = format!("POST {target} HTTP/1.1");
        cases.push(Case::new(&line, request(&line, HOST), status, authority));
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: t\r\n\r\n", "a".repeat(100_000));
    cases.push(Case::new("100 KB", long, 414, "RFC 9112, 3"));
    check(cases).await;
}

#[tokio::test]
async fn versions_and_methods_are_those_of_http_1() {
    const GRAMMAR: &str = "RFC 9112, 2.3";
    let mut cases = Vec::new();
    for (version, status, authority) in [
        (
            "HTTP/1.2",
            200,
            "RFC 9110, 2.5: as the highest minor version that is known",
        ),
        ("HTTP/2.0", 505, "RFC 9110, 15.6.6"),
        ("HTTP/9.9", 505, "RFC 9110, 15.6.6"),
        ("HTTP/0.9", 505, "RFC 9110, 15.6.6"),
        ("HTTP/1", 400, GRAMMAR),
        ("HTTP/01.1", 400, GRAMMAR),
        ("HTTP/1.01", 400, GRAMMAR),
        ("HTTP/1. 1", 400, GRAMMAR),
        ("http/1.1", 400, GRAMMAR),
        ("HTTP/1.1x", 400, GRAMMAR),
        ("HTTPS/1.1", 400, GRAMMAR),
        ("HTTP/-1.1", 400, GRAMMAR),
        ("HTTP/1.10", 400, GRAMMAR),
        ("HTTP/1,1", 400, GRAMMAR),
        ("ICY/1.1", 400, GRAMMAR),
    ] {
        let line = format!("POST /v1/embeddings {version}");
        cases.push(Case::new(&line, request(&line, HOST), status, authority));
    }
    for (method, status, authority) in [
        ("MAKE", 501, "RFC 9110, 9.1"),
        ("post", 501, "RFC 9110, 9.1: methods have a case"),
        ("CONNECT", 501, "RFC 9110, 9.1"),
        ("DELETE", 405, "RFC 9110, 15.5.6"),
        ("P(ST", 400, "RFC 9112, 3.1"),
    ] {
        let line = format!("{method} /v1/embeddings HTTP/1.1");
        cases.push(Case::new(&line, request(&line, HOST), status, authority));
    }
    cases.push(Case::new(
        "no version",
        "GET /v1/embeddings\r\n\r\n",
        400,
        "RFC 9112, 3",
    ));
    cases.push(Case::new(
        "no HTTP",
        &b"\x16\x03\x01\x02\0\x01"[..],
        400,
        "RFC 9112, 3",
    ));
    check(cases).await;
}
