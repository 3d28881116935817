//! A worker that says what the test wants, byte by byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidegate_protocol::WorkerState;
use tidegate_tests::Harness;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Takes requests and heartbeats until it is dropped.
pub struct Origin(#[expect(dead_code, reason = "its tasks end with it")] JoinSet<()>);

impl Origin {
    /// Answers every request with these bytes, then closes if they say so.
    pub async fn start(harness: &Harness, id: &str, slots: u32, answer: Vec<u8>) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, Arc::new(answer)));
        tasks.spawn(heartbeat(
            harness.admin,
            harness.worker_token(),
            id.to_owned(),
            address,
            slots,
        ));
        harness.worker_is(id, WorkerState::Ready).await;
        Origin(tasks)
    }
}

async fn serve(listener: TcpListener, answer: Arc<Vec<u8>>) {
    let mut connections = JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        let answer = Arc::clone(&answer);
        connections.spawn(async move {
            let mut request = Vec::new();
            loop {
                // The body is small JSON and comes with its header.
                while !request.ends_with(b"}") {
                    match stream.read_buf(&mut request).await {
                        Ok(read) if read > 0 => {}
                        _ => return,
                    }
                }
                request.clear();
                let sent = stream.write_all(&answer).await;
                if sent.is_err() || answer.starts_with(b"HTTP/1.0") {
                    return;
                }
            }
        });
    }
}

async fn heartbeat(admin: SocketAddr, token: &str, id: String, address: SocketAddr, slots: u32) {
    let http = reqwest::Client::new();
    for sequence in 1u64.. {
        let heartbeat = json!({
            "version": 1, "worker": id, "boot": "b", "sequence": sequence, "address": address,
            "model": "timed", "slots": slots, "busy": 0, "yours": 0, "queue": 0, "state": "ready",
        });
        let post = http
            .post(format!("http://{admin}/beat"))
            .bearer_auth(token)
            .json(&heartbeat);
        let _ = post.send().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
