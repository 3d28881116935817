//! Stores that cannot be used, and disks without room.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_tests::{Harness, HarnessConfig, Process, eventually};

use crate::service::{self, Batches, OpenAi, id, ids, input};

const ENDPOINT: Option<&str> = Some("/v1/embeddings");

/// What the service says when it does not start, and its exit code.
async fn refusal(batches: &Batches, harness: &Harness) -> (Option<i32>, String) {
    let mut command = service::command(harness.dir.path(), batches.listen, harness.listen, "");
    let log = harness.dir.path().join("refused.log");
    let mut process = Process::start("batch", &mut command, log);
    let (status, _) = process.end(Duration::from_secs(10)).await;
    (status.code(), process.output())
}

#[tokio::test]
async fn a_store_that_cannot_be_used_is_left_alone_and_named() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let mut batches = Batches::start(&harness, "").await;
    let (code, said) = refusal(&batches, &harness).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("is in use by another process"), "{said}");
    batches.process.terminate();
    batches.process.end(Duration::from_secs(10)).await;

    let database = batches.store().join("batch.db");
    let whole = std::fs::read(&database).expect("a database");
    let mut newer = whole.clone();
    // The user version, by SQLite's file format.
    newer[60..64].copy_from_slice(&7u32.to_be_bytes());
    let mut damaged = whole.clone();
    damaged[4096..].iter_mut().for_each(|byte| *byte ^= 0x55);
    for (bytes, code, words) in [
        (
            newer,
            78,
            "was written by a newer version of tidegate-batch (version 7",
        ),
        (damaged, 1, "is damaged: "),
        (
            b"not a database, and not empty".repeat(99),
            1,
            "is damaged: ",
        ),
    ] {
        std::fs::write(&database, &bytes).expect("room");
        let (found, said) = refusal(&batches, &harness).await;
        assert!(said.contains(words), "{said}");
        assert_eq!(found, Some(code), "{said}");
        let after = std::fs::read(&database).expect("a database");
        assert!(after == bytes, "the database was changed");
    }
    std::fs::write(&database, &whole).expect("room");
    batches.restart().await;
}

/// Lines whose answers are more than the small disk has room for.
const LINES: u32 = 4000;

#[tokio::test]
async fn a_full_disk_holds_the_batch_until_there_is_room() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("one", &["--slots", "8"]).await;
    let mut batches = Batches::start(&harness, "").await;
    batches.move_to_small_disk("7m", 5_000_000).await;
    let file = input(harness.dir.path(), LINES, 0);
    let mut client = OpenAi::start(&batches.url(), "run", &file, ENDPOINT);
    client.begun();
    eventually("the disk is full", async || {
        (batches.metric("tidegate_batch_disk_full").await > 0.0).then_some(())
    })
    .await;
    assert!(
        batches
            .process
            .output()
            .contains("the disk is full; answers wait until there is room")
    );
    let filler = batches.store_inside().join("filler");
    std::fs::remove_file(filler).expect("the filler can be removed");
    let result = client.result().await;
    assert_eq!(result["status"], "completed", "{result}");
    assert_eq!(
        ids(&result["output"]),
        (0..LINES).map(id).collect::<Vec<_>>()
    );
}

/// What its owner can do about it: SQLite needs room to remove what takes the room.
#[tokio::test]
async fn on_a_full_disk_files_can_be_removed() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let mut batches = Batches::start(&harness, "").await;
    batches.move_to_small_disk("8m", 0).await;
    let http = reqwest::Client::new();
    let upload = async |bytes: usize| {
        let line = json!({"custom_id": "a", "method": "POST", "url": "/v1/embeddings",
            "body": {"model": "timed", "input": "x".repeat(bytes)}});
        let form = format!(
            "--b\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b\r\n\
             content-disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n{line}\n\r\n--b--\r\n"
        );
        let sent = http.post(format!("{}/files", batches.url())).body(form);
        let kind = "multipart/form-data; boundary=b";
        let answer = sent
            .header("content-type", kind)
            .send()
            .await
            .expect("it answers");
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.expect("JSON"))
    };
    let (status, kept) = upload(2_000_000).await;
    assert_eq!(status, 200, "{kept}");
    let (status, refused) = upload(9_000_000).await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (507, &json!("insufficient_storage"))
    );
    let inside = batches.store_inside();
    let mut filler = std::fs::File::create(inside.join("filler")).expect("room");
    while filler.write_all(&[0; 4096]).is_ok() {}
    let (status, refused) = upload(10).await;
    assert_eq!(status, 507, "{refused}");
    let id = kept["id"].as_str().expect("an id");
    let removed = http
        .delete(format!("{}/files/{id}", batches.url()))
        .send()
        .await;
    assert_eq!(removed.expect("it answers").status(), 200);
    let (status, kept) = upload(10).await;
    assert_eq!(status, 200, "{kept}");
    assert!(inside.join("reserve").exists(), "for the next time");
}

/// Cut off at the end of a line it is a valid file, and another one.
#[tokio::test]
async fn an_input_that_was_cut_off_fails_its_batch_and_says_so() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let batches = Batches::start(&harness, "").await;
    let file = input(harness.dir.path(), 4000, 0);
    let mut client = OpenAi::start(&batches.url(), "run", &file, ENDPOINT);
    client.begun();
    let files = std::fs::read_dir(batches.store().join("files")).expect("a directory");
    let kept = files.last().expect("a file").expect("a file").path();
    let whole = std::fs::read_to_string(&kept).expect("text");
    let end = whole[..whole.len() / 2].rfind('\n').expect("lines") + 1;
    let opened = std::fs::OpenOptions::new().write(true).open(&kept);
    let cut = opened.and_then(|file| file.set_len(end as u64));
    cut.expect("it can be cut");
    let _worker = harness.timed_worker("one", &[]).await;
    let result = client.result().await;
    assert_eq!(result["status"], "failed", "{result}");
    let said = result["faults"][0].as_str().expect("words");
    // What it had read ahead may end in the middle of a line.
    let expected = ["lines, expected 4000: it was changed", "is invalid now"];
    assert!(expected.iter().any(|words| said.contains(words)), "{said}");
}
