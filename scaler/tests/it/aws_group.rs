//! An Auto Scaling Group sized by the real binary: the scaler calls moto, boto3 looks into it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::conformance::create_group;
use crate::daemon::{Daemon, free_port};
use crate::stage::{FakeProxy, eventually, eventually_async, token_file};
use tidegate_tests::{ENVIRONMENT, Moto, REGION};

/// The policy of a scaler that serves its own page on `port`.
pub fn policy_on(port: u16, directory: &TempDir, proxy: &FakeProxy, moto: &Moto) -> PathBuf {
    let path = directory.path();
    let token = token_file(path, "operator.token");
    let text = format!(
        r#"
[fleet]
kind = "asg"
min = 1
max = 5
lead_time = "30s"
drain_limit = "20s"

[asg]
group = "workers"
region = "{REGION}"
endpoint_url = "{}"
timeout = "5s"
describe_every = "2s"

[slo]
latency = "2s"

[[signal]]
name = "requests"
metric = "concurrency"
statistic = "max"
window = "2s"
target_per_worker = 4

[scale_in]
stabilization = "3s"

[proxies]
admin = ["{}"]
token_file = "{}"

[scaler]
listen = "127.0.0.1:{}"
ledger = "{}/ledger.jsonl"
"#,
        moto.url,
        proxy.url,
        token.display(),
        port,
        path.display()
    );
    let file = path.join("policy.toml");
    fs::write(&file, text).expect("the policy is written");
    file
}

/// What boto3 reads of the group: its desired capacity, and its instances.
pub fn group(moto: &Moto) -> (u64, Vec<String>) {
    let names = json!({ "AutoScalingGroupNames": ["workers"] });
    let answer = moto.call("autoscaling", "describe_auto_scaling_groups", &names);
    let group = &answer["AutoScalingGroups"][0];
    let instances = group["Instances"].as_array().into_iter().flatten();
    let id = |instance: &Value| instance["InstanceId"].as_str().map(str::to_owned);
    let desired = group["DesiredCapacity"].as_u64();
    (
        desired.unwrap_or(u64::MAX),
        instances.filter_map(id).collect(),
    )
}

/// A worker of this name heartbeats from that instance.
fn beats_from(proxy: &FakeProxy, worker: &str, instance: &str) {
    proxy.ready(worker, 0);
    let mut state = proxy.state();
    let mut workers = state.signal.workers.iter_mut();
    if let Some(found) = workers.find(|found| found.worker == worker) {
        found.instance = Some(instance.to_owned());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_sees_the_group_grow_under_load_and_lose_the_worker_that_drained() {
    let moto = Arc::new(Moto::start());
    let directory = tempfile::tempdir().expect("a temporary directory");
    let proxy = FakeProxy::start().await;
    create_group(&moto, "workers", 3);
    let file = policy_on(free_port(), &directory, &proxy, &moto);
    let arguments = ["run", "--policy", file.to_str().unwrap_or_default()];
    let daemon = Daemon::start_in(&ENVIRONMENT, &arguments, directory.path());

    daemon.wait_for(
        "the fleet is limited to 1 to 3 workers: the Auto Scaling Group workers allows 0 to 3",
    );
    daemon.wait_for("0 -> 1 worker");
    let first = eventually("the first instance", || match group(&moto) {
        (1, instances) => instances.first().cloned(),
        _ => None,
    });
    beats_from(&proxy, "host-a", &first);
    daemon.wait_for(&format!("{first} is ready"));

    proxy.load(8, 4);
    daemon.wait_for("1 -> 3 workers");
    let all = eventually("three instances", || {
        let (desired, instances) = group(&moto);
        (desired == 3 && instances.len() == 3).then_some(instances)
    });
    for (name, instance) in ["host-a", "host-b", "host-c"].iter().zip(&all) {
        beats_from(&proxy, name, instance);
    }
    daemon.wait_for(&format!("{} is ready", all[2]));

    proxy.permits("host-b", 1);
    proxy.load(0, 5);
    daemon.wait_for("3 -> 2 workers");
    let orders = eventually_async("the order", async || {
        let orders = proxy.state().orders.clone();
        (!orders.is_empty()).then_some(orders)
    })
    .await;
    let (_, drained) = orders[0].split_once(' ').expect("an order and a name");
    let victim = ["host-a", "host-b", "host-c"]
        .iter()
        .position(|name| *name == drained);
    let victim = &all[victim.expect("the worker's own name")];
    assert_ne!(drained, "host-b", "it is busy");
    eventually("the group without it", || {
        let (desired, instances) = group(&moto);
        (desired == 2 && instances.len() == 2 && !instances.contains(victim)).then_some(())
    });
}
