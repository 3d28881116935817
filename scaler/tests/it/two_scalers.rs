//! Two scalers of one fleet as processes, with their lease in moto's DynamoDB or in a file.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tidegate_tests::{ENVIRONMENT, Moto, REGION};

use crate::daemon::{Daemon, WORKER, free_port, metrics_with, policy};
use crate::stage::{FakeProxy, eventually_async};

/// A place of its own for each scaler, with the same policy but for ports and paths.
struct Place {
    directory: TempDir,
    port: u16,
    file: PathBuf,
    /// What it publishes.
    metrics: PathBuf,
}

impl Place {
    fn new(proxy: &str, lease: &str) -> Place {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let file = policy(&directory, proxy, port, WORKER);
        let metrics = directory.path().join("metrics");
        let table = format!(
            "[cloudwatch]\ninterval = '1s'\nemf = '{}'\n",
            metrics.display()
        );
        let whole = fs::read_to_string(&file).expect("the policy") + lease + &table;
        fs::write(&file, whole).expect("it is written");
        Place {
            directory,
            port,
            file,
            metrics,
        }
    }

    /// Ticks of which it has told.
    fn published(&self) -> usize {
        let text = fs::read_to_string(&self.metrics).unwrap_or_default();
        text.matches("\"Heartbeat\":").count()
    }

    async fn publishes_for(&self, intervals: usize) {
        let before = self.published();
        eventually_async("what it publishes", async || {
            (self.published() >= before + intervals).then_some(())
        })
        .await;
    }

    fn start(&self) -> Daemon {
        let arguments = ["run", "--policy", self.file.to_str().unwrap_or_default()];
        Daemon::start_in(&ENVIRONMENT, &arguments, self.directory.path())
    }
}

/// One acts and publishes, one watches; the first is told to stop, and the other acts.
async fn one_after_the_other(lease: &str) {
    let proxy = FakeProxy::start().await;
    let (first, second) = (Place::new(&proxy.url, lease), Place::new(&proxy.url, lease));
    let mut one = first.start();
    one.wait_for("has the lease and acts");
    let two = second.start();
    two.wait_for("only watches");
    metrics_with(first.port, "tidegate_scaler_leader 1").await;
    metrics_with(second.port, "tidegate_scaler_leader 0").await;
    assert!(!two.said().contains("0 -> 1 worker"), "{}", two.said());
    first.publishes_for(3).await;
    assert_eq!(second.published(), 0);
    one.signal(Signal::TERM);
    two.wait_for("has the lease and acts");
    two.wait_for("0 -> 1 worker");
    metrics_with(second.port, "tidegate_scaler_leader 1").await;
    second.publishes_for(1).await;
    assert_eq!(one.code(), Some(0), "{}", one.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_in_dynamodb_is_one_scaler_s_and_passes_on_at_a_stop() {
    let moto = Moto::start();
    moto.call(
        "dynamodb",
        "create_table",
        &json!({
            "TableName": "tidegate", "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [{ "AttributeName": "lease", "KeyType": "HASH" }],
            "AttributeDefinitions": [{ "AttributeName": "lease", "AttributeType": "S" }],
        }),
    );
    let lease = format!(
        "[lease]\nkind = 'dynamodb'\ntable = 'tidegate'\nkey = 'embeddings'\n\
         region = '{REGION}'\nendpoint_url = '{}'\n",
        moto.url
    );
    one_after_the_other(&lease).await;
    let key = json!({ "TableName": "tidegate", "Key": { "lease": { "S": "embeddings" } } });
    let item = moto.call("dynamodb", "get_item", &key);
    assert_eq!(item["Item"]["epoch"]["N"], "2", "{item}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_in_a_file_is_one_scaler_s_and_passes_on_at_a_stop() {
    let shared = tempfile::tempdir().expect("a temporary directory");
    let path = shared.path().join("scaler.lock");
    let lease = format!("[lease]\nkind = 'file'\npath = '{}'\n", path.display());
    one_after_the_other(&lease).await;
}
