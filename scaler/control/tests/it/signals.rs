//! What signals other than gauges ask for.

use tidegate_control::Action;

use crate::stage::{POLICY, Scene, observation, seen};

#[test]
fn a_wait_over_its_target_scales_what_serves() {
    let text = POLICY.to_owned()
        + r#"
[[signal]]
name = "latency"
metric = "oldest_wait"
statistic = "max"
window = "5s"
target_value = "1s"
"#;
    let mut scene = Scene::new(&text, 2);
    let mut slow = seen(1, 8);
    slow.oldest_waiting_ms = Some(2_000);
    let decision = scene.see(&observation(Some(slow)));
    assert_eq!(decision.reason.to, 4, "{decision}");
}

/// What a proxy saw in a second in which `arrivals` came, and so many requests took `latency`.
fn second(arrivals: u64, latency: &[(u64, u64)]) -> tidegate_control::Observation {
    let mut histogram = tidegate_wire::Histogram::default();
    for (count, ms) in latency {
        for _ in 0..*count {
            histogram.record(std::time::Duration::from_millis(*ms));
        }
    }
    let mut seen = seen(0, 8);
    (seen.arrivals, seen.latency) = (arrivals, (&histogram).into());
    observation(Some(seen))
}

#[test]
fn p95_latency_over_the_promise_scales_what_serves_and_a_few_slow_requests_do_not() {
    let text = POLICY.to_owned()
        + r#"
[[signal]]
name = "latency"
metric = "latency"
statistic = "p95"
window = "5s"
"#;
    let mut scene = Scene::new(&text, 2);
    let decision = scene.see(&second(100, &[(97, 1_900), (3, 9_000)]));
    assert_eq!(decision.action, Action::default(), "{decision}");
    let mut scene = Scene::new(&text, 2);
    let decision = scene.see(&second(100, &[(90, 100), (10, 3_900)]));
    let said = decision.to_string();
    assert!(
        said.starts_with("2 -> 4 workers: latency asks for 4 (p95 "),
        "{said}"
    );
    assert!(said.ends_with("s over 5s, target 2.00s)"), "{said}");
}

#[test]
fn a_request_rate_asks_for_its_share_of_workers() {
    let text = POLICY.to_owned()
        + r#"
[[signal]]
name = "rate"
metric = "request_rate"
statistic = "rate"
window = "5s"
target_per_worker = 10
"#;
    let mut scene = Scene::new(&text, 2);
    for _ in 0..6 {
        assert_eq!(scene.see(&second(19, &[])).action, Action::default());
    }
    for _ in 0..2 {
        scene.see(&second(40, &[]));
    }
    let decision = scene.see(&second(40, &[]));
    // Three seconds of 40 and two of 19.
    let said = decision.to_string();
    assert_eq!(
        said,
        "2 -> 4 workers: rate asks for 4 (rate 31.6/s over 5s, 10 per worker)"
    );
}
