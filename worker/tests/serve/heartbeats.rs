//! What proxies hear of a worker, and what it hears of them.

use serde_json::json;
use tidegate_protocol::{Heartbeat, Order, PROXY_HEADER, VERSION, WorkerState};

use crate::fake_proxy::{FakeProxy, NAME};
use crate::openai::private_file;
use crate::tiny_model::{self, SLOW, TINY};
use crate::worker::{self, send};

#[tokio::test]
async fn a_worker_announces_itself_warming_and_then_ready_to_every_proxy() {
    let (first, second) = (FakeProxy::start().await, FakeProxy::start().await);
    let worker = worker::with_model(SLOW)
        .args(["--proxy", &first.url, "--proxy", &second.url, "--id", "w-1"])
        .config("instance = 'i-1'\nslots = 7")
        .ready()
        .await;
    let ready = first
        .heartbeat("a ready heartbeat", |heartbeat| {
            heartbeat.state == WorkerState::Ready
        })
        .await;
    second
        .heartbeat("a ready heartbeat", |heartbeat| {
            heartbeat.state == WorkerState::Ready
        })
        .await;
    assert_eq!(format!("http://{}", ready.address), worker.url);
    assert_eq!((ready.version, ready.slots, ready.busy), (VERSION, 7, 0));
    assert_eq!(
        (ready.worker.as_str(), ready.model.as_str()),
        ("w-1", "tiny")
    );
    assert_eq!(ready.instance.as_deref(), Some("i-1"));

    let heartbeats = first.heartbeats();
    assert_eq!(heartbeats[0].state, WorkerState::Warming);
    assert!(
        heartbeats
            .iter()
            .zip(1..)
            .all(|(heartbeat, sequence)| heartbeat.sequence == sequence)
    );
    assert!(
        heartbeats
            .iter()
            .all(|heartbeat| heartbeat.boot == ready.boot)
    );
}

#[tokio::test]
async fn a_beat_counts_the_slots_that_its_proxy_holds() {
    let proxy = FakeProxy::start().await;
    let worker = worker::with_model(SLOW)
        .args(["--proxy", &proxy.url])
        .config("[beat]\ninterval = '100ms'")
        .ready()
        .await;
    let through_proxy = worker.request(&json!({ "input": vec![tiny_model::long_text(); 30] }));
    let through_proxy = tokio::spawn(send(through_proxy.header(PROXY_HEADER, NAME)));
    worker.until_computing().await;
    let direct = worker.keep_busy(1);
    let heartbeat = proxy
        .heartbeat("a heartbeat with two slots taken", |heartbeat| {
            heartbeat.busy == 2
        })
        .await;
    assert_eq!(heartbeat.yours, 1);
    for request in [through_proxy, direct] {
        let answer = request.await.expect("it was not cut").expect("an answer");
        assert_eq!(answer.status, 200);
    }
    let idle =
        |heartbeat: &Heartbeat| (heartbeat.busy, heartbeat.yours, heartbeat.queue) == (0, 0, 0);
    proxy.heartbeat("a heartbeat with none taken", idle).await;
}

#[tokio::test]
async fn an_order_drains_the_worker_and_its_withdrawal_undoes_it() {
    let proxy = FakeProxy::start().await;
    let worker = worker::with_model(TINY)
        .args(["--proxy", &proxy.url])
        .ready()
        .await;
    proxy.order(Some(Order::Drain));
    proxy
        .heartbeat("a draining heartbeat", |heartbeat| {
            heartbeat.state == WorkerState::Draining
        })
        .await;
    let refused = worker.post(&json!({ "input": "a cat" })).await;
    refused.refusal(503, json!("not_ready"));
    assert_eq!(refused.header("x-tidegate-refused"), Some("not-ready"));
    assert_eq!(worker.get("/readyz").await.status, 503);
    assert_eq!(worker.get("/livez").await.status, 200);

    proxy.order(Some(Order::Undrain));
    proxy
        .heartbeat("a ready heartbeat", |heartbeat| {
            heartbeat.state == WorkerState::Ready
        })
        .await;
    assert_eq!(worker.post(&json!({ "input": "a cat" })).await.status, 200);
}

#[tokio::test]
async fn beats_bring_the_token() {
    const TOKEN: &str = "worker-token-0123456789";
    let home = tempfile::tempdir().expect("a temporary directory");
    let file = private_file(home.path(), TOKEN);
    let proxy = FakeProxy::start().await;
    let _worker = worker::with_model(TINY)
        .args(["--proxy", &proxy.url, "--token-file", &file])
        .ready()
        .await;
    proxy.heartbeat("a heartbeat", |_| true).await;
    assert_eq!(proxy.last_token(), Some(format!("Bearer {TOKEN}")));
}

#[tokio::test]
async fn a_proxy_that_goes_away_is_said_once_and_once_that_it_is_back() {
    let proxy = FakeProxy::start().await;
    let worker = worker::with_model(TINY)
        .args(["--proxy", &proxy.url])
        .config("[beat]\ninterval = '100ms'")
        .ready()
        .await;
    proxy.heartbeat("a heartbeat", |_| true).await;
    proxy.refuse(true);
    let failed = format!(
        "tidegate_beats_total{{proxy=\"{}\",result=\"failed\"}}",
        proxy.url
    );
    tidegate_tests::eventually("three heartbeats fail", async || {
        (worker.metric(&failed).await >= 3.0).then_some(())
    })
    .await;
    proxy.refuse(false);
    let answered = proxy.heartbeats().len();
    tidegate_tests::eventually("heartbeats are taken again", async || {
        (proxy.heartbeats().len() > answered + 1).then_some(())
    })
    .await;
    let output = worker.process.output();
    let count = |what: &str| output.matches(what).count();
    assert_eq!(
        (
            count("it answers 403 Forbidden"),
            count("accepts heartbeats")
        ),
        (1, 2),
        "{output}"
    );
}

#[tokio::test]
async fn a_worker_that_listens_everywhere_announces_the_address_that_the_proxy_sees() {
    let proxy = FakeProxy::start().await;
    let _worker = worker::with_model(TINY)
        .listen("0.0.0.0:0")
        .args(["--proxy", &proxy.url])
        .ready()
        .await;
    let heartbeat = proxy.heartbeat("a heartbeat", |_| true).await;
    assert!(
        heartbeat.address.ip().is_loopback(),
        "{}",
        heartbeat.address
    );
    assert_ne!(heartbeat.address.port(), 0);

    let advertised = FakeProxy::start().await;
    let _other = worker::with_model(TINY)
        .args(["--proxy", &advertised.url])
        .config("advertise = '192.0.2.7:8090'")
        .ready()
        .await;
    let heartbeat = advertised.heartbeat("a heartbeat", |_| true).await;
    assert_eq!(heartbeat.address.to_string(), "192.0.2.7:8090");
}
