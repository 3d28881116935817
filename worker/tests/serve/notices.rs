//! What a worker does when its instance's metadata say that it is to end.

use std::time::Duration;

use tidegate_protocol::WorkerState;
use tidegate_tests::{PATIENCE, eventually};

use crate::fake_metadata::FakeMetadata;
use crate::fake_proxy::FakeProxy;
use crate::tiny_model::{SLOW, Shape, TINY};
use crate::worker::{self, Plan};

const INTERRUPTION: &str = "spot/instance-action";
const REBALANCE: &str = "events/recommendations/rebalance";
const LIFECYCLE: &str = "autoscaling/target-lifecycle-state";

/// A worker on an instance with these metadata.
fn on_instance(shape: Shape, metadata: &FakeMetadata, proxy: &FakeProxy, more: &str) -> Plan {
    worker::with_model(shape)
        .args(["--proxy", &proxy.url])
        .config(&format!(
            "[drain]\ndeadline = '200ms'\n[metadata]\nurl = '{}'\ninterval = '100ms'\n{more}",
            metadata.url
        ))
}

#[tokio::test]
async fn a_spot_notice_drains_the_worker_which_answers_what_it_has_and_leaves() {
    let (metadata, proxy) = (FakeMetadata::start().await, FakeProxy::start().await);
    let mut worker = on_instance(SLOW, &metadata, &proxy, "").ready().await;
    let running = worker.keep_busy(20);
    worker.until_metric("tidegate_slots_busy", 1.0).await;
    metadata.say(
        INTERRUPTION,
        r#"{"action":"terminate","time":"2026-11-25T17:02:00Z"}"#,
    );
    let draining = proxy
        .heartbeat("a draining heartbeat", |heartbeat| {
            heartbeat.state == WorkerState::Draining && heartbeat.busy == 1
        })
        .await;
    assert_eq!(draining.instance.as_deref(), Some("i-0123456789abcdef0"));
    let notice = worker.get("/metrics").await.body;
    assert!(
        notice
            .as_str()
            .is_some_and(|text| text.contains("tidegate_notice{notice=\"interruption\"} 1"))
    );
    // It takes longer than the deadline of a signal, and has the longer one of a notice.
    let answer = running.await.expect("it was not cut");
    assert_eq!(answer.expect("it was answered").status, 200);
    let (status, _) = worker.process.end(PATIENCE).await;
    assert_eq!(status.code(), Some(0), "{}", worker.process.output());
    assert!(worker.process.output().contains("spot interruption notice"));
    let last = proxy.heartbeats().pop().expect("it sent one");
    assert_eq!((last.state, last.busy), (WorkerState::Draining, 0));
}

#[tokio::test]
async fn a_signal_after_a_notice_leaves_as_much_time_as_signals_do() {
    let (metadata, proxy) = (FakeMetadata::start().await, FakeProxy::start().await);
    let mut worker = on_instance(SLOW, &metadata, &proxy, "").ready().await;
    let running = worker.keep_busy(200);
    worker.until_computing().await;
    metadata.say(INTERRUPTION, "{}");
    proxy
        .heartbeat("a draining heartbeat", |heartbeat| {
            heartbeat.state == WorkerState::Draining
        })
        .await;
    worker.process.terminate();
    let (status, took) = worker.process.end(PATIENCE).await;
    assert_eq!(status.code(), Some(1), "{}", worker.process.output());
    assert!(took < Duration::from_secs(4), "it took {took:?}");
    running.abort();
}

#[tokio::test]
async fn an_instance_that_its_group_wants_terminated_is_left() {
    let (metadata, proxy) = (FakeMetadata::start().await, FakeProxy::start().await);
    let mut worker = on_instance(TINY, &metadata, &proxy, "").ready().await;
    metadata.say(LIFECYCLE, "Terminated");
    let (status, _) = worker.process.end(PATIENCE).await;
    assert_eq!(status.code(), Some(0), "{}", worker.process.output());
    let last = proxy.heartbeats().pop().expect("it sent one");
    assert_eq!(last.state, WorkerState::Draining);
}

#[tokio::test]
async fn a_rebalance_recommendation_is_told_or_leads_to_leaving() {
    let (metadata, proxy) = (FakeMetadata::start().await, FakeProxy::start().await);
    metadata.say(REBALANCE, r#"{"noticeTime":"2026-11-25T17:00:00Z"}"#);
    let worker = on_instance(TINY, &metadata, &proxy, "").ready().await;
    eventually("it is logged", async || {
        let text = worker.get("/metrics").await.body.to_string();
        text.contains("notice=\\\"rebalance\\\"} 1").then_some(())
    })
    .await;
    assert_eq!(worker.get("/readyz").await.status, 200, "it serves on");
    eventually("several more looks", async || {
        (proxy.heartbeats().len() > 2).then_some(())
    })
    .await;
    let output = worker.process.output();
    assert_eq!(output.matches("more likely").count(), 1, "{output}");

    let mut worker = on_instance(TINY, &metadata, &proxy, "on_rebalance = 'drain'\n")
        .listening()
        .await;
    let (status, _) = worker.process.end(PATIENCE).await;
    assert_eq!(status.code(), Some(0), "{}", worker.process.output());
}

#[tokio::test]
async fn the_instance_id_names_the_worker_and_an_expired_token_is_renewed() {
    let (metadata, proxy) = (FakeMetadata::start().await, FakeProxy::start().await);
    let mut worker = on_instance(TINY, &metadata, &proxy, "").ready().await;
    let heartbeat = proxy
        .heartbeat("a ready heartbeat", |heartbeat| {
            heartbeat.state == WorkerState::Ready
        })
        .await;
    assert_eq!(heartbeat.worker, "i-0123456789abcdef0");
    assert_eq!(heartbeat.instance.as_deref(), Some("i-0123456789abcdef0"));
    metadata.expire();
    metadata.say(INTERRUPTION, "{}");
    let (status, _) = worker.process.end(PATIENCE).await;
    assert_eq!(status.code(), Some(0), "{}", worker.process.output());
}

#[tokio::test]
async fn metadata_that_cannot_be_asked_are_said_and_are_no_reason_to_leave() {
    let (metadata, proxy) = (FakeMetadata::start().await, FakeProxy::start().await);
    let worker = on_instance(TINY, &metadata, &proxy, "").ready().await;
    metadata.data().broken = true;
    eventually("it is said", async || {
        let output = worker.process.output();
        output
            .contains("metadata service does not answer")
            .then_some(())
    })
    .await;
    assert_eq!(worker.get("/readyz").await.status, 200);
    metadata.data().broken = false;
    eventually("it is over", async || {
        worker
            .process
            .output()
            .contains("answers again")
            .then_some(())
    })
    .await;
    assert_eq!(worker.process.output().matches("still asking").count(), 1);
}

#[tokio::test]
async fn a_worker_that_cannot_learn_its_instance_does_not_start() {
    let (metadata, proxy) = (FakeMetadata::start().await, FakeProxy::start().await);
    metadata.data().broken = true;
    let (code, output) = on_instance(TINY, &metadata, &proxy, "").fails().await;
    assert_eq!(code, Some(1), "{output}");
    assert!(
        output.contains(&metadata.url) && output.contains("503"),
        "{output}"
    );
    assert!(proxy.heartbeats().is_empty());
}
