//! Connections: how many there may be, and how long one may keep the worker waiting.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::tiny_model::TINY;
use crate::worker::{self, Worker};

async fn connect(worker: &Worker) -> TcpStream {
    let address = worker.url.trim_start_matches("http://");
    TcpStream::connect(address).await.expect("it connects")
}

/// Sends a piece of a header.
async fn send(connection: &mut TcpStream, piece: &str) {
    let sent = connection.write_all(piece.as_bytes()).await;
    sent.expect("it is sent");
}

/// What comes until the worker closes the connection.
async fn until_closed(connection: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), connection.read_to_end(&mut seen));
    let _ = read.await.expect("the worker closes it");
    String::from_utf8_lossy(&seen).into_owned()
}

#[tokio::test]
async fn connections_that_send_no_whole_header_in_time_are_closed() {
    let worker = worker::with_model(TINY)
        .config("[limits]\nheader_timeout = '200ms'")
        .ready()
        .await;
    let mut silent = connect(&worker).await;
    assert_eq!(until_closed(&mut silent).await, "");
    let mut slow = connect(&worker).await;
    send(&mut slow, "GET /livez HTTP/1.1\r\nhost: w\r\n").await;
    assert!(!until_closed(&mut slow).await.contains("200 OK"));
    let mut used = connect(&worker).await;
    send(&mut used, "GET /livez HTTP/1.1\r\nhost: w\r\n\r\n").await;
    assert!(until_closed(&mut used).await.contains("200 OK"));
}

#[tokio::test]
async fn beyond_the_limit_connections_are_closed_and_a_free_place_is_used_again() {
    let worker = worker::with_model(TINY)
        .config("[limits]\nmax_connections = 2")
        .ready()
        .await;
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(connect(&worker).await);
    }
    // Who asked whether it is ready may still have one of the places.
    let mut closed = 0;
    for connection in &mut all {
        let read = connection.read_u8();
        let ended = tokio::time::timeout(Duration::from_secs(1), read).await;
        closed += u32::from(ended.is_ok());
    }
    assert!((3..=4).contains(&closed), "{closed} of 5 are closed");
    drop(all);
    worker.until_ready().await;
}
