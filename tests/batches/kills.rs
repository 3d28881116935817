//! Processes that are killed while a batch is at work.

use std::time::Duration;

use tidegate_tests::{Harness, HarnessConfig, eventually, within};

use crate::service::{Batches, OpenAi, id, ids, input};

/// For some thousands of lines on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until so many lines are answered.
async fn answered(batches: &Batches, total: u32, most_left: u32) {
    within(PATIENCE, "the batch goes on", async || {
        let left = batches.metric("tidegate_batch_lines_waiting").await;
        (left <= f64::from(most_left) && left <= f64::from(total)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn every_line_is_answered_once_though_each_process_is_killed_twice() {
    const LINES: u32 = 10_000;
    let mut harness = Harness::start(HarnessConfig::default()).await;
    let slots = ["--slots", "32"];
    let mut worker = harness.timed_worker("one", &slots).await;
    let mut batches = Batches::start(&harness, "").await;
    let file = input(harness.dir.path(), LINES, 5);
    let mut client = OpenAi::start(&batches.url(), "run", &file, Some("/v1/embeddings"));
    client.begun();
    for round in 1..=2 {
        answered(&batches, LINES, LINES - round * 2500).await;
        batches.process.kill();
        batches.restart().await;
        harness.proxy.kill();
        tokio::time::sleep(Duration::from_millis(100)).await;
        harness.restart_proxy().await;
        worker.kill();
        worker = harness
            .timed_worker(&format!("after-{round}"), &slots)
            .await;
    }
    let result = client.result().await;
    assert_eq!(result["status"], "completed");
    let expected: Vec<_> = (0..LINES).map(id).collect();
    let (output, errors) = (ids(&result["output"]), ids(&result["errors"]));
    assert!(
        errors.is_empty(),
        "{} error lines: {}",
        errors.len(),
        result["errors"][0]
    );
    assert_eq!(
        output, expected,
        "each line once, in the order of the input"
    );
    drop(worker);
}

#[tokio::test]
async fn a_stopped_service_goes_on_where_it_was() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("one", &["--slots", "4"]).await;
    let mut batches = Batches::start(&harness, "").await;
    let file = input(harness.dir.path(), 400, 5);
    let mut client = OpenAi::start(&batches.url(), "run", &file, Some("/v1/embeddings"));
    client.begun();
    answered(&batches, 400, 300).await;
    batches.process.terminate();
    let (status, _) = batches.process.end(Duration::from_secs(10)).await;
    assert!(status.success());
    batches.restart().await;
    let result = client.result().await;
    assert_eq!(result["status"], "completed");
    assert_eq!(ids(&result["output"]), (0..400).map(id).collect::<Vec<_>>());
    let order = |line: &serde_json::Value| line["response"]["body"]["order"].as_u64();
    let asked = result["output"]
        .as_array()
        .expect("lines")
        .iter()
        .filter_map(order)
        .max();
    assert_eq!(asked, Some(400), "no line was asked twice");
}

/// Nobody to ask is no fault of the lines.
#[tokio::test]
async fn a_batch_waits_for_the_first_worker() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let batches = Batches::start(&harness, "").await;
    let file = input(harness.dir.path(), 20, 1);
    let mut client = OpenAi::start(&batches.url(), "run", &file, Some("/v1/embeddings"));
    client.begun();
    eventually("the batch is held", async || {
        (batches.metric("tidegate_batch_held").await > 0.0).then_some(())
    })
    .await;
    let _worker = harness.timed_worker("one", &[]).await;
    let result = client.result().await;
    assert_eq!(result["counts"]["completed"], 20, "{result}");
}
