//! Workers as their heartbeats describe them: which get requests, and which orders they get.

use std::time::Duration;

use tidegate_protocol::{Heartbeat, Order, VERSION, WorkerState};
use tidegate_queue::{
    Ask, AttemptError, HeartbeatRefused, Moment, NoSuchModel, Outcome, Placement, Registry,
    RegistryConfig,
};

fn s(seconds: u64) -> Moment {
    Duration::from_secs(seconds)
}

fn heartbeat(worker: &str, sequence: u64) -> Heartbeat {
    Heartbeat {
        version: VERSION,
        worker: worker.to_owned(),
        boot: "1".to_owned(),
        sequence,
        instance: None,
        address: "127.0.0.1:9".parse().expect("an address"),
        model: "m".to_owned(),
        slots: 2,
        busy: 0,
        yours: 0,
        tokens: None,
        tokens_busy: 0,
        queue: 0,
        state: WorkerState::Ready,
    }
}

fn registry_with(workers: &[&str]) -> Registry {
    let mut registry = Registry::new(RegistryConfig::default());
    for worker in workers {
        registry
            .heartbeat(s(0), heartbeat(worker, 1))
            .expect("a good heartbeat");
    }
    registry
}

fn taking(registry: &Registry, now: Moment) -> Vec<String> {
    let signal = registry.signal(now, "p", "e");
    let taking = signal.workers.into_iter().filter(|worker| worker.taking);
    taking.map(|worker| worker.worker).collect()
}

fn place(registry: &mut Registry, now: Moment) -> Option<Placement> {
    let queue = registry.queue_of(None).expect("one model");
    let ask = Ask::new(now, now + s(60));
    registry.arrive(now, queue, ask).expect("there is room");
    registry.hand_out(now, queue)
}

/// Refreshes ten times a second, as the proxy does, with heartbeats from these workers.
fn live(registry: &mut Registry, from: u64, to: u64, heard: &[&str]) {
    for tenth in from * 10..to * 10 {
        let now = Duration::from_millis(tenth * 100);
        if tenth % 10 == 0 {
            for worker in heard {
                registry
                    .heartbeat(now, heartbeat(worker, 100 + tenth))
                    .expect("a good heartbeat");
            }
        }
        registry.refresh(now);
    }
}

#[test]
fn a_silent_worker_takes_nothing_but_when_most_vanish_none_is_dropped() {
    let mut registry = registry_with(&["a", "b", "c"]);
    live(&mut registry, 0, 6, &["a", "b"]);
    let on: Vec<_> = (0..5).map(|_| place(&mut registry, s(6))).collect();
    assert_eq!(on.iter().flatten().count(), 4, "the slots of a and b");
    let mut registry = registry_with(&["a", "b", "c"]);
    live(&mut registry, 0, 6, &["a"]);
    let on: Vec<_> = (0..7).map(|_| place(&mut registry, s(6))).collect();
    assert_eq!(
        on.iter().flatten().count(),
        6,
        "two of three vanished: all are kept"
    );
}

#[test]
fn a_proxy_that_did_not_run_blames_no_worker() {
    let mut registry = registry_with(&["a", "b", "c"]);
    live(&mut registry, 0, 2, &["a", "b", "c"]);
    registry.refresh(s(90));
    assert_eq!(taking(&registry, s(90)), ["a", "b", "c"]);
}

#[test]
fn who_is_gone_for_long_is_forgotten_once_its_permits_are_back() {
    let mut registry = registry_with(&["a", "b", "c"]);
    let queue = registry.queue_of(None).expect("one model");
    let placed: Vec<_> = (0..3).filter_map(|_| place(&mut registry, s(0))).collect();
    let known = |registry: &Registry| registry.signal(s(150), "p", "e").workers.len();
    live(&mut registry, 0, 70, &["a", "b"]);
    assert_eq!(known(&registry), 3, "c holds a permit");
    placed
        .iter()
        .for_each(|placed| registry.end(s(70), queue, placed.ticket, None, Outcome::Aborted));
    live(&mut registry, 70, 71, &["a", "b"]);
    assert_eq!(known(&registry), 2);
    live(&mut registry, 71, 140, &[]);
    assert_eq!(
        known(&registry),
        2,
        "all vanished together: none is forgotten"
    );
}

