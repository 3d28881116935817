//! Requests byte by byte: what is refused, with which status, and that nothing of it reaches a
//! worker. Each case names the section that decides it.

mod answers;
mod chunks;
mod fields;
mod framing;
mod lines;
mod manners;
mod origin;

use std::time::Duration;

use tidegate_tests::{Harness, HarnessConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A small JSON body, of 13 bytes.
const BODY: &str = r#"{"input":"a"}"#;

/// A second request, which a client smuggles past a reader that finds another end of the first.
const SECOND: &str =
    "POST /v1/embeddings HTTP/1.1\r\nHost: t\r\nContent-Length: 13\r\n\r\n{\"input\":\"b\"}";

/// One request, and what must come of it.
struct Case {
    name: String,
    send: Vec<u8>,
    /// Statuses of all answers, in order.
    answers: Vec<u16>,
    /// The section that decides.
    authority: &'static str,
}

impl Case {
    fn new(name: &str, send: impl Into<Vec<u8>>, status: u16, authority: &'static str) -> Case {
        Case {
            name: name.to_owned(),
            send: send.into(),
            answers: vec![status],
            authority,
        }
    }

    /// Requests that reach a worker: those that are answered with 200 by it.
    fn arrivals(&self) -> u64 {
        self.answers.iter().filter(|status| **status == 200).count() as u64
    }
}

/// `POST /v1/embeddings` with these lines of the header after `Host`, and a body.
fn post(lines: &str, body: &str) -> String {
    format!("POST /v1/embeddings HTTP/1.1\r\nHost: t\r\n{lines}\r\n\r\n{body}")
}

/// As [`post`], with lines that are no text.
fn post_bytes(lines: &[u8]) -> Vec<u8> {
    let begin = b"POST /v1/embeddings HTTP/1.1\r\nHost: t\r\n";
    [begin, lines, b"\r\n\r\n", BODY.as_bytes()].concat()
}

/// Sends all cases to one proxy and fails naming those that were answered otherwise.
async fn check(cases: Vec<Case>) {
    let harness = Harness::start(HarnessConfig {
        proxy: "models = ['timed']\n[line]\ndefault_timeout = '5s'\n".to_owned(),
    })
    .await;
    let _worker = harness.timed_worker("w", &[]).await;
    let mut wrong = Vec::new();
    for case in &cases {
        let before = harness.signal().await.models[0].arrivals_total;
        let answers = statuses(&talk(&harness, &case.send).await);
        let arrivals = harness.signal().await.models[0].arrivals_total - before;
        if answers != case.answers || arrivals != case.arrivals() {
            wrong.push(format!(
                "{}: answers {answers:?}, {arrivals} at the worker; wanted {:?}, {} ({})",
                case.name,
                case.answers,
                case.arrivals(),
                case.authority
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} cases:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

/// Sends bytes and reads until the proxy closes or is silent for a while.
async fn talk(harness: &Harness, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(harness.listen)
        .await
        .expect("the proxy listens");
    // It may close before it has read all of a header that is too large.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    // A first answer is waited for; behind the last one there is silence.
    let (patience, silence) = (Duration::from_secs(8), Duration::from_millis(400));
    loop {
        let limit = if answer.is_empty() { patience } else { silence };
        match tokio::time::timeout(limit, stream.read_buf(&mut answer)).await {
            Ok(Ok(read)) if read > 0 => {}
            _ => break,
        }
    }
    answer
}

/// The status of each answer, wherever its line stands.
fn statuses(answer: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answer);
    let lines = text.split("HTTP/1.1 ").skip(1);
    // Messages name the version too.
    lines
        .filter_map(|rest| rest.get(..3)?.parse().ok())
        .collect()
}
