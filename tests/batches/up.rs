//! `tidegate-scaler up` with the batch service beside its proxy.

use std::net::SocketAddr;
use std::path::Path;

use tidegate_tests::{Up, eventually};

use crate::service::{OpenAi, free_address, id, ids, input};

const POLICY: &str = r#"
[fleet]
kind = "process"
min = 1
max = MOST
lead_time = "60s"
drain_limit = "60s"
[slo]
latency = "2s"
[[signal]]
name = "requests"
metric = "concurrency"
statistic = "mean"
window = "5s"
target_per_worker = 24
"#;

/// As docs/batch.md has it, looked at more often.
const BACKLOG: &str = r#"
[[source]]
name = "batches"
url = "http://ADDRESS/metrics"
metric = "tidegate_batch_lines_waiting"
every = "1s"
timeout = "2s"
fresh_for = "10s"
[[signal]]
name = "backlog"
source = "batches"
statistic = "max"
window = "5s"
target_per_worker = 1000
on_missing = "ignore"
"#;

fn batch_table(listen: SocketAddr, config: &Path, store: &Path) -> String {
    format!(
        "\n[up.batch]\nlisten = '{listen}'\nconfig = '{}'\nstore = '{}'\n",
        config.display(),
        store.display()
    )
}

/// Two workers for more than a thousand lines, though one holds all requests that are under way.
#[tokio::test]
async fn lines_that_wait_are_a_signal() {
    const LINES: u32 = 4000;
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("batch.toml");
    std::fs::write(&config, "[proxy]\nconcurrency = 8\n").expect("room");
    let listen = free_address();
    let backlog = BACKLOG.replace("ADDRESS", &listen.to_string());
    let table = batch_table(listen, &config, &directory.path().join("batches"));
    let policy = POLICY.replace("MOST", "2") + &backlog + &table;
    let up = Up::start(&policy).await;
    up.fleet_is(1).await;
    let file = input(directory.path(), LINES, 20);
    let url = format!("http://{}/v1", up.listen);
    let mut client = OpenAi::start(&url, "run", &file, Some("/v1/embeddings"));
    client.begun();
    up.fleet_is(2).await;
    let ledger = up.ledger();
    assert!(ledger.contains("backlog"), "{ledger}");
    let result = client.result().await;
    assert_eq!(result["counts"]["completed"], LINES);
}

#[tokio::test]
async fn up_serves_batches_at_its_own_address_and_keeps_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("batch.toml");
    std::fs::write(&config, "").expect("room");
    let store = directory.path().join("batches");
    let policy = POLICY.replace("MOST", "1");
    let policy = policy + &batch_table(free_address(), &config, &store);
    let mut up = Up::start(&policy).await;
    let file = input(directory.path(), 200, 1);
    let url = format!("http://{}/v1", up.listen);
    let mut client = OpenAi::start(&url, "run", &file, Some("/v1/embeddings"));
    client.begun();
    let result = client.result().await;
    assert_eq!(ids(&result["output"]), (0..200).map(id).collect::<Vec<_>>());
    up.scaler.terminate();
    let ended = eventually("all of it ends", async || up.scaler.ended()).await;
    assert!(ended.success(), "{}", up.scaler.output());
    assert!(store.join("batch.db").exists());
}
