//! What signals other than gauges ask for.

use tidegate_control::{Action, Answer, Observer};
use tidegate_protocol::{ModelSignal, Signal, WorkerSignal, WorkerState};

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
    let mut histogram = tidegate_protocol::Histogram::default();
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

#[test]
fn of_several_models_behind_a_proxy_only_the_fleets_own_counts() {
    let signal = |arrivals: [u64; 2], now_ms: u64| {
        let model = |name: &str, arrivals_total: u64| ModelSignal {
            model: name.to_owned(),
            arrivals_total,
            waiting: arrivals_total,
            ..ModelSignal::default()
        };
        let worker = |id: &str, model: &str| WorkerSignal {
            worker: id.to_owned(),
            boot: "b".to_owned(),
            instance: None,
            address: ([127, 0, 0, 1], 1).into(),
            model: model.to_owned(),
            state: WorkerState::Ready,
            draining: false,
            taking: true,
            slots: 4,
            permits: 0,
            elsewhere: 0,
            beat_age_ms: 0,
        };
        Answer {
            source: "a".to_owned(),
            signal: Some(Signal {
                epoch: "e".to_owned(),
                now_ms,
                models: vec![model("small", arrivals[0]), model("large", arrivals[1])],
                workers: vec![worker("w-1", "small"), worker("w-2", "large")],
                ..Signal::default()
            }),
        }
    };
    for (model, expected) in [
        (Some("large"), (70, 90, vec!["w-2"])),
        (Some("small"), (5, 10, vec!["w-1"])),
        (None, (75, 100, vec!["w-1", "w-2"])),
    ] {
        let mut observer = Observer::of_model(model.map(str::to_owned));
        observer.observe(&[signal([5, 20], 1)]);
        let seen = observer.observe(&[signal([10, 90], 2)]);
        let seen = seen.proxies[0].seen.as_ref().expect("it is seen");
        let workers: Vec<&str> = seen.workers.iter().map(|w| w.id.as_str()).collect();
        assert_eq!(
            (seen.arrivals, seen.waiting, workers),
            expected,
            "{model:?}"
        );
    }
}
