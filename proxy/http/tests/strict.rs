//! What is no HTTP/1.1 is refused, in its turn, and nothing behind it is served. Each case names the
//! section that decides it; the parser's own cases are in `tidegate-http1`, and what the proxy
//! answers its clients in `tests/end_to_end/raw`.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::{get, post};
use tidegate_http::{Limits, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a server may be silent that has more to say.
const SILENCE: Duration = Duration::from_millis(400);

async fn start() -> (Server, SocketAddr) {
    let router = Router::new()
        .route("/", post(async |body: Bytes| body))
        .route("/v1/x", post(async |body: Bytes| body))
        .route("/early", post(async || StatusCode::PAYLOAD_TOO_LARGE))
        .route("/get", get(async || "got"));
    let any = "127.0.0.1:0".parse().expect("an address");
    let started = Server::start(any, router, &Limits::default()).await;
    started.expect("a port")
}

/// All that is answered to these bytes.
async fn talk(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it connects");
    stream.write_all(bytes).await.expect("it is sent");
    let mut answer = Vec::new();
    while let Ok(Ok(1..)) = tokio::time::timeout(SILENCE, stream.read_buf(&mut answer)).await {}
    String::from_utf8_lossy(&answer).into_owned()
}

fn statuses(answer: &str) -> Vec<u16> {
    let lines = answer.split("HTTP/1.1 ").skip(1);
    lines
        .filter_map(|rest| rest.get(..3)?.parse().ok())
        .collect()
}

/// A request with these lines behind `Host`.
fn request(lines: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: t\r\n{lines}\r\n\r\n{body}")
}

const SECOND: &str = "GET /get HTTP/1.1\r\nHost: t\r\n\r\n";

#[tokio::test]
async fn what_is_no_http_is_answered_with_its_status_and_nothing_behind_it_is_served() {
    let chunked = |body: &str| request("Transfer-Encoding: chunked", body);
    let head = |line: &str, host: &str| format!("{line}\r\n{host}Content-Length: 0\r\n\r\n");
    let post = "POST / HTTP/1.1";
    let cases = [
        (
            request("Content-Length: 2\r\nContent-Length: 2", "ab"),
            400,
            "9112 6.3",
        ),
        (request("Content-Length: 2, 2", "ab"), 400, "9112 6.3"),
        (request("Content-Length: +2", "ab"), 400, "9112 6.3"),
        (
            request("Content-Length: 18446744073709551615", ""),
            400,
            "9112 6.3",
        ),
        (
            request(
                "Content-Length: 2\r\nTransfer-Encoding: chunked",
                "0\r\n\r\n",
            ),
            400,
            "9112 6.1",
        ),
        (
            request(
                "Transfer-Encoding: chunked\r\nContent-Length: 2",
                "0\r\n\r\n",
            ),
            400,
            "9112 6.1",
        ),
        (
            request("Transfer-Encoding: gzip, chunked", "0\r\n\r\n"),
            501,
            "9112 6.1",
        ),
        (
            request("Transfer-Encoding: chunked, chunked", "0\r\n\r\n"),
            400,
            "9112 6.1",
        ),
        (
            request("X: a\nTransfer-Encoding: chunked", ""),
            400,
            "9112 2.2",
        ),
        (request("X: a\r\n b", ""), 400, "9112 5.2"),
        (request("X : a", ""), 400, "9112 5.1"),
        (head(post, ""), 400, "9112 3.2, no host"),
        (head(post, "Host: a\r\nHost: a\r\n"), 400, "9112 3.2"),
        (head(post, "Host: u@a\r\n"), 400, "9110 4.2.4"),
        (head(post, "Host: a:x\r\n"), 400, "9110 7.2"),
        (head("POST /#f HTTP/1.1", "Host: t\r\n"), 400, "9112 3.2"),
        (head("POST /\u{e9} HTTP/1.1", "Host: t\r\n"), 400, "3986 2"),
        (
            head("POST http://u@t/ HTTP/1.1", "Host: t\r\n"),
            400,
            "9110 4.2.4",
        ),
        (head("POST * HTTP/1.1", "Host: t\r\n"), 400, "9112 3.2.4"),
        (head("POST / HTTP/2.0", "Host: t\r\n"), 505, "9110 15.6.6"),
        (head("FAULTY / HTTP/1.1", "Host: t\r\n"), 501, "9110 9.1"),
        (head(post, "Host: t\r\nExpect: tea\r\n"), 417, "9110 10.1.1"),
        (
            format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{SECOND}"),
            505,
            "9113 3.4",
        ),
        (
            format!("POST /{} HTTP/1.1\r\n", "a".repeat(40 << 10)),
            414,
            "9112 3",
        ),
        (chunked("2;=a\r\nab\r\n0\r\n\r\n"), 400, "9112 7.1.1"),
        (chunked("2\nab\r\n0\r\n\r\n"), 400, "9112 7.1"),
        (chunked("fffffffffffffffff\r\n"), 400, "9112 7.1"),
        (chunked("2\r\nabc\r\n0\r\n\r\n"), 400, "9112 7.1"),
        (chunked("2\r\nab\r\n0\r\nX : a\r\n\r\n"), 400, "9112 7.1.2"),
    ];
    let (_server, address) = start().await;
    let mut wrong = Vec::new();
    for (bytes, status, authority) in cases {
        let answer = talk(address, (bytes.clone() + SECOND).as_bytes()).await;
        if statuses(&answer) != [status] || !answer.contains("connection: close") {
            let shown: String = bytes.chars().take(60).collect();
            wrong.push(format!("{shown:?} ({authority}): {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn what_is_http_is_served_however_it_is_written_and_cut() {
    let chunked = request(
        "TRANSFER-encoding:\tChunked",
        "2;a=\"b;c\" ; d\r\nab\r\n1\r\nc\r\n000\r\nX: y\r\n\r\n",
    );
    let plain = request("content-length: 003", "abc");
    let absolute = plain.replacen("POST /", "POST HTTP://t:80/", 1);
    let expecting = request("Content-Length: 3\r\nExpect: 100-continue", "abc");
    let (_server, address) = start().await;
    for bytes in [&chunked, &plain, &absolute, &format!("\r\n{plain}")] {
        let twice = talk(address, (bytes.to_owned() + bytes).as_bytes()).await;
        assert_eq!(statuses(&twice), [200, 200], "{bytes}");
        let mut stream = TcpStream::connect(address).await.expect("it connects");
        stream.set_nodelay(true).expect("it is a socket");
        for byte in bytes.bytes() {
            stream.write_all(&[byte]).await.expect("it is sent");
        }
        let mut answer = Vec::new();
        while let Ok(Ok(1..)) = tokio::time::timeout(SILENCE, stream.read_buf(&mut answer)).await {}
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.ends_with("abc"), "{bytes}: {answer}");
    }
    let answer = talk(address, expecting.as_bytes()).await;
    assert!(answer.ends_with("abc"), "{answer}");
}

#[tokio::test]
async fn a_fault_is_answered_behind_the_requests_before_it() {
    let (_server, address) = start().await;
    let good = request("Content-Length: 3", "abc");
    let answer = talk(
        address,
        (good.clone() + SECOND + "GET\r\n\r\n" + SECOND).as_bytes(),
    )
    .await;
    assert_eq!(statuses(&answer), [200, 200, 400], "{answer}");
    let answer = talk(
        address,
        (good + &request("Transfer-Encoding: chunked", "zz\r\n")).as_bytes(),
    )
    .await;
    assert_eq!(statuses(&answer), [200, 400], "{answer}");
}

#[tokio::test]
async fn errors_have_the_shape_of_their_path() {
    let (_server, address) = start().await;
    let of = async |path: &str| {
        let bytes = request("Transfer-Encoding: chunked", "zz\r\n");
        let bytes = bytes.replacen("POST /", &format!("POST {path}"), 1);
        talk(address, bytes.as_bytes()).await
    };
    let openai = of("/v1/x").await;
    assert!(
        openai.contains(r#""type":"invalid_request_error""#),
        "{openai}"
    );
    let plain = of("/").await;
    assert!(plain.contains(r#""error_type":"Validation""#), "{plain}");
}

#[tokio::test]
async fn errors_of_a_head_have_the_shape_of_the_path_that_it_seems_to_ask_for() {
    let (_server, address) = start().await;
    for (head, shape) in [
        ("POST /v1/x HTTP/1.1\r\n\r\n", r#""code":"invalid_http""#),
        (
            "POST /v1/x HTTP/1.1\nHost: t\n\n",
            r#""code":"invalid_http""#,
        ),
        (
            "POST /v1/x?y=1 HTTP/9.1\r\nHost: t\r\n\r\n",
            r#""code":"invalid_http""#,
        ),
        (
            "POST http://t/v2/x HTTP/1.1\r\nHost : t\r\n\r\n",
            r#""code":"invalid_http""#,
        ),
        ("POST /x HTTP/1.1\r\n\r\n", r#""error_type":"Validation""#),
        ("POST\r\n\r\n", r#""error_type":"Validation""#),
    ] {
        let answer = talk(address, head.as_bytes()).await;
        assert!(answer.contains(shape), "{head:?}: {answer}");
    }
}

#[tokio::test]
async fn an_answer_reaches_a_client_that_still_sends() {
    let (_server, address) = start().await;
    let mut stream = TcpStream::connect(address).await.expect("it connects");
    let head = "POST /early HTTP/1.1\r\nHost: t\r\nContent-Length: 9000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("it is sent");
    // More than both sides buffer; the answer is there before it is sent.
    for _ in 0..30 {
        if stream.write_all(&[b'x'; 100_000]).await.is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert_eq!(statuses(&answer), [413], "{answer}");
}
