//! Stores that cannot be used, and disks without room.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Command;
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

/// A service whose store has a disk of its own, with so many bytes of it taken: in a mount namespace, which needs
/// no root.
async fn on_small_disk(harness: &Harness, size: &str, taken: u32) -> Batches {
    let mut batches = Batches::start(harness, "").await;
    batches.process.terminate();
    batches.process.end(Duration::from_secs(10)).await;
    let store = batches.store();
    let serve = service::command(harness.dir.path(), batches.listen, harness.listen, "");
    let mut command = Command::new("unshare");
    let script = format!(
        "mount -t tmpfs -o size={size} tmpfs \"$0\" && head -c {taken} /dev/zero > \"$0\"/filler && exec \"$@\""
    );
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
    command
        .arg(&store)
        .arg(serve.get_program())
        .args(serve.get_args());
    command.process_group(0);
    let log = harness.dir.path().join("full.log");
    batches.process = Process::start("batch", &mut command, log);
    let url = format!("http://{}/readyz", batches.listen);
    eventually("it serves", async || {
        reqwest::get(&url)
            .await
            .ok()
            .filter(|answer| answer.status().is_success())
    })
    .await;
    batches
}

/// Lines whose answers are more than the small disk has room for.
const LINES: u32 = 4000;

#[tokio::test]
async fn a_full_disk_holds_the_batch_until_there_is_room() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("one", &["--slots", "8"]).await;
    let batches = on_small_disk(&harness, "7m", 5_000_000).await;
    let store = batches.store();
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
    let inside = format!("/proc/{}/root", batches.process.id());
    let filler = format!("{inside}{}/filler", store.display());
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
    let batches = on_small_disk(&harness, "8m", 0).await;
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
    let inside = format!(
        "/proc/{}/root{}",
        batches.process.id(),
        batches.store().display()
    );
    let mut filler = std::fs::File::create(format!("{inside}/filler")).expect("room");
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
    assert!(
        std::path::Path::new(&inside).join("reserve").exists(),
        "for the next time"
    );
}
