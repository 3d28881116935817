//! Who may announce workers, read the signal and give orders.

use futures_util::future::join_all;
use serde_json::{Value, json};
use tidegate_protocol::WorkerState;
use tidegate_tests::{Harness, HarnessConfig, eventually};

fn heartbeat(change: impl FnOnce(&mut Value)) -> Value {
    let mut heartbeat = json!({
        "version": tidegate_protocol::VERSION, "worker": "w", "boot": "1", "sequence": 1,
        "address": "127.0.0.1:9", "model": "m", "slots": 1, "busy": 0, "yours": 0,
        "state": "ready", "a field of a later version": true,
    });
    change(&mut heartbeat);
    heartbeat
}

async fn post(harness: &Harness, token: &str, heartbeat: &Value) -> (u16, String) {
    let request = reqwest::Client::new().post(format!("http://{}/beat", harness.admin));
    let response = request
        .bearer_auth(token)
        .json(heartbeat)
        .send()
        .await
        .expect("an answer");
    (
        response.status().as_u16(),
        response.text().await.expect("text"),
    )
}

#[tokio::test]
async fn beats_are_checked_for_token_address_and_version() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let token = harness.worker_token();
    let cases = [
        (
            "a wrong token",
            401,
            "Bearer",
            post(&harness, "not-the-token-at-all", &heartbeat(|_| ())).await,
        ),
        (
            "another role's token",
            401,
            "role",
            post(&harness, "operator-token-for-tests", &heartbeat(|_| ())).await,
        ),
        (
            "a foreign address",
            403,
            "10.0.0.9",
            post(
                &harness,
                token,
                &heartbeat(|b| b["address"] = json!("10.0.0.9:80")),
            )
            .await,
        ),
        (
            "a link-local address",
            403,
            "169.254",
            post(
                &harness,
                token,
                &heartbeat(|b| b["address"] = json!("169.254.169.254:80")),
            )
            .await,
        ),
        (
            "an old version",
            400,
            "version 0",
            post(&harness, token, &heartbeat(|b| b["version"] = json!(0))).await,
        ),
        (
            "port 0",
            400,
            "port",
            post(
                &harness,
                token,
                &heartbeat(|b| b["address"] = json!("127.0.0.1:0")),
            )
            .await,
        ),
        (
            "an instance id of 60 KB",
            400,
            "instance",
            post(
                &harness,
                token,
                &heartbeat(|b| b["instance"] = json!("i".repeat(60_000))),
            )
            .await,
        ),
        (
            "no heartbeat at all",
            400,
            "missing field",
            post(&harness, token, &json!({})).await,
        ),
        (
            "a name that breaks paths",
            400,
            "worker",
            post(&harness, token, &heartbeat(|b| b["worker"] = json!("a/b"))).await,
        ),
        (
            "a name that clients leave out of paths",
            400,
            "worker",
            post(&harness, token, &heartbeat(|b| b["worker"] = json!(".."))).await,
        ),
    ];
    for (what, status, says, answer) in cases {
        assert_eq!(answer.0, status, "{what}: {}", answer.1);
        assert!(answer.1.contains(says), "{what}: {}", answer.1);
    }
    assert!(harness.signal().await.workers.is_empty());
    let (status, reply) = post(
        &harness,
        token,
        &heartbeat(|b| b["version"] = json!(tidegate_protocol::VERSION + 1)),
    )
    .await;
    assert_eq!(status, 200, "the next version is understood: {reply}");
    let other_model = heartbeat(|b| {
        b["model"] = json!("other");
        b["sequence"] = json!(2);
    });
    let (status, reply) = post(&harness, token, &other_model).await;
    assert_eq!(status, 400, "{reply}");
    assert!(reply.contains("other"), "{reply}");
}

