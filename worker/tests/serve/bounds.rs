//! What one client can make the worker hold: by a long text, by an answer that it does not take.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_tests::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::tiny_model::{TINY, words};
use crate::worker::{self, Worker};

/// The most that a text may hold for each of its bytes, whatever is in it.
const MOST_TIMES: u64 = 20;

impl Worker {
    /// The peak of its memory is counted from now on.
    fn forget_peak(&self) {
        let file = format!("/proc/{}/clear_refs", self.process.id());
        std::fs::write(file, "5").expect("the worker runs");
    }

    /// A line of the process's status, in bytes.
    fn memory(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.expect("the worker runs");
        let line = status.lines().find_map(|found| found.strip_prefix(line));
        let kib = line.and_then(|rest| rest.split_whitespace().nth(1));
        kib.and_then(|kib| kib.parse::<u64>().ok()).expect("a size") * 1024
    }
}

#[tokio::test]
async fn a_long_text_holds_a_small_multiple_of_itself() {
    let texts = [
        ("dots", ".".repeat(1_000_000)),
        ("prose", words(250_000)),
        ("ideographs", "漢字".repeat(166_666)),
        ("digits", "0123456789".repeat(100_000)),
        ("one word", "x".repeat(1_000_000)),
        ("spaces", " ".repeat(1_000_000)),
    ];
    for (kind, text) in &texts {
        for (path, body) in [
            ("/embed", json!({ "inputs": text })),
            ("/v1/embeddings", json!({ "input": text })),
            ("/tokenize", json!({ "inputs": text })),
        ] {
            let worker = worker::with_model(TINY).ready().await;
            worker.post_to("/embed", &json!({ "inputs": "a" })).await;
            let before = worker.memory("VmHWM");
            let begun = Instant::now();
            worker.post_to(path, &body).await;
            let more = worker.memory("VmHWM").saturating_sub(before);
            let times = more / text.len() as u64;
            println!("{kind} to {path}: {times} times, {:?}", begun.elapsed());
            assert!(times <= MOST_TIMES, "{kind} to {path}: {more} bytes more");
        }
    }
}

#[tokio::test]
async fn a_long_prompt_holds_a_small_multiple_of_itself() {
    let texts = [
        ("dots", ".".repeat(1_000_000)),
        ("prose", words(250_000)),
        ("ideographs", "漢字".repeat(166_666)),
        ("one word", "x".repeat(1_000_000)),
        ("marks", "e\u{301}".repeat(333_333)),
        ("pictures", "😀".repeat(250_000)),
    ];
    for family in ["llama", "llama3", "gemma3"] {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/decoders");
        let home = tempfile::tempdir().expect("a temporary directory");
        let plan = worker::plan(home, fixtures.join(family).as_os_str());
        let worker = plan.args(["--name", "tiny"]).ready().await;
        for (kind, text) in &texts {
            let message = json!({ "role": "user", "content": text });
            let chat = json!({ "messages": [message], "max_tokens": 1 });
            let complete = json!({ "prompt": text, "max_tokens": 1 });
            for (path, body) in [
                ("/v1/chat/completions", chat),
                ("/v1/completions", complete),
            ] {
                worker.forget_peak();
                let before = worker.memory("VmHWM");
                let answer = worker.post_to(path, &body).await;
                let more = worker.memory("VmHWM").saturating_sub(before);
                let says = answer.refusal(400, json!("context_length_exceeded"));
                assert!(says.contains("at least"), "{says}");
                let times = more / text.len() as u64;
                assert!(
                    times <= MOST_TIMES,
                    "{kind} to {path} of {family}: {more} bytes more"
                );
            }
        }
    }
}

#[tokio::test]
async fn what_a_client_that_left_has_sent_is_not_read_on() {
    let worker = worker::with_model(TINY)
        .config("slots = 1\n[limits]\nmax_texts = 1000000")
        .ready()
        .await;
    let text = words(60);
    let body = json!({ "inputs": vec![text; 80_000] });
    let asked = tokio::spawn(worker::send(worker.request_to("/embed", &body)));
    worker.until_metric("tidegate_slots_busy", 1.0).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    asked.abort();
    let left = Instant::now();
    worker.until_metric("tidegate_slots_busy", 0.0).await;
    assert!(
        left.elapsed() < Duration::from_secs(5),
        "{:?}",
        left.elapsed()
    );
}

/// Sends a request, and reads no more of its answer than the first bytes.
async fn ask_and_stop(worker: &Worker, path: &str, body: &Value) -> TcpStream {
    let address = worker.url.trim_start_matches("http://");
    let mut connection = TcpStream::connect(address).await.expect("it connects");
    let body = body.to_string();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: w\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    );
    let sent = connection.write_all((head + &body).as_bytes()).await;
    sent.expect("it is sent");
    let mut status = [0; 15];
    let read = connection.read_exact(&mut status).await;
    read.expect("an answer begins");
    assert_eq!(&status, b"HTTP/1.1 200 OK");
    connection
}

#[tokio::test]
async fn answers_that_nobody_takes_hold_their_slots_and_little_else() {
    let worker = worker::with_model(TINY).ready().await;
    let body = json!({ "inputs": vec![words(14); 2048] });
    worker.post_to("/embed_all", &body).await;
    let before = worker.memory("VmRSS");
    let mut unread = Vec::new();
    for _ in 0..8 {
        unread.push(ask_and_stop(&worker, "/embed_all", &body).await);
    }
    worker.until_metric("tidegate_slots_busy", 8.0).await;
    // 2,048 texts of 16 tokens, each a row of 4-byte numbers; their JSON has about 12 a number.
    let numbers = (2048 * 16 * TINY.hidden * 4) as u64;
    let more = worker.memory("VmRSS").saturating_sub(before);
    assert!(more < 8 * numbers * 2, "{more} bytes for {numbers} each");
    let begun = Instant::now();
    assert_eq!(worker.get("/healthz").await.status, 200);
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    drop(unread);
    worker.until_metric("tidegate_slots_busy", 0.0).await;
}

#[tokio::test]
async fn who_takes_nothing_for_long_is_left() {
    let worker = worker::with_model(TINY)
        .config("[limits]\nwrite_timeout = '500ms'")
        .ready()
        .await;
    let body = json!({ "inputs": vec![words(14); 2048] });
    let _unread = ask_and_stop(&worker, "/embed_all", &body).await;
    worker.until_metric("tidegate_slots_busy", 0.0).await;
}

#[tokio::test]
async fn bodies_and_results_beyond_what_is_shared_out_are_refused() {
    let worker = worker::with_model(TINY)
        .config(
            "[limits]\nmax_body_bytes = 20000\nall_bodies_bytes = 20000\nall_results_bytes = 40000",
        )
        .ready()
        .await;
    let large = worker.post(&json!({ "input": "a ".repeat(15_000) })).await;
    large.refusal(413, json!("body_too_large"));
    let many = vec!["a"; 40_000 / 4 / TINY.hidden + 1];
    let many = worker.post(&json!({ "input": many })).await;
    let message = many.refusal(400, Value::Null);
    assert!(message.contains("numbers"), "{message}");
    eventually("the memory is free again", async || {
        let small = worker.post(&json!({ "input": ["a", "b"] })).await;
        (small.status == 200).then_some(())
    })
    .await;
}
