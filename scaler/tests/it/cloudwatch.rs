//! The scaler's numbers in CloudWatch: the real binary publishes to moto and boto3 reads them, or
//! to an endpoint that fails and hangs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use tidegate_tests::{ENVIRONMENT, Moto, REGION};

use crate::daemon::{Daemon, WORKER, free_port, metrics_with, policy};
use crate::stage::{FakeProxy, eventually_async};

/// A scaler with one proxy and one worker, and this text at the end of its policy.
async fn scaler(directory: &TempDir, proxy: &FakeProxy, more: &str) -> (Daemon, u16) {
    let port = free_port();
    let file = extended(directory, proxy, port, more);
    let arguments = ["run", "--policy", file.to_str().unwrap_or_default()];
    let daemon = Daemon::start_in(&ENVIRONMENT, &arguments, directory.path());
    daemon.wait_for("0 -> 1 worker");
    proxy.ready("w-1", 0);
    (daemon, port)
}

fn extended(directory: &TempDir, proxy: &FakeProxy, port: u16, more: &str) -> PathBuf {
    let file = policy(directory, &proxy.url, port, WORKER);
    let whole = fs::read_to_string(&file).expect("the policy") + more;
    fs::write(&file, whole).expect("it is written");
    file
}

/// All that moto has of one metric since the beginning, or nothing.
fn statistics(moto: &Moto, metric: &str, more: Value) -> Option<Value> {
    let mut dimensions = vec![json!({ "Name": "Fleet", "Value": "encoders" })];
    if !more.is_null() {
        dimensions.push(more);
    }
    let answer = moto.call(
        "cloudwatch",
        "get_metric_statistics",
        &json!({
            "Namespace": "Tide/Test", "MetricName": metric, "Dimensions": dimensions,
            "StartTime": "2020-01-01T00:00:00Z", "EndTime": "2100-01-01T00:00:00Z",
            // All of it is one period, so that there is one point.
            "Period": 3_000_000_000_u32,
            "Statistics": ["SampleCount", "Sum", "Minimum", "Maximum"],
        }),
    );
    answer["Datapoints"].as_array()?.first().cloned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_reads_in_cloudwatch_what_the_scaler_saw_and_decided() {
    let moto = Moto::start();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let proxy = FakeProxy::start().await;
    let table = format!(
        "[cloudwatch]\nnamespace = 'Tide/Test'\ndimensions = {{ Fleet = 'encoders' }}\n\
         interval = '1s'\nregion = '{REGION}'\nendpoint_url = '{}'\n\
         [cost]\nprice_per_hour = 0.25\n",
        moto.url
    );
    let (mut daemon, port) = scaler(&directory, &proxy, &table).await;
    daemon.wait_for("w-1 is ready");
    // More different latencies than one datum may hold: 200 buckets, each with its request.
    let histogram = || {
        let mut all = tidegate_protocol::Histogram::default();
        for bound in tidegate_protocol::bounds().iter().skip(20).take(200) {
            all.record(Duration::from_secs_f64(bound / 1000.0));
        }
        all
    };
    {
        let mut state = proxy.state();
        state.signal.models[0].latency = histogram();
        state.signal.models[0].answered_total = 200;
        state.signal.models[0].shed_total = 3;
        state.signal.models[0].arrivals_total = 203;
        state.signal.models[0].oldest_waiting_ms = Some(1500);
    }
    proxy.load(7, 2);
    metrics_with(port, "tidegate_scaler_published_total ").await;
    let latency = eventually_async("the latencies in CloudWatch", async || {
        statistics(&moto, "Latency", Value::Null)
    })
    .await;
    assert_eq!(latency["SampleCount"], 200.0, "each request is one sample");
    let largest = latency["Maximum"].as_f64().expect("a number");
    assert!((largest - tidegate_protocol::bound_ms(219)).abs() < 1e-6);

    // Nothing of the last second is lost when it ends.
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.code(), Some(0), "{}", daemon.said());
    let sum = |metric: &str, more: Value| {
        let found = statistics(&moto, metric, more).unwrap_or_default();
        (found["Sum"].as_f64(), found["Maximum"].as_f64())
    };
    let outcome = |value: &str| json!({ "Name": "Outcome", "Value": value });
    assert_eq!(sum("Requests", outcome("answered")).0, Some(200.0));
    assert_eq!(sum("Requests", outcome("shed")).0, Some(3.0));
    assert_eq!(sum("Arrivals", Value::Null).0, Some(203.0));
    assert_eq!(sum("QueueLength", Value::Null).1, Some(7.0));
    assert_eq!(sum("InFlight", Value::Null).1, Some(2.0));
    assert_eq!(sum("OldestWait", Value::Null).1, Some(1.5));
    assert_eq!(sum("DesiredWorkers", Value::Null).1, Some(1.0));
    assert_eq!(sum("CostPerHour", Value::Null).1, Some(0.25));
    assert_eq!(sum("ProxiesMissing", Value::Null).1, Some(0.0));
    let serving = json!({ "Name": "State", "Value": "serving" });
    assert_eq!(sum("Workers", serving).1, Some(1.0));
    let launch = json!({ "Name": "Change", "Value": "launch" });
    assert_eq!(sum("Decisions", launch).0, Some(1.0));
    let (heartbeats, _) = sum("Heartbeat", Value::Null);
    let ticks = fs::read_to_string(directory.path().join("ledger.jsonl")).expect("the ledger");
    let ticks = ticks
        .lines()
        .filter(|line| line.contains("decision"))
        .count();
    assert_eq!(heartbeats, Some(ticks as f64), "one heartbeat a tick");
}