#[tokio::test]
async fn a_model_that_nobody_serves_any_more_is_unknown() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let token = harness.worker_token();
    let old = |state: &str, sequence| {
        heartbeat(|b| {
            b["worker"] = json!("w1");
            b["model"] = json!("m-v1");
            b["state"] = json!(state);
            b["sequence"] = json!(sequence);
        })
    };
    assert_eq!(post(&harness, token, &old("ready", 1)).await.0, 200);
    let _new = harness.timed_worker("w2", &["--name", "m-v2"]).await;
    let client = harness.client();
    let unnamed = client.post(&json!({})).await;
    assert_eq!(
        (unnamed.status, unnamed.error_code()),
        (400, "model_required")
    );
    assert_eq!(post(&harness, token, &old("draining", 2)).await.0, 200);
    assert_eq!(client.post(&json!({})).await.status, 200, "one serves");
    eventually("the old name is unknown", async || {
        let body = json!({"model": "m-v1"});
        let hasty = [("x-request-timeout-ms", "100")];
        let answer = client.post_with(&body, &hasty).await;
        (answer.status == 404).then_some(())
    })
    .await;
    let models = client.get("/v1/models").await.body;
    assert_eq!(models["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(harness.signal().await.models.len(), 1);
}

#[tokio::test]
async fn the_signal_and_orders_need_the_operator_token() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let http = reqwest::Client::new();
    let signal = http
        .get(format!("http://{}/signal", harness.admin))
        .bearer_auth(harness.worker_token());
    assert_eq!(signal.send().await.expect("an answer").status(), 401);
    assert_eq!(harness.order("/drain/w", harness.worker_token()).await, 401);
    assert_eq!(
        harness.order("/drain/w", "operator-token-for-tests").await,
        404,
        "no such worker"
    );
    let metrics = http
        .get(format!("http://{}/metrics", harness.admin))
        .send()
        .await;
    assert_eq!(
        metrics.expect("an answer").status(),
        200,
        "metrics are open to this machine"
    );
}

#[tokio::test]
async fn a_worker_that_falls_silent_is_handed_nothing_and_one_that_reboots_starts_anew() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _a = harness.timed_worker("a", &[]).await;
    let _b = harness.timed_worker("b", &[]).await;
    let token = harness.worker_token();
    let silent = heartbeat(|b| b["model"] = json!("timed"));
    assert_eq!(post(&harness, token, &silent).await.0, 200);
    harness.worker_is("w", WorkerState::Ready).await;
    eventually("the silent one takes nothing", async || {
        let signal = harness.signal().await;
        let silent = signal.workers.iter().find(|worker| worker.worker == "w")?;
        (!silent.taking).then_some(())
    })
    .await;
    let client = harness.client();
    for answer in join_all((0..9).map(|_| client.timed(50))).await {
        answer.timed();
    }
    assert_eq!(harness.signal().await.models[0].retries_total, 0);
    let again = heartbeat(|b| {
        b["model"] = json!("timed");
        b["boot"] = json!("2");
    });
    assert_eq!(post(&harness, token, &again).await.0, 200);
    let signal = harness.signal().await;
    let again = signal
        .workers
        .iter()
        .find(|worker| worker.worker == "w")
        .expect("it is back");
    assert!(again.taking && again.boot == "2");
}

#[tokio::test]
async fn the_scheme_of_a_token_may_be_in_letters_of_either_case() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let url = format!("http://{}/beat", harness.admin);
    let token = harness.worker_token();
    // RFC 9110, section 11.1.
    for (value, status) in [
        (format!("bearer {token}"), 200),
        (format!("BEARER  {token}"), 200),
        (format!("Basic {token}"), 401),
        (format!("Bearer{token}"), 401),
        (format!("Bearer {token}x"), 401),
        ("Bearer".to_owned(), 401),
    ] {
        let asked = reqwest::Client::new().post(&url).json(&heartbeat(|_| ()));
        let answer = asked.header("authorization", &value).send().await;
        assert_eq!(answer.expect("an answer").status(), status, "{value}");
    }
}
