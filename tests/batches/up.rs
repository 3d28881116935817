//! `tidegate-scaler up` with the batch service beside its proxy.

use tidegate_tests::{Up, eventually};

use crate::service::{OpenAi, free_address, id, ids, input};

const POLICY: &str = r#"
[fleet]
kind = "process"
min = 1
max = 1
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

#[tokio::test]
async fn up_serves_batches_at_its_own_address_and_keeps_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("batch.toml");
    std::fs::write(&config, "").expect("room");
    let store = directory.path().join("batches");
    let policy = format!(
        "{POLICY}\n[up.batch]\nlisten = '{}'\nconfig = '{}'\nstore = '{}'\n",
        free_address(),
        config.display(),
        store.display()
    );
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
