//! A shared store in trouble: lost messages, damaged objects, a full disk of one machine, a slow S3.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tidegate_tests::{Harness, HarnessConfig, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::service::{OpenAi, id, ids, input};
use crate::shared::{Aws, PATIENCE};

const ENDPOINT: Option<&str> = Some("/v1/embeddings");

/// One part after the other.
const ONE: &str = "[batches]\nat_once = 1\n";

/// Something is in the queue all the time, so that nobody may conclude that all is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_message_is_sent_again_although_the_queue_is_never_empty() {
    let aws = Aws::start();
    let harness = Harness::start(HarnessConfig::default()).await;
    let url = &aws.moto.url;
    let mut runner = aws.runner_at(url, "5s", "one", &harness, "").await;
    let file = input(harness.dir.path(), 300, 1);
    let mut client = OpenAi::start(&runner.url(), "run", &file, ENDPOINT);
    client.begun();
    runner.process.kill();
    let queue = json!({"QueueUrl": aws.queue});
    aws.moto.call("sqs", "purge_queue", &queue);
    let foreign =
        json!({"QueueUrl": aws.queue, "MessageBody": "not one of ours", "DelaySeconds": 900});
    aws.moto.call("sqs", "send_message", &foreign);
    let _worker = harness.timed_worker("one", &[]).await;
    runner.restart().await;
    let result = client.result().await;
    assert_eq!(result["status"], "completed");
    assert_eq!(ids(&result["output"]), (0..300).map(id).collect::<Vec<_>>());
    let said = runner.process.output();
    assert!(
        said.contains("it is sent again work=part 0 of batch_"),
        "{said}"
    );
}

/// What somebody has cut off is not taken for a whole part.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_whose_answers_are_damaged_are_sent_again() {
    const LINES: u32 = 1000;
    let aws = Aws::start();
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("one", &[]).await;
    let runner = aws.runner("one", &harness, ONE).await;
    let file = input(harness.dir.path(), LINES, 80);
    let mut client = OpenAi::start(&runner.url(), "run", &file, ENDPOINT);
    client.begun();
    let first = within(PATIENCE, "a part is answered", async || {
        let mut keys = aws.keys("work/");
        keys.retain(|key| key.ends_with("/parts/00000"));
        keys.pop()
    });
    let head = r#"{"version":1,"ending":"completed","answers":250}"#;
    aws.put(
        &first.await,
        &format!("{head}\no {{\"custom_id\":\"line-0\"}}\n"),
    );
    let result = client.result().await;
    assert_eq!(result["status"], "completed", "{result}");
    assert_eq!(
        ids(&result["output"]),
        (0..LINES).map(id).collect::<Vec<_>>()
    );
    let said = runner.process.output();
    assert!(
        said.contains("its answers are damaged; its lines are sent again"),
        "{said}"
    );
    assert!(said.contains("found 1 answers, expected 250"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_that_has_changed_fails_its_batch_and_says_so() {
    let aws = Aws::start();
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("one", &[]).await;
    let runner = aws.runner("one", &harness, ONE).await;
    let file = input(harness.dir.path(), 1000, 20);
    let mut client = OpenAi::start(&runner.url(), "run", &file, ENDPOINT);
    client.begun();
    aws.put(&aws.keys("contents/").remove(0), "cut off");
    let result = client.result().await;
    assert_eq!(result["status"], "failed", "{result}");
    let said = result["faults"][0].as_str().expect("words");
    assert!(
        said.contains("is not what it was when it was checked"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_with_a_full_disk_leaves_the_work_to_others() {
    const LINES: u32 = 2000;
    let aws = Aws::start();
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("one", &["--slots", "8"]).await;
    let mut full = aws.runner("full", &harness, "").await;
    full.move_to_small_disk("24m", 0).await;
    let mut filler = std::fs::File::create(full.store_inside().join("filler")).expect("room");
    while filler.write_all(&[0; 4096]).is_ok() {}
    let other = aws.runner("other", &harness, "").await;
    let file = input(harness.dir.path(), LINES, 20);
    let mut client = OpenAi::start(&other.url(), "run", &file, ENDPOINT);
    client.begun();
    let noticed = within(PATIENCE, "the disk is full", async || {
        (full.metric("tidegate_batch_disk_full").await > 0.0).then_some(())
    });
    noticed.await;
    let result = client.result().await;
    assert_eq!(result["status"], "completed", "{result}");
    assert_eq!(
        ids(&result["output"]),
        (0..LINES).map(id).collect::<Vec<_>>()
    );
    let said = full.process.output();
    let words = "the disk is full; nothing is taken from the queue until there is room";
    assert_eq!(said.matches(words).count(), 1, "{said}");
    assert!(!said.contains("is tried again"), "{said}");
    filler.set_len(0).expect("the filler can be emptied");
    let emptied = within(PATIENCE, "there is room", async || {
        (full.metric("tidegate_batch_disk_full").await == 0.0).then_some(())
    });
    emptied.await;
}

/// An S3 that takes so many bytes, waits, and takes more.
async fn slow_s3(moto: &str, bytes: usize, pause: Duration) -> SocketAddr {
    let moto = moto.strip_prefix("http://").expect("a URL").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let moto = moto.clone();
            tokio::spawn(async move {
                let server = TcpStream::connect(moto).await.expect("moto listens");
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let back =
                    tokio::spawn(
                        async move { tokio::io::copy(&mut from_server, &mut to_client).await },
                    );
                let mut piece = vec![0; bytes];
                while let Ok(read @ 1..) = from_client.read(&mut piece).await {
                    let _ = to_server.write_all(&piece[..read]).await;
                    if read > bytes / 2 {
                        tokio::time::sleep(pause).await;
                    }
                }
                drop(to_server);
                let _ = back.await;
            });
        }
    });
    address
}

/// Half a minute of silence ends a request to S3, and half a minute of sending does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_s3_takes_slowly_is_kept() {
    let aws = Aws::start();
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("one", &[]).await;
    let slow = slow_s3(&aws.moto.url, 64 << 10, Duration::from_millis(150)).await;
    let s3 = format!("http://{slow}");
    let runner = aws.runner_at(&s3, "10s", "one", &harness, "").await;
    // 18 MB: at least 41 s.
    let path = harness.dir.path().join("in.jsonl");
    let line = |n: u32| {
        let body = json!({"model": "timed", "input": "x".repeat(900_000)});
        json!({"custom_id": id(n), "method": "POST", "url": "/v1/embeddings", "body": body})
    };
    let text: String = (0..20).map(|n| format!("{}\n", line(n))).collect();
    std::fs::write(&path, text).expect("room");
    let begun = std::time::Instant::now();
    let mut client = OpenAi::start(&runner.url(), "run", &path, ENDPOINT);
    let waits = tokio::task::spawn_blocking(move || {
        client.begun();
        client
    });
    let client = waits.await.expect("the batch begins");
    assert!(begun.elapsed() > Duration::from_secs(31), "it was not slow");
    let result = client.result().await;
    assert_eq!(result["status"], "completed");
    assert_eq!(ids(&result["output"]), (0..20).map(id).collect::<Vec<_>>());
}
