//! Values from CloudWatch and SQS as signals: the real binary asks moto.

use std::fs;

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

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

/// One value for each of these queues.
pub fn put(moto: &Moto, metric: &str, values: &[(&str, f64)], minutes_ago: u64) {
    let at = ago(minutes_ago);
    let data = values.iter().map(|(queue, value)| {
        json!({
            "MetricName": metric, "Value": value, "Timestamp": at,
            "Dimensions": [{ "Name": "Queue", "Value": queue }],
        })
    });
    let data = json!({ "Namespace": "Shop", "MetricData": data.collect::<Vec<_>>() });
    moto.call("cloudwatch", "put_metric_data", &data);
}

/// The real binary with these sources and their signals.
async fn with_sources(more: &[String]) -> (Daemon, FakeProxy, TempDir, u16) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (proxy, port) = (FakeProxy::start().await, free_port());
    let file = policy(&directory, &proxy.url, port, WORKER);
    let whole = fs::read_to_string(&file).expect("the policy") + &more.concat();
    fs::write(&file, whole).expect("it is written");
    let arguments = ["run", "--policy", file.to_str().unwrap_or_default()];
    let daemon = Daemon::start_in(&ENVIRONMENT, &arguments, directory.path());
    (daemon, proxy, directory, port)
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
    put(&moto, "Orders", &[("jobs", 30.0)], 2);
    put(&moto, "Orders", &[("jobs", 12.0)], 1);
    put(&moto, "Stale", &[("jobs", 99.0)], 30);

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
    let (mut daemon, _proxy, _directory, port) = with_sources(&more).await;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_in_flight_and_an_expression_over_many_metrics_are_signals() {
    let moto = Moto::start();
    moto.call("sqs", "create_queue", &json!({ "QueueName": "jobs" }));
    let url = moto.call("sqs", "get_queue_url", &json!({ "QueueName": "jobs" }));
    let url = &url["QueueUrl"];
    for text in ["a", "b", "c"] {
        let message = json!({ "QueueUrl": url, "MessageBody": text });
        moto.call("sqs", "send_message", &message);
    }
    let two = json!({ "QueueUrl": url, "MaxNumberOfMessages": 2, "VisibilityTimeout": 600 });
    let taken = moto.call("sqs", "receive_message", &two);
    assert_eq!(taken["Messages"].as_array().map(Vec::len), Some(2));
    put(&moto, "Orders", &[("jobs", 3.0), ("mail", 4.0)], 1);

    let in_flight = "sqs = { queue = 'jobs', value = 'in_flight', PLACE }";
    let expression =
        |text: &str| format!("cloudwatch = {{ expression = '{text}', period = '60s', PLACE }}");
    let (mut daemon, _proxy, _directory, port) = with_sources(&[
        source(&moto, "busy", in_flight, "'hold'"),
        source(
            &moto,
            "waiting",
            "sqs = { queue = 'jobs', PLACE }",
            "'hold'",
        ),
        source(
            &moto,
            "all",
            &expression("SELECT SUM(Orders) FROM Shop"),
            "'hold'",
        ),
        source(&moto, "none", &expression("nothing"), "7"),
    ])
    .await;
    for line in [
        "signal_value{signal=\"busy\"} 2",
        "signal_value{signal=\"waiting\"} 1",
        "signal_value{signal=\"all\"} 7",
        "source_up{source=\"all-source\"} 1",
        "source_up{source=\"none-source\"} 0",
        "asked_workers{signal=\"none\"} 7",
    ] {
        metrics_with(port, &format!("tidegate_scaler_{line}")).await;
    }
    // The two that were being worked at are done.
    for message in taken["Messages"].as_array().into_iter().flatten() {
        let done = json!({ "QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"] });
        moto.call("sqs", "delete_message", &done);
    }
    metrics_with(port, "tidegate_scaler_signal_value{signal=\"busy\"} 0").await;
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.code(), Some(0), "{}", daemon.said());
}
