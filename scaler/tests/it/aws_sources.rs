//! Values from CloudWatch and SQS as signals: the real binary asks moto.

use std::fs;

use rustix::process::Signal;
use serde_json::json;

use tidegate_tests::{ENVIRONMENT, Moto, REGION};

use crate::daemon::{Daemon, WORKER, free_port, metrics_with, policy};
use crate::stage::FakeProxy;

/// `[[source]]` and its signal, for the end of a policy.
fn source(moto: &Moto, name: &str, way: &str, on_missing: &str) -> String {
    let place = format!("region = '{REGION}', endpoint_url = '{}'", moto.url);
    let way = way.replace("PLACE", &place);
    format!(
        "[[source]]\nname = '{name}-source'\n{way}\nevery = '1s'\ntimeout = '5s'\n\
         fresh_for = '3m'\n[[signal]]\nname = '{name}'\nsource = '{name}-source'\n\
         statistic = 'max'\nwindow = '1s'\ntarget_per_worker = 100\non_missing = {on_missing}\n"
    )
}

/// `minutes` ago, as boto3 takes it.
fn ago(minutes: u64) -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("after 1970").as_secs() - minutes * 60
}

fn put(moto: &Moto, metric: &str, value: f64, minutes_ago: u64) {
    moto.call(
        "cloudwatch",
        "put_metric_data",
        &json!({ "Namespace": "Shop", "MetricData": [{
            "MetricName": metric, "Value": value, "Timestamp": ago(minutes_ago),
            "Dimensions": [{ "Name": "Queue", "Value": "jobs" }],
        }]}),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_and_a_metric_are_signals_and_what_is_missing_or_old_is_not_known() {
    let moto = Moto::start();
    moto.call("sqs", "create_queue", &json!({ "QueueName": "jobs" }));
    let url = moto.call("sqs", "get_queue_url", &json!({ "QueueName": "jobs" }));
    for text in ["a", "b", "c"] {
        let message = json!({ "QueueUrl": url["QueueUrl"], "MessageBody": text });
        moto.call("sqs", "send_message", &message);
    }
    put(&moto, "Orders", 30.0, 2);
    put(&moto, "Orders", 12.0, 1);
    put(&moto, "Stale", 99.0, 30);

    let metric = |name: &str| {
        format!(
            "cloudwatch = {{ namespace = 'Shop', metric = '{name}', statistic = 'Sum', \
             dimensions = {{ Queue = 'jobs' }}, PLACE }}"
        )
    };
    let more = [
        source(&moto, "depth", "sqs = { queue = 'jobs', PLACE }", "'hold'"),
        source(
            &moto,
            "absent",
            "sqs = { queue = 'nowhere', PLACE }",
            "'hold'",
        ),
        source(
            &moto,
            "age",
            "sqs = { queue = 'jobs', value = 'age', PLACE }",
            "1",
        ),
        source(&moto, "orders", &metric("Orders"), "'hold'"),
        source(&moto, "stale", &metric("Stale"), "'ignore'"),
    ];
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (proxy, port) = (FakeProxy::start().await, free_port());
    let file = policy(&directory, &proxy.url, port, WORKER);
    let whole = fs::read_to_string(&file).expect("the policy") + &more.concat();
    fs::write(&file, whole).expect("it is written");
    let arguments = ["run", "--policy", file.to_str().unwrap_or_default()];
    let mut daemon = Daemon::start_in(&ENVIRONMENT, &arguments, directory.path());

    for (line, why) in [
        ("signal_value{signal=\"depth\"} 3", "three messages wait"),
        ("source_up{source=\"depth-source\"} 1", "it is known"),
        (
            "signal_value{signal=\"orders\"} 12",
            "the newest whole minute",
        ),
        (
            "source_up{source=\"absent-source\"} 0",
            "there is no such queue",
        ),
        ("asked_workers{signal=\"absent\"} NaN", "it holds"),
        ("source_up{source=\"stale-source\"} 0", "half an hour old"),
        (
            "source_up{source=\"age-source\"} 0",
            "no metric of the queue",
        ),
        ("asked_workers{signal=\"age\"} 1", "on_missing"),
    ] {
        let line = format!("tidegate_scaler_{line}");
        let page = metrics_with(port, &line).await;
        assert!(page.contains(&line), "{why}");
    }
    daemon.wait_for("absent-source (SQS: nowhere) gives no value: there is no such queue");
    daemon.wait_for(
        "stale-source (CloudWatch: Shop Stale) gives no value: it has no value for any whole \
         period of the last 180s",
    );
    // SQS itself reports the age of the oldest message.
    moto.call(
        "cloudwatch",
        "put_metric_data",
        &json!({ "Namespace": "AWS/SQS", "MetricData": [{
            "MetricName": "ApproximateAgeOfOldestMessage", "Value": 42, "Timestamp": ago(1),
            "Dimensions": [{ "Name": "QueueName", "Value": "jobs" }],
        }]}),
    );
    metrics_with(port, "tidegate_scaler_signal_value{signal=\"age\"} 42").await;
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.code(), Some(0), "{}", daemon.said());
}