/// CloudWatch as it is on a bad day.
struct BadDay {
    url: String,
    calls: Arc<AtomicUsize>,
    mood: Arc<AtomicUsize>,
}

/// Moods of it: it fails and hangs in turn, takes what comes, or refuses what comes.
const BAD: usize = 0;
const GOOD: usize = 1;
const STRICT: usize = 2;

async fn bad_day(mood: usize) -> BadDay {
    let (calls, mood) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(mood)),
    );
    let (count, current) = (calls.clone(), mood.clone());
    let put = async move |headers: HeaderMap| -> Response {
        assert!(headers.contains_key("authorization"), "it is signed");
        let call = count.fetch_add(1, Ordering::SeqCst);
        let kind = [("smithy-protocol", "rpc-v2-cbor")];
        match (current.load(Ordering::SeqCst), call % 2) {
            (GOOD, _) => (kind, [0xa0_u8]).into_response(),
            // {"__type": "InvalidParameterValue"}
            (STRICT, _) => {
                let body = [b"\xa1\x66__type\x75".as_slice(), b"InvalidParameterValue"].concat();
                (StatusCode::BAD_REQUEST, kind, body).into_response()
            }
            (_, 0) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            _ => std::future::pending().await,
        }
    };
    let routes = Router::new().route("/{*operation}", post(put));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move { axum::serve(listener, routes).await });
    BadDay {
        url: format!("http://{address}"),
        calls,
        mood,
    }
}