#[test]
fn a_worker_that_is_heard_but_cannot_be_reached_is_kept_out_longer_each_time() {
    let mut registry = registry_with(&["a"]);
    let queue = registry.queue_of(None).expect("one model");
    place(&mut registry, s(0)).expect("a free slot");
    let mut tries = 0;
    for second in 1..60 {
        registry
            .heartbeat(s(second), heartbeat("a", 1 + second))
            .expect("a good heartbeat");
        registry.refresh(s(second));
        if let Some(placed) = place(&mut registry, s(second)) {
            registry.set_back(
                s(second),
                queue,
                placed.ticket,
                placed.endpoint,
                AttemptError::Unreachable,
            );
            tries += 1;
        }
    }
    assert!((3..=8).contains(&tries), "{tries} tries in a minute");
}

#[test]
fn orders_are_repeated_until_they_are_carried_out() {
    let mut registry = registry_with(&["a"]);
    registry.drain(s(1), "a").expect("it is known");
    assert_eq!(place(&mut registry, s(1)), None);
    assert_eq!(
        registry.heartbeat(s(1), heartbeat("a", 2)),
        Ok(Some(Order::Drain))
    );
    let draining = |sequence| Heartbeat {
        state: WorkerState::Draining,
        ..heartbeat("a", sequence)
    };
    assert_eq!(registry.heartbeat(s(2), draining(3)), Ok(None));
    registry.undrain(s(2), "a").expect("it is known");
    assert_eq!(
        registry.heartbeat(s(3), draining(4)),
        Ok(Some(Order::Undrain))
    );
    assert_eq!(registry.heartbeat(s(4), heartbeat("a", 5)), Ok(None));
    assert_eq!(
        registry.heartbeat(s(5), draining(6)),
        Ok(None),
        "a worker that drains by itself may"
    );
    assert!(registry.drain(s(5), "b").is_err());
}

#[test]
fn a_worker_that_failed_a_try_is_passed_over_until_its_next_heartbeat() {
    for attempt_error in [
        AttemptError::Unreachable,
        AttemptError::Died,
        AttemptError::NotReady,
    ] {
        let mut registry = registry_with(&["a"]);
        let queue = registry.queue_of(None).expect("one model");
        let placed = place(&mut registry, s(1)).expect("a free slot");
        assert!(registry.set_back(s(1), queue, placed.ticket, placed.endpoint, attempt_error));
        assert_eq!(registry.hand_out(s(1), queue), None, "{attempt_error:?}");
        registry
            .heartbeat(s(2), heartbeat("a", 2))
            .expect("a good heartbeat");
        let again = registry.hand_out(s(2), queue).expect("a free slot");
        assert_eq!(again.ticket, placed.ticket);
    }
}

#[test]
fn a_full_worker_is_asked_again_after_a_pause_and_others_work_counts() {
    let mut registry = registry_with(&["a"]);
    let queue = registry.queue_of(None).expect("one model");
    let placed = place(&mut registry, s(1)).expect("a free slot");
    registry.set_back(
        s(1),
        queue,
        placed.ticket,
        placed.endpoint,
        AttemptError::Full,
    );
    registry.refresh(s(1) + Duration::from_millis(10));
    assert_eq!(registry.hand_out(s(1), queue), None);
    registry.refresh(s(1) + Duration::from_millis(30));
    assert!(registry.hand_out(s(1), queue).is_some());
    let busy = Heartbeat {
        busy: 2,
        yours: 1,
        ..heartbeat("a", 2)
    };
    registry.heartbeat(s(2), busy).expect("a good heartbeat");
    assert_eq!(
        place(&mut registry, s(2)),
        None,
        "one permit here and one slot elsewhere"
    );
}

#[test]
fn a_reboot_gets_a_new_endpoint_and_a_late_heartbeat_of_the_old_one_is_ignored() {
    let mut registry = registry_with(&["a"]);
    let first = place(&mut registry, s(1)).expect("a free slot");
    let rebooted = Heartbeat {
        boot: "2".to_owned(),
        ..heartbeat("a", 1)
    };
    registry
        .heartbeat(s(2), rebooted)
        .expect("a good heartbeat");
    let second = place(&mut registry, s(2)).expect("a free slot");
    assert_ne!(first.endpoint, second.endpoint);
    let signal = registry.signal(s(2), "p", "e");
    assert_eq!((signal.workers.len(), signal.workers[0].permits), (1, 1));
    assert_eq!(
        signal.models[0].in_flight, 2,
        "the old boot's request may still answer"
    );
}

