//! Keys take turns: a small batch of one does not wait for the large ones of another.

use std::path::PathBuf;

use serde_json::Value;
use tidegate_tests::{Harness, HarnessConfig};

use crate::service::{Batches, OpenAi, id, ids, input};
use crate::shared::Aws;

const ENDPOINT: Option<&str> = Some("/v1/embeddings");

/// Of the key with much to do; more than run at once.
const BATCHES: usize = 6;
const LINES: u32 = 5000;

/// A key with one small batch.
const OTHER: [(&str, &str); 1] = [("OWN_KEY", "tg-other")];

fn input_in(harness: &Harness, name: &str, lines: u32, service_ms: u64) -> PathBuf {
    let directory = harness.dir.path().join(name);
    std::fs::create_dir_all(&directory).expect("room");
    input(&directory, lines, service_ms)
}

/// The other key's ten lines are answered while not one of the many batches has ended: four slots would
/// need more than ten minutes for those.
async fn a_small_batch_does_not_wait(harness: &Harness, service: &Batches) {
    let many = input_in(harness, "many", LINES, 100);
    let mut clients: Vec<_> = (0..BATCHES)
        .map(|_| OpenAi::start(&service.url(), "run", &many, ENDPOINT))
        .collect();
    clients.iter_mut().for_each(OpenAi::begun);
    let few = input_in(harness, "few", 10, 100);
    let mut client = OpenAi::start_with(&OTHER, &service.url(), "run", &few, ENDPOINT);
    client.begun();
    let result = client.result().await;
    assert_eq!(result["status"], "completed", "{result}");
    assert_eq!(ids(&result["output"]), (0..10).map(id).collect::<Vec<_>>());
    let url = format!("{}/batches", service.url());
    let listed = reqwest::Client::new()
        .get(url)
        .bearer_auth("tg-shop")
        .send();
    let listed = listed.await.expect("it answers");
    let listed: Value = listed.json().await.expect("JSON");
    let batches = listed["data"].as_array().expect("batches");
    assert_eq!(batches.len(), BATCHES);
    for batch in batches {
        let counts = &batch["request_counts"];
        let done = counts["completed"].as_u64().expect("a number");
        assert!(done < u64::from(LINES) / 2, "{batch}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_take_turns_on_one_machine() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("one", &["--slots", "4"]).await;
    let service = Batches::start(&harness, "").await;
    a_small_batch_does_not_wait(&harness, &service).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_take_turns_in_a_queue_that_machines_share() {
    let aws = Aws::start();
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("one", &["--slots", "4"]).await;
    let service = aws.runner("one", &harness, "").await;
    a_small_batch_does_not_wait(&harness, &service).await;
}
