//! Where a body ends: `Content-Length` and `Transfer-Encoding`.

use super::{BODY, Case, SECOND, check, post, post_bytes};

const LENGTH: &str = "RFC 9112, 6.3: an invalid Content-Length is answered with 400";
const CODING: &str = "RFC 9112, 6.3: chunked must be the last coding, else 400";
const UNKNOWN_CODING: &str = "RFC 9112, 6.1: 501 for a coding that is not understood";

#[tokio::test]
async fn a_length_is_one_number_or_the_request_is_refused() {
    let mut cases: Vec<Case> = [
        "+13",
        "-13",
        "-0",
        "0xd",
        "d",
        "0o15",
        "1_3",
        "1 3",
        "13.0",
        "13e0",
        "",
        "abc",
        "\"13\"",
        "13;a",
        "13, 12",
        "13,",
        ",13",
        "13,13",
        "18446744073709551629",
        "9223372036854775808",
        "92233720368547758089223372036854775808",
    ]
    .into_iter()
    .map(|value| {
        let name = format!("Content-Length: {value:?}");
        Case::new(
            &name,
            post(&format!("Content-Length: {value}"), BODY),
            400,
            LENGTH,
        )
    })
    .collect();
    for bytes in [
        &b"Content-Length: 13\x11"[..],
        b"Content-Length: 13\xa0",
        b"Content-Length: \xd9\xa1\xd9\xa3",
        b"Content-Length: \x0b13",
        b"Content-Length : 13",
        b"Content-Length: 13\r\nContent-Length: 0",
        b"Content-Length: 0\r\nContent-Length: 13",
    ] {
        let name = String::from_utf8_lossy(bytes).into_owned();
        cases.push(Case::new(&name, post_bytes(bytes), 400, LENGTH));
    }
    let huge = post("Content-Length: 9223372036854775807", BODY);
    cases.push(Case::new(
        "more than any limit",
        huge,
        413,
        "RFC 9110, 15.5.14",
    ));
    let other_name = post("Content_Length: 13", "");
    cases.push(Case::new(
        "an underscore is another field",
        other_name,
        200,
        "RFC 9110, 5.1",
    ));
    cases.push(Case::new(
        "zeros in front",
        post("Content-Length: 0013", BODY),
        200,
        "RFC 9110, 8.6",
    ));
    check(cases).await;
}

#[tokio::test]
async fn a_coding_is_chunked_alone_or_the_request_is_refused() {
    let body = format!("d\r\n{BODY}\r\n0\r\n\r\n");
    let with = |lines: &[u8]| {
        let begin = b"POST /v1/embeddings HTTP/1.1\r\nHost: t\r\n";
        [begin, lines, b"\r\n\r\n", body.as_bytes()].concat()
    };
    let mut cases = Vec::new();
    for value in [
        &b"xchunked"[..],
        b"identity",
        b"",
        b"chunked,",
        b"chunked, identity",
        b"chunked, gzip",
        b"\"chunked\"",
        b"chunked;q=1",
        b"\x0bchunked",
        b"chunked\x0c",
        b"chunked\x11",
        b"\xa0chunked",
        b"chunked\0",
        b"gzip chunked",
        b"chu nked",
        b"\x85chunked",
        b"chunked, chunked",
        b"chunked\r\nTransfer-Encoding: chunked",
        b"chunked\r\nTransfer-Encoding: identity",
    ] {
        let name = format!("Transfer-Encoding: {}", String::from_utf8_lossy(value));
        let lines = [b"Transfer-Encoding: ", value].concat();
        cases.push(Case::new(&name, with(&lines), 400, CODING));
    }
    for value in [
        "gzip, chunked",
        "identity, chunked",
        "identity\r\nTransfer-Encoding: chunked",
        "xchunked\r\nTransfer-Encoding: chunked",
    ] {
        let lines = format!("Transfer-Encoding: {value}");
        cases.push(Case::new(
            &lines,
            with(lines.as_bytes()),
            501,
            UNKNOWN_CODING,
        ));
    }
    for (lines, authority) in [
        (
            &b"Transfer-Encoding : chunked\r\nContent-Length: 23"[..],
            "RFC 9112, 5.1",
        ),
        (
            b"Transfer-Encoding\t: chunked\r\nContent-Length: 23",
            "RFC 9112, 5.1",
        ),
        (
            b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 23",
            "RFC 9112, 5.2",
        ),
        (
            b"X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 13",
            "RFC 9112, 5.2",
        ),
        (
            b"X: y\rTransfer-Encoding: chunked\r\nContent-Length: 23",
            "RFC 9112, 2.2",
        ),
        (
            b"X: y\0Transfer-Encoding: chunked\r\nContent-Length: 13",
            "RFC 9110, 5.5",
        ),
        (
            b"Transfer-Encoding: chunked\r\nContent-Length: 23",
            "RFC 9112, 6.3",
        ),
    ] {
        let name = String::from_utf8_lossy(lines).into_owned();
        cases.push(Case::new(&name, with(lines), 400, authority));
    }
    cases.push(Case::new(
        "any case",
        with(b"transfer-encoding: CHUNKED"),
        200,
        "RFC 9112, 7",
    ));
    for lines in ["", "Connection: keep-alive\r\n"] {
        let send = format!(
            "POST /v1/embeddings HTTP/1.0\r\nHost: t\r\n{lines}Transfer-Encoding: chunked\r\n\r\n{body}{SECOND}"
        );
        let name = format!("HTTP/1.0 has no codings, {lines:?}");
        cases.push(Case::new(&name, send, 400, "RFC 9112, 6.1"));
    }
    check(cases).await;
}
