//! One sequence of events in a whole stack: start, growth, a kill, a network cut, a restart, missing
//! signals, shrinking, stop; no request may be lost.

use std::time::Duration;

use serde_json::json;
use tidegate_tests::{Answer, within};

use crate::batches;
use crate::load::Load;
use crate::stack::{FLEET_NETWORK, Stack, docker};

/// `fleet.max` of the policy; the load below asks for as many.
const MOST: usize = 4;

/// `scale_in.stabilization` of the policy.
const STABILIZATION: Duration = Duration::from_secs(30);

/// Half as many again as the policy wants for four workers, 24 each: on a busy machine not all of
/// them have a request under way at any time.
const CLIENTS: usize = 144;

/// The fleet at work and at rest.
async fn fleet_is(stack: &Stack, size: usize, limit: Duration) {
    let what = format!("{size} workers run");
    within(limit, &what, async || {
        pause().await;
        (stack.workers().len() == size).then_some(())
    })
    .await;
}

/// Between two questions to the engine.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(500)).await;
}

async fn embeds(stack: &Stack) -> Answer {
    let body = json!({"input": "the tide is high"});
    within(
        Duration::from_secs(60),
        "a sentence is embedded",
        async || {
            pause().await;
            let answer = stack.client().try_post(&body, &[]).await.ok()?;
            (answer.status == 200).then_some(answer)
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stack_follows_its_load_and_loses_nothing_to_kills_cuts_and_restarts() {
    let stack = Stack::up();
    let answer = embeds(&stack).await;
    let vector = answer.body["data"][0]["embedding"].as_array();
    assert_eq!(vector.map(Vec::len), Some(384), "{}", answer.body);
    services_are_healthy(&stack).await;
    batches::one_is_answered_though_the_service_is_killed(&stack).await;
    workers_have_no_rights(&stack);

    let load = Load::start(&stack.client(), CLIENTS);
    fleet_is(&stack, MOST, Duration::from_secs(60)).await;
    a_killed_worker_is_replaced(&stack).await;
    a_worker_that_is_cut_off_is_replaced(&stack).await;
    a_restarted_scaler_takes_its_workers_up(&stack).await;
    let tally = load.finish().await;
    println!("under load: {} answered", tally.answered);
    assert!(
        tally.lost.is_empty(),
        "{} lost: {:?}",
        tally.lost.len(),
        tally.lost.first()
    );

    let trickle = Load::start(&stack.client(), 1);
    a_blind_scaler_does_not_shrink(&stack).await;
    fleet_is(&stack, 1, Duration::from_secs(150)).await;
    let tally = trickle.finish().await;
    println!("while it shrank: {} answered", tally.answered);
    assert!(
        tally.lost.is_empty(),
        "{} lost: {:?}",
        tally.lost.len(),
        tally.lost.first()
    );

    stack.down();
    assert_eq!(stack.workers(), Vec::<String>::new());
    let networks = docker(&["network", "ls", "--format", "{{.Name}}"]);
    assert!(!networks.contains(FLEET_NETWORK), "{networks}");
}

async fn services_are_healthy(stack: &Stack) {
    for service in ["proxy", "scaler", "batch"] {
        let what = format!("the {service} is healthy");
        within(Duration::from_secs(30), &what, async || {
            pause().await;
            let format = "{{.State.Health.Status}}";
            let state = docker(&["inspect", "--format", format, &stack.container(service)]);
            (state == "healthy").then_some(())
        })
        .await;
    }
    // Everybody who reaches the port may look; orders need the token.
    let page = reqwest::get(format!("{}/", stack.scaler_url())).await;
    let status = page.map(|page| page.status().as_u16());
    assert_eq!(status.expect("the status page"), 200);
    let order = format!("{}/override", stack.scaler_url());
    let asked = reqwest::Client::new().post(order).body("{}").send().await;
    let status = asked.map(|answer| answer.status().as_u16());
    assert_eq!(status.expect("an answer"), 401);
}

fn workers_have_no_rights(stack: &Stack) {
    for worker in stack.workers() {
        let format = "{{.HostConfig.ReadonlyRootfs}} {{.Config.User}} {{.HostConfig.CapDrop}} \
                      {{.HostConfig.PortBindings}} {{.HostConfig.NetworkMode}}";
        let said = docker(&["inspect", "--format", format, &worker]);
        let expected = format!("true 65532:65532 [ALL] map[] {FLEET_NETWORK}");
        assert_eq!(said, expected, "{worker}");
    }
}

async fn a_killed_worker_is_replaced(stack: &Stack) {
    let victim = stack.workers().remove(0);
    docker(&["kill", &victim]);
    replaced(stack, &victim).await;
}

/// It runs on, and nobody reaches it any more: what it has is tried elsewhere.
async fn a_worker_that_is_cut_off_is_replaced(stack: &Stack) {
    let victim = stack.workers().remove(0);
    docker(&["network", "disconnect", FLEET_NETWORK, &victim]);
    replaced(stack, &victim).await;
}

async fn replaced(stack: &Stack, victim: &String) {
    let what = format!("{victim} is replaced");
    within(Duration::from_secs(90), &what, async || {
        pause().await;
        let workers = stack.workers();
        (workers.len() == MOST && !workers.contains(victim)).then_some(())
    })
    .await;
}

async fn a_restarted_scaler_takes_its_workers_up(stack: &Stack) {
    let before = stack.workers();
    docker(&["restart", &stack.container("scaler")]);
    within(Duration::from_secs(30), "the scaler goes on", async || {
        pause().await;
        let log = stack.log("scaler");
        log.contains("continues from").then_some(())
    })
    .await;
    // Ten ticks: time to launch in vain what is there already.
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(stack.workers(), before);
}

/// Cut off from the proxy, it does not know that nothing is to be done.
async fn a_blind_scaler_does_not_shrink(stack: &Stack) {
    let (before, scaler) = (stack.workers(), stack.container("scaler"));
    docker(&["network", "disconnect", FLEET_NETWORK, &scaler]);
    tokio::time::sleep(STABILIZATION + Duration::from_secs(10)).await;
    assert_eq!(stack.workers(), before);
    docker(&["network", "connect", FLEET_NETWORK, &scaler]);
}
