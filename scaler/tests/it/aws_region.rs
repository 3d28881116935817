//! A scaler on an instance whose metadata answer only after it was started, with a policy that
//! names no region: the real binary, metadata of the test's own, moto.

use std::fs;

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tidegate_tests::{Moto, REGION};

use crate::conformance::create_group;
use crate::daemon::{Daemon, free_port, metrics_with};
use crate::stage::{FakeProxy, eventually};

/// Credentials, and nobody but the instance to ask for the region.
const ENVIRONMENT: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "test"),
    ("AWS_SECRET_ACCESS_KEY", "test"),
    ("AWS_CONFIG_FILE", "/nowhere"),
];

/// The instance metadata service, version 2, from now on at this port.
async fn metadata_answer(port: u16) {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await;
    let listener = listener.expect("the port is free");
    let routes = Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, routes).await });
}

async fn answer(request: Request) -> Response {
    let ttl = [("x-aws-ec2-metadata-token-ttl-seconds", "60")];
    match (request.method(), request.uri().path()) {
        (&Method::PUT, "/latest/api/token") => (ttl, "a-token").into_response(),
        (&Method::GET, "/latest/meta-data/placement/region") => REGION.into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_the_instance_says_later_is_found_without_a_restart() {
    let (moto, metadata) = (Moto::start(), free_port());
    let (directory, proxy) = (tempfile::tempdir(), FakeProxy::start().await);
    let directory = directory.expect("a temporary directory");
    create_group(&moto, "workers", 3);
    crate::two_scalers::create_lease_table(&moto);
    moto.call("sqs", "create_queue", &json!({ "QueueName": "jobs" }));
    crate::aws_sources::put(&moto, "Orders", &[("jobs", 5.0)], 1);
    let port = free_port();
    let whole = crate::aws_group::policy_on(port, &directory, &proxy, &moto);
    let more = format!(
        "[lease]\nkind = 'dynamodb'\ntable = 'tidegate'\nkey = 'k'\nendpoint_url = '{0}'\n\
         duration = '20s'\n[cloudwatch]\ninterval = '1s'\nendpoint_url = '{0}'\n\
         [[source]]\nname = 'jobs'\nsqs = {{ queue = 'jobs', endpoint_url = '{0}' }}\n\
         every = '1s'\nfresh_for = '1m'\n[[source]]\nname = 'orders'\n\
         cloudwatch = {{ namespace = 'Shop', metric = 'Orders', statistic = 'Sum', \
         dimensions = {{ Queue = 'jobs' }}, endpoint_url = '{0}' }}\nevery = '1s'\nfresh_for = '3m'\n",
        moto.url
    );
    let text = fs::read_to_string(&whole).expect("the policy") + &more;
    let text = text.replace(&format!("region = \"{REGION}\"\n"), "");
    assert!(!text.contains("region"), "{text}");
    fs::write(&whole, text).expect("it is written");
    let endpoint = format!("http://127.0.0.1:{metadata}");
    let mut environment = ENVIRONMENT.to_vec();
    environment.push(("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint));
    let arguments = ["run", "--policy", whole.to_str().unwrap_or_default()];
    let daemon = Daemon::start_in(&environment, &arguments, directory.path());

    let why = "no region is known: the policy, the environment and the profile have none, and the instance's metadata service does not answer";
    for what in [
        "the state of the fleet cannot be read, so nothing is decided: DescribeAutoScalingGroups was not called",
        "the lease cannot be reached: dynamodb:GetItem",
        "source jobs (SQS: jobs) gives no value: it cannot be asked",
        "source orders (CloudWatch: Shop Orders) gives no value: it cannot be asked",
    ] {
        daemon.wait_for(&format!("{what}: {why}"));
    }
    metadata_answer(metadata).await;

    daemon.wait_for("holds the lease and acts");
    let again = daemon
        .said()
        .matches("the lease can be reached again")
        .count();
    assert_eq!(again, 1, "it is said when it is so");
    daemon.wait_for("0 -> 1 worker");
    metrics_with(port, "tidegate_scaler_published_total ").await;
    metrics_with(port, "tidegate_scaler_source_up{source=\"jobs\"} 1").await;
    metrics_with(port, "tidegate_scaler_source_up{source=\"orders\"} 1").await;
    let said = daemon.said();
    assert!(!said.contains("config file"), "the SDK's own words: {said}");
    assert!(!said.contains("accepts no metrics"), "{said}");
    eventually("the group's first instance", || {
        (crate::aws_group::group(&moto).0 == 1).then_some(())
    });
}
