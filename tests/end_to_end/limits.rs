//! Limits for unknown clients: connections and unfinished headers, and that both are released.

use std::process::Command;
use std::time::{Duration, Instant};

use tidegate_tests::{Harness, HarnessConfig, binary, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn connect(harness: &Harness) -> TcpStream {
    TcpStream::connect(harness.listen)
        .await
        .expect("the proxy listens")
}

/// The status with which a connection that was refused ends; `None` while it is open.
async fn status(stream: &mut TcpStream) -> Option<String> {
    let mut answer = [0; 12];
    let read = tokio::time::timeout(Duration::from_millis(200), stream.read_exact(&mut answer));
    read.await.ok()?.ok()?;
    Some(String::from_utf8_lossy(&answer[9..]).into_owned())
}

#[tokio::test]
async fn unfinished_headers_have_a_limit_together() {
    let harness = Harness::start(HarnessConfig {
        proxy: "[clients]\nall_headers_bytes = 262144\nheader_timeout = '2s'".to_owned(),
    })
    .await;
    let mut open = Vec::new();
    for _ in 0..40 {
        let mut stream = connect(&harness).await;
        let header = format!("GET /livez HTTP/1.1\r\nX: {}", "a".repeat(16 << 10));
        stream
            .write_all(header.as_bytes())
            .await
            .expect("it is sent");
        open.push(stream);
    }
    assert_eq!(
        harness.client().get("/livez").await.status,
        200,
        "others are served"
    );
    let mut refused = 0;
    for stream in &mut open {
        refused += usize::from(status(stream).await.is_some_and(|status| status == "503"));
    }
    assert!(refused >= 40 - 16, "{refused} of 40 were refused");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut again = connect(&harness).await;
    again
        .write_all(b"GET /livez HTTP/1.1\r\nX: a")
        .await
        .expect("it is sent");
    assert_eq!(status(&mut again).await, None, "there is room again");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(
        status(&mut again).await.as_deref(),
        Some("408"),
        "a slow one is refused"
    );
}

#[tokio::test]
async fn idle_connections_make_room_for_new_ones() {
    let harness = Harness::start(HarnessConfig {
        proxy: "[clients]\nconnections = 20".to_owned(),
    })
    .await;
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(connect(&harness).await);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let began = Instant::now();
    assert_eq!(harness.client().get("/livez").await.status, 200);
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    let began = Instant::now();
    harness.signal().await;
    assert!(
        began.elapsed() < Duration::from_millis(100),
        "{:?}",
        began.elapsed()
    );
    let mut first = idle.swap_remove(0);
    eventually("the oldest is closed", async || {
        matches!(first.read(&mut [0]).await, Ok(0) | Err(_)).then_some(())
    })
    .await;
}

#[test]
fn more_connections_than_files_are_refused_at_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("proxy.toml");
    let start = |connections: u32| {
        let text = format!("[clients]\nconnections = {connections}\n");
        std::fs::write(&config, text).expect("it is written");
        let command = format!(
            "ulimit -n 1024; exec {} --check --config {}",
            binary("tidegate-proxy").display(),
            config.display()
        );
        Command::new("sh")
            .args(["-c", &command])
            .output()
            .expect("it runs")
    };
    assert_eq!(start(600).status.code(), Some(0));
    let refused = start(1000);
    assert_eq!(refused.status.code(), Some(78));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains("clients.connections") && said.contains("ulimit -n"),
        "{said}"
    );
}