#[test]
fn a_queue_goes_when_neither_configured_nor_staffed_nor_waited_for() {
    let mut registry = Registry::new(RegistryConfig {
        models: vec!["kept".to_owned()],
        ..RegistryConfig::default()
    });
    let of_model = |worker: &str, sequence, model: &str| Heartbeat {
        model: model.to_owned(),
        ..heartbeat(worker, sequence)
    };
    (registry.heartbeat(s(0), of_model("old", 1, "m-v1"))).expect("a good heartbeat");
    let queue = registry.queue_of(Some("m-v1")).expect("it is served");
    let ask = Ask::new(s(0), s(60));
    let ticket = registry.arrive(s(0), queue, ask).expect("there is room");
    let placed = registry.hand_out(s(0), queue).expect("a free slot");
    let draining = Heartbeat {
        state: WorkerState::Draining,
        ..of_model("old", 2, "m-v1")
    };
    registry
        .heartbeat(s(1), draining)
        .expect("a good heartbeat");
    for second in 2..8 {
        registry.refresh(s(second));
    }
    assert!(registry.queue_of(Some("m-v1")).is_ok(), "a request runs");
    registry.end(
        s(8),
        queue,
        ticket,
        Some(placed.endpoint),
        Outcome::Answered,
    );
    for second in 8..20 {
        registry.refresh(s(second));
    }
    assert_eq!(registry.queue_of(Some("m-v1")), Err(NoSuchModel::Unknown));
    assert!(registry.queue_of(Some("kept")).is_ok());
    let signal = registry.signal(s(20), "p", "e");
    assert_eq!((signal.models.len(), signal.workers.len()), (1, 0));
    (registry.heartbeat(s(21), of_model("new", 1, "m-v1"))).expect("a good heartbeat");
    let again = registry.queue_of(Some("m-v1")).expect("it is served again");
    assert_ne!(again, queue);
    let signal = registry.signal(s(21), "p", "e");
    assert_eq!(signal.models[1].began_ms, 21_000, "its counters begin anew");
}

#[test]
fn a_body_without_a_model_goes_to_the_one_that_stays() {
    let mut registry = Registry::new(RegistryConfig::default());
    for named in [None, Some("m-v1")] {
        assert_eq!(registry.queue_of(named), Err(NoSuchModel::NoneYet));
    }
    let of = |worker: &str, sequence, model: &str, state| Heartbeat {
        model: model.to_owned(),
        state,
        ..heartbeat(worker, sequence)
    };
    for (worker, model) in [("a", "m-v1"), ("b", "m-v2")] {
        let said = of(worker, 1, model, WorkerState::Ready);
        registry.heartbeat(s(0), said).expect("a good heartbeat");
    }
    assert_eq!(registry.queue_of(None), Err(NoSuchModel::Ambiguous));
    let leaves = of("a", 2, "m-v1", WorkerState::Draining);
    registry.heartbeat(s(1), leaves).expect("a good heartbeat");
    assert_eq!(registry.queue_of(None), registry.queue_of(Some("m-v2")));
    let stays = of("a", 3, "m-v1", WorkerState::Ready);
    registry.heartbeat(s(2), stays).expect("a good heartbeat");
    assert_eq!(registry.queue_of(None), Err(NoSuchModel::Ambiguous));
}

#[test]
fn heartbeats_that_make_no_sense_are_refused_and_change_nothing() {
    let mut registry = registry_with(&["a"]);
    let port_0 = Heartbeat {
        address: "127.0.0.1:0".parse().expect("an address"),
        ..heartbeat("b", 1)
    };
    assert_eq!(
        registry.heartbeat(s(1), port_0),
        Err(HeartbeatRefused::NoPort)
    );
    let long = Heartbeat {
        instance: Some("i".repeat(60_000)),
        ..heartbeat("b", 1)
    };
    let field = "instance";
    assert_eq!(
        registry.heartbeat(s(1), long),
        Err(HeartbeatRefused::BadName { field })
    );
    let other_model = Heartbeat {
        model: "n".to_owned(),
        ..heartbeat("a", 2)
    };
    assert!(registry.heartbeat(s(1), other_model).is_err());
    assert_eq!(registry.models().collect::<Vec<_>>(), ["m"]);
    assert!(place(&mut registry, s(1)).is_some(), "it serves m on");
}
