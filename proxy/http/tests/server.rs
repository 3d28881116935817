//! The bounds of the server, met over real connections.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tidegate_http::{Limits, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(10);

/// A server with one route that takes its time, and its address.
async fn start(limits: Limits) -> (Server, SocketAddr) {
    let slow = async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        "done"
    };
    let large = async || "x".repeat(64 << 20);
    let router = Router::new()
        .route("/large", get(large))
        .route("/", get(async || "ok"))
        .route("/slow", get(slow));
    let any = "127.0.0.1:0".parse().expect("an address");
    Server::start(any, router, &limits).await.expect("a port")
}

async fn send(address: SocketAddr, request: &str) -> TcpStream {
    let mut connection = TcpStream::connect(address).await.expect("it connects");
    let sent = connection.write_all(request.as_bytes()).await;
    sent.expect("it is sent");
    connection
}

/// All that is answered until the server closes the connection.
async fn answer(mut connection: TcpStream) -> String {
    let mut seen = Vec::new();
    let read = tokio::time::timeout(PATIENCE, connection.read_to_end(&mut seen));
    let _ = read.await.expect("the server closes it");
    String::from_utf8_lossy(&seen).into_owned()
}

/// Sends a request with these fields, and returns its answer's first line.
async fn status(fields: &str) -> String {
    let limits = Limits {
        buffer_bytes: 8 << 10,
        header_fields: 10,
        ..Limits::default()
    };
    let (_server, address) = start(limits).await;
    let request = format!("GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{fields}\r\n");
    let whole = answer(send(address, &request).await).await;
    whole.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_header_beyond_its_limits_is_told_so() {
    let fields = |count: usize, bytes: usize| -> String {
        let field = |n| format!("x-{n}: {}\r\n", "v".repeat(bytes));
        (0..count).map(field).collect()
    };
    assert_eq!(status(&fields(8, 100)).await, "HTTP/1.1 200 OK");
    let too_large = "HTTP/1.1 431 Request Header Fields Too Large";
    assert_eq!(status(&fields(9, 1)).await, too_large);
    assert_eq!(status(&fields(1, 9 << 10)).await, too_large);
}

#[tokio::test]
async fn what_is_under_way_is_answered_and_nothing_new_is_taken() {
    let (server, address) = start(Limits::default()).await;
    let running = send(address, "GET /slow HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let idle = send(address, "").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let finished = tokio::time::timeout(PATIENCE, server.finish(PATIENCE));
    finished.await.expect("idle connections are not waited for");
    assert!(answer(running).await.ends_with("done"));
    assert_eq!(answer(idle).await, "");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_client_that_takes_no_more_of_an_answer_is_left() {
    let limits = Limits {
        write_time: Duration::from_secs(1),
        ..Limits::default()
    };
    let (_server, address) = start(limits).await;
    let request = "GET /large HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
    let stopped = send(address, request).await;
    let begun = std::time::Instant::now();
    let mut taking = send(address, request).await;
    let mut taken = 0;
    let mut piece = vec![0; 1 << 20];
    // Slower than a write may wait in all, and steady.
    while taken < 64 << 20 {
        let read = taking.read(&mut piece).await.expect("it is not left");
        assert!(read > 0, "{taken} bytes came");
        taken += read;
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(begun.elapsed() > limits.write_time);
    let seen = answer(stopped).await;
    assert!(seen.len() < 64 << 20, "{} bytes came", seen.len());
}
