//! A worker's host disappears with a request: no packet says so, and the proxy must detect it. The host
//! is a socket that drops everything that reaches it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use socket2::{SockFilter, SockRef};
use tidegate_protocol::WorkerState;
use tidegate_tests::{Answer, Harness, HarnessConfig};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// The shortest that a config may say.
const UNREACHABLE: &str = "[workers]\nunreachable = '4s'\n";

/// It is found out a little after that, and much sooner than the request's deadline.
const FOUND_OUT: std::ops::Range<Duration> = Duration::from_secs(3)..Duration::from_secs(9);

/// Drops every packet: `return 0`.
const DROP_ALL: [SockFilter; 1] = [SockFilter::new(0x06, 0, 0, 0)];

#[derive(Clone, Copy, PartialEq)]
enum Vanishes {
    /// Nothing is on its way any more, and nothing comes.
    HavingReadTheRequest,
    /// Most of the request is on its way.
    BeforeIt,
}

/// A worker that vanishes with the first connection made to it. Its heartbeats still come through, as
/// otherwise the proxy would go by those; but it takes nothing new.
struct Host {
    gone: Arc<Notify>,
}

impl Host {
    async fn start(harness: &Harness, when: Vanishes) -> Host {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (url, token) = (
            format!("http://{}/beat", harness.admin),
            harness.worker_token(),
        );
        let state = Arc::new(Mutex::new("ready"));
        let announced = Arc::clone(&state);
        tokio::spawn(async move {
            let client = reqwest::Client::new();
            for sequence in 1.. {
                let state = *announced.lock().expect("nobody panics with it");
                let heartbeat = json!({
                    "version": tidegate_protocol::VERSION, "worker": "lost", "boot": "1",
                    "sequence": sequence, "address": address, "model": "timed", "slots": 1,
                    "busy": 0, "yours": 0, "state": state,
                });
                let request = client.post(&url).bearer_auth(token).json(&heartbeat);
                if request.send().await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
        let gone = Arc::new(Notify::new());
        let host = Host { gone: gone.clone() };
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            if when == Vanishes::HavingReadTheRequest {
                read_request(&mut stream).await;
            }
            let filter = SockRef::from(&stream).attach_filter(&DROP_ALL);
            filter.expect("any process may drop what reaches its sockets");
            *state.lock().expect("nobody panics with it") = "draining";
            gone.notify_one();
            // Neither closed nor read.
            std::future::pending::<()>().await;
            drop((stream, listener));
        });
        harness.worker_is("lost", WorkerState::Ready).await;
        host
    }
}

async fn read_request(stream: &mut TcpStream) {
    let mut read = Vec::new();
    while !read.ends_with(b"}") {
        let count = stream.read_buf(&mut read).await.expect("it can be read");
        assert!(count > 0, "the proxy left");
    }
}

/// The host has the request; another worker comes, and gets it.
async fn another_worker_answers(when: Vanishes, body: Value) -> Answer {
    let harness = Harness::start(HarnessConfig {
        proxy: UNREACHABLE.to_owned(),
    });
    let harness = harness.await;
    let host = Host::start(&harness, when).await;
    let client = harness.client();
    let request = tokio::spawn(async move { client.post(&body).await });
    host.gone.notified().await;
    harness.worker_is("lost", WorkerState::Draining).await;
    let _other = harness.timed_worker("other", &[]).await;
    let answer = request.await.expect("no panic");
    answer.timed();
    assert!(FOUND_OUT.contains(&answer.took), "{:?}", answer.took);
    assert_eq!(harness.signal().await.models[0].retries_total, 1);
    answer
}

#[tokio::test]
async fn a_host_that_vanishes_while_it_works_costs_its_client_seconds() {
    another_worker_answers(Vanishes::HavingReadTheRequest, json!({"service_ms": 1})).await;
}

#[tokio::test]
async fn a_host_that_vanishes_while_it_is_sent_a_body_costs_its_client_seconds() {
    let body = json!({"service_ms": 1, "padding": "x".repeat(8 << 20)});
    let answer = another_worker_answers(Vanishes::BeforeIt, body).await;
    assert!(answer.timed().bytes > 8 << 20, "it arrives whole");
}
