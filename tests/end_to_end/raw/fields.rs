//! Header fields, one by one and all together.

use super::{Case, check, post_bytes};

#[tokio::test]
async fn fields_follow_the_grammar_or_the_request_is_refused() {
    let mut cases = Vec::new();
    for (line, authority) in [
        (&b"X: a\r\n b"[..], "RFC 9112, 5.2"),
        (b"X: a\r\n\tb", "RFC 9112, 5.2"),
        (b"junk", "RFC 9112, 5"),
        (b": a", "RFC 9112, 5"),
        (b"X\0: a", "RFC 9110, 5.1"),
        (b"X Y: a", "RFC 9110, 5.1"),
        (b"X[: a", "RFC 9110, 5.1"),
        (b"X\xff: a", "RFC 9110, 5.1"),
        (b"X: a\0b", "RFC 9110, 5.5"),
        (b"X: a\rb", "RFC 9112, 2.2"),
        (b"\rX: a", "RFC 9112, 2.2"),
        (b"X: a\x7fb", "RFC 9110, 5.5"),
        (b"X: a\x07b", "RFC 9110, 5.5"),
        (b"X : a", "RFC 9112, 5.1"),
        (b"X: a\r", "RFC 9112, 2.2"),
        (b"X: a\nY: b", "RFC 9112, 2.2"),
    ] {
        let name = String::from_utf8_lossy(line).into_owned();
        let lines = [line, b"\r\nContent-Length: 13"].concat();
        cases.push(Case::new(&name, post_bytes(&lines), 400, authority));
    }
    let first = b"POST /v1/embeddings HTTP/1.1\r\n X: y\r\nHost: t\r\nContent-Length: 0\r\n\r\n";
    cases.push(Case::new(
        "a fold of the request line",
        &first[..],
        400,
        "RFC 9112, 2.2",
    ));
    let odd = b"X:\r\nY:\t a \t\r\nZ: \xe9\r\n!#$%&'*+-.^_`|~9: b\r\nContent-Length: 13";
    cases.push(Case::new(
        "what the grammar has",
        post_bytes(odd),
        200,
        "RFC 9110, 5",
    ));
    let empty = [b"\r\n\r\n".to_vec(), post_bytes(b"Content-Length: 13")].concat();
    cases.push(Case::new("empty lines before", empty, 200, "RFC 9112, 2.2"));
    check(cases).await;
}

#[tokio::test]
async fn a_header_has_a_limit_of_fields_and_of_bytes() {
    const LIMIT: &str = "RFC 6585, 5";
    let many = |count: usize| "X: a\r\n".repeat(count) + "Content-Length: 13";
    let long = |bytes: usize| format!("X: {}\r\nContent-Length: 13", "a".repeat(bytes));
    let cases = [
        ("98 fields and two", many(98), 200),
        ("1,000 fields", many(1000), 431),
        ("30 KiB", long(30 << 10), 200),
        ("33 KiB", long(33 << 10), 431),
        ("1 MB", long(1_000_000), 431),
    ];
    let cases = cases
        .map(|(name, lines, status)| Case::new(name, post_bytes(lines.as_bytes()), status, LIMIT));
    check(cases.into()).await;
}
