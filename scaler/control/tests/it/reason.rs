//! How decisions read.

use tidegate_control::{Basis, Stage};

use crate::stage::{POLICY, Scene, at, worker};

#[test]
fn growth_names_its_signal_value_and_target() {
    let mut scene = Scene::new(POLICY, 2);
    for _ in 0..3 {
        scene.tick(0, 8);
    }
    let decision = scene.tick(90, 8);
    assert_eq!(
        decision.to_string(),
        "2 -> 3 workers: queue asks for 3 (mean 18.0 over 5s, 8 per worker)"
    );
}

/// Forecasts once said whose they were, and when a rise was due.
#[test]
fn a_forecast_of_an_older_ledger_is_read() {
    let written = r#"{"forecast":{"per_s":40.0,"service_s":2.0,"concurrency":4.0,"growth":1.2,
        "aim":0.01,"rises":2.5,"expert":"hour","lead_ms":60000}}"#;
    let basis: Basis = serde_json::from_str(written).expect("it is read");
    assert!(
        matches!(
            basis,
            Basis::Forecast {
                per_s: 40.0,
                growth: 1.2,
                lead_ms: 60_000,
                ..
            }
        ),
        "{basis:?}"
    );
}

#[test]
fn guards_say_what_held_it_back() {
    let mut scene = Scene::new(POLICY, 2);
    let decision = scene.tick(500, 8);
    assert_eq!(
        decision.to_string(),
        "2 -> 5 workers: queue asks for 13 (mean 100.0 over 5s, 8 per worker); \
         the policy's steps allow no more for now; fleet.max is 5"
    );
    scene.launches_held_until = Some(at(scene.second + 8));
    let decision = scene.tick(0, 8);
    assert!(
        decision
            .to_string()
            .contains("; launches keep failing, next try in 7s"),
        "{decision}"
    );
}

#[test]
fn a_shrink_says_whom_it_drains() {
    let mut scene = Scene::new(POLICY, 2);
    scene.permits("w-1", 1);
    let decision = scene.until_action(60, 0, 4);
    assert_eq!(
        decision.to_string(),
        "2 -> 1 worker: busy asks for 1 (mean 4.0 over 5s, 4 per worker); drains w-1"
    );
}

#[test]
fn a_replacement_says_why() {
    let mut scene = Scene::new(POLICY, 1);
    let now = scene.now();
    scene.workers.push(worker("w-2", now, Stage::Booting));
    for _ in 0..20 {
        scene.tick(8, 4);
    }
    assert_eq!(
        scene.tick(8, 4).to_string(),
        "1 worker: queue asks for 1 (mean 8.0 over 5s, 8 per worker); \
         replaces w-2, which was not ready within 20s (fleet.lead_time)"
    );
}

#[test]
fn a_blind_tick_says_so() {
    let mut scene = Scene::new(POLICY, 2);
    let mut decision = scene.blind_tick();
    for _ in 0..40 {
        decision = scene.blind_tick();
    }
    assert_eq!(
        decision.to_string(),
        "2 workers: queue holds (its value is unknown)"
    );
}

#[test]
fn decisions_are_data() {
    let mut scene = Scene::new(POLICY, 2);
    let decision = scene.tick(500, 8);
    let line = serde_json::to_string(&decision).expect("it serializes");
    let read: tidegate_control::Decision = serde_json::from_str(&line).expect("it parses");
    assert_eq!(read, decision);
}