/// The value of a metric without labels in a scraped page.
fn value(page: &str, name: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|rest| rest.trim().parse().ok());
    value.unwrap_or_else(|| panic!("{name} is not in {page}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_cloudwatch_is_away_ticks_go_on_and_the_oldest_is_dropped() {
    let away = bad_day(BAD).await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let proxy = FakeProxy::start().await;
    let table = format!(
        "[cloudwatch]\ninterval = '1s'\nbacklog = 2\ntimeout = '400ms'\nflush_limit = '1s'\n\
         region = '{REGION}'\nendpoint_url = '{}'\n",
        away.url
    );
    let (mut daemon, port) = scaler(&directory, &proxy, &table).await;
    daemon.wait_for("CloudWatch accepts no metrics");
    let page = eventually_async("data to be dropped", async || {
        let page = metrics_with(port, "tidegate_scaler_ticks_total ").await;
        let dropped = page.contains("tidegate_scaler_publish_dropped_total ");
        (dropped && value(&page, "tidegate_scaler_publish_dropped_total") > 60.0).then_some(page)
    })
    .await;
    assert!(value(&page, "tidegate_scaler_publish_backlog") <= 2.0);
    assert!(
        value(&page, "tidegate_scaler_tick_seconds") < 0.3,
        "no tick waits"
    );
    assert!(away.calls.load(Ordering::SeqCst) >= 2, "it is tried again");
    let events = daemon.said().matches("accepts no metrics").count();
    assert_eq!(events, 1, "{}", daemon.said());

    away.mood.store(GOOD, Ordering::SeqCst);
    daemon.wait_for("CloudWatch accepts metrics again");
    metrics_with(port, "tidegate_scaler_publish_backlog 0").await;
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.code(), Some(0), "{}", daemon.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_does_not_wait_for_cloudwatch_longer_than_its_limit() {
    let away = bad_day(BAD).await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let proxy = FakeProxy::start().await;
    let table = format!(
        "[cloudwatch]\ninterval = '1s'\nflush_limit = '500ms'\nregion = '{REGION}'\n\
         endpoint_url = '{}'\n",
        away.url
    );
    let (mut daemon, _) = scaler(&directory, &proxy, &table).await;
    daemon.wait_for("CloudWatch accepts no metrics");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.code(), Some(0));
    daemon.wait_for("the last metrics were not published within 500ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cloudwatch_refuses_is_dropped_and_not_sent_again() {
    let strict = bad_day(STRICT).await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let proxy = FakeProxy::start().await;
    let table = format!(
        "[cloudwatch]\ninterval = '1s'\nregion = '{REGION}'\nendpoint_url = '{}'\n",
        strict.url
    );
    let (mut daemon, port) = scaler(&directory, &proxy, &table).await;
    daemon.wait_for("CloudWatch accepts no metrics (it refuses ");
    assert!(daemon.said().contains("InvalidParameterValue"));
    assert_eq!(
        strict.calls.load(Ordering::SeqCst),
        1,
        "not even a second try"
    );
    strict.mood.store(GOOD, Ordering::SeqCst);
    daemon.wait_for("CloudWatch accepts metrics again");
    let page = metrics_with(port, "tidegate_scaler_publish_dropped_total ").await;
    assert!(value(&page, "tidegate_scaler_publish_dropped_total") > 0.0);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.code(), Some(0), "{}", daemon.said());
}

/// Once the scaler has a worker, the proxy has answered as many requests as there are latencies.
/// Returns how many, and the line that tells of them.
async fn line_with_latencies(daemon: &Daemon, proxy: &FakeProxy, file: &Path) -> (u64, Value) {
    daemon.wait_for("w-1 is ready");
    let mut all = tidegate_protocol::Histogram::default();
    for bound in tidegate_protocol::bounds() {
        all.record(Duration::from_secs_f64(bound / 1000.0));
    }
    let requests = all.count();
    proxy.state().signal.models[0].latency = all;
    let line = eventually_async("a line with latencies", async || {
        let mut lines = lines(file).into_iter();
        lines.find(|line| !line["Latency"].is_null())
    });
    (requests, line.await)
}

/// Every line is one of the Embedded Metric Format, within its limits.
fn check_format(lines: &[Value]) {
    for line in lines {
        let directives = line["_aws"]["CloudWatchMetrics"].as_array();
        let [directive] = directives.expect("directives").as_slice() else {
            panic!("{line} has several directives");
        };
        assert_eq!(directive["Namespace"], "Tidegate");
        let at = line["_aws"]["Timestamp"].as_u64();
        assert!(at > Some(1_700_000_000_000), "milliseconds: {line}");
        let metrics = directive["Metrics"].as_array().expect("metrics");
        assert!((1..=100).contains(&metrics.len()));
        for metric in metrics {
            let name = metric["Name"].as_str().expect("a name");
            check_value(&line[name]);
        }
        let [dimensions] = directive["Dimensions"].as_array().expect("sets").as_slice() else {
            panic!("{line} has several sets of dimensions");
        };
        for dimension in dimensions.as_array().expect("dimensions") {
            let name = dimension.as_str().expect("a name");
            assert!(line[name].is_string(), "{name} has no value in {line}");
        }
    }
    let serving = |line: &Value| line["State"] == "serving" && line["Fleet"] == "encoders";
    assert!(lines.iter().any(serving));
}

/// A number, or at most a hundred with how often each of them came.
fn check_value(value: &Value) {
    if value.is_number() {
        return;
    }
    let numbers = |name: &str| -> Vec<f64> {
        let list = value[name].as_array().into_iter().flatten();
        list.filter_map(Value::as_f64).collect()
    };
    let (values, counts) = (numbers("Values"), numbers("Counts"));
    assert_eq!(values.len(), counts.len(), "{value}");
    assert!((1..=100).contains(&values.len()), "{value}");
    assert_eq!(value["Count"].as_f64(), Some(counts.iter().sum()));
    assert_eq!(value["Min"].as_f64(), values.first().copied());
    assert_eq!(value["Max"].as_f64(), values.last().copied());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_metrics_are_lines_of_a_file_within_the_formats_limits() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let proxy = FakeProxy::start().await;
    let file = directory.path().join("metrics.json");
    let table = format!(
        "[cloudwatch]\ninterval = '1s'\ndimensions = {{ Fleet = 'encoders' }}\nemf = '{}'\n",
        file.display()
    );
    let (mut daemon, _) = scaler(&directory, &proxy, &table).await;
    let (requests, line) = line_with_latencies(&daemon, &proxy, &file).await;
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.code(), Some(0), "{}", daemon.said());
    assert_eq!(line["Latency"]["Count"], requests);
    let values = line["Latency"]["Values"].as_array();
    assert_eq!(values.map(Vec::len), Some(100));
    check_format(&lines(&file));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_metrics_on_standard_output_are_all_that_is_printed_there() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let proxy = FakeProxy::start().await;
    let table = "[cloudwatch]\ninterval = '1s'\ndimensions = { Fleet = 'encoders' }\n\
                 emf = 'stdout'\n";
    let (mut daemon, _) = scaler(&directory, &proxy, table).await;
    let printed = daemon.printed.clone();
    let (requests, line) = line_with_latencies(&daemon, &proxy, &printed).await;
    assert_eq!(line["Latency"]["Count"], requests);
    let before = lines(&printed).len();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.code(), Some(0), "{}", daemon.said());
    let text = fs::read_to_string(&printed).expect("what it printed");
    assert!(text.ends_with('\n'), "the last line is whole");
    let lines = lines(&printed);
    assert!(
        lines.len() > before,
        "the last interval is printed at the end"
    );
    check_format(&lines);
}

fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let whole = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    whole
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect()
}
