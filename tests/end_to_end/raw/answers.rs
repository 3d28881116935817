//! What workers say, and clients that do not take it.

use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_tests::{Harness, HarnessConfig};
use tokio::io::AsyncReadExt;

use super::origin::Origin;
use super::{BODY, SECOND, post, statuses, talk};

async fn harness() -> Harness {
    Harness::start(HarnessConfig {
        proxy: "models = ['timed']\n[line]\ndefault_timeout = '20s'\n".to_owned(),
    })
    .await
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_a_worker_that_failed() {
    for (answer, why) in [
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            "nobody asked for it",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            "RFC 9112, 6.3",
        ),
        (
            "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
            "RFC 9112, 5.2",
        ),
        ("ICY 200 OK\r\n\r\n", "RFC 9112, 4"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "RFC 9112, 7.1",
        ),
    ] {
        let harness = harness().await;
        let _origin = Origin::start(&harness, "w", 8, answer.into()).await;
        let said = talk(&harness, post("Content-Length: 13", BODY).as_bytes()).await;
        assert_eq!(statuses(&said), [502], "{answer:?} ({why})");
    }
}

#[tokio::test]
async fn an_answer_arrives_whole_however_it_is_framed() {
    for (answer, framing) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: x-a\r\nx-a: b\r\n\r\nabcd",
            "content-length: 4",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n",
            "content-length: 4",
        ),
        ("HTTP/1.0 200 OK\r\n\r\nabcd", "transfer-encoding: chunked"),
        (
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd",
            "content-length: 4",
        ),
    ] {
        let harness = harness().await;
        let _origin = Origin::start(&harness, "w", 8, answer.into()).await;
        let http = reqwest::Client::new();
        let url = format!("http://{}/v1/embeddings", harness.listen);
        for _ in 0..2 {
            let whole = http.post(&url).body(BODY).send().await.expect("an answer");
            assert!(!whole.headers().contains_key("x-a"), "Connection names it");
            assert_eq!(whole.text().await.expect("a body"), "abcd", "{answer:?}");
        }
        let two = post("Content-Length: 13", BODY) + SECOND;
        let said = String::from_utf8_lossy(&talk(&harness, two.as_bytes()).await).into_owned();
        assert_eq!(statuses(said.as_bytes()), [200, 200], "{said}");
        assert!(
            said.contains(framing) || framing.contains("chunked"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn clients_that_read_nothing_do_not_keep_workers() {
    let harness = harness().await;
    let length = 24 << 20;
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + length, b'x');
    let _origin = Origin::start(&harness, "w", 2, answer).await;
    let mut slow = Vec::new();
    for host in [1, 2] {
        let mut stream = harness.begin(host, BODY).await;
        let mut first = [0; 100];
        stream
            .read_exact(&mut first)
            .await
            .expect("an answer begins");
        slow.push(stream);
    }
    let began = Instant::now();
    let third = harness.client().post(&json!({"input": "a"})).await;
    assert_eq!(third.status, 200);
    assert!(
        began.elapsed() < Duration::from_secs(6),
        "{:?}",
        began.elapsed()
    );
    for mut stream in slow {
        // The body is at least this much beside a head of some hundred bytes.
        let mut rest = vec![0; length - 100];
        stream
            .read_exact(&mut rest)
            .await
            .expect("nothing is lost meanwhile");
    }
}
