//! Workers as their beats describe them: who is handed requests, and who is told what.

use std::time::Duration;

use tidegate_line::{Ask, Floor, FloorConfig, Moment, Outcome, Placement, Setback};
use tidegate_wire::{Beat, Order, VERSION, WorkerState};

fn s(seconds: u64) -> Moment {
    Duration::from_secs(seconds)
}

fn beat(worker: &str, sequence: u64) -> Beat {
    Beat {
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
        queue: 0,
        state: WorkerState::Ready,
    }
}

fn floor_with(workers: &[&str]) -> Floor {
    let mut floor = Floor::new(FloorConfig::default());
    for worker in workers {
        floor.beat(s(0), beat(worker, 1)).expect("a good beat");
    }
    floor
}

fn taking(floor: &Floor, now: Moment) -> Vec<String> {
    let signal = floor.signal(now, "p", "e");
    let taking = signal.workers.into_iter().filter(|worker| worker.taking);
    taking.map(|worker| worker.worker).collect()
}

fn place(floor: &mut Floor, now: Moment) -> Option<Placement> {
    let line = floor.line_of(None).expect("one model");
    let ask = Ask {
        arrived: now,
        deadline: now + s(60),
        bytes: 0,
    };
    floor.arrive(now, line, ask).expect("there is room");
    floor.hand_out(now, line)
}

/// Refreshes ten times a second, as the proxy does, with beats from these workers.
fn live(floor: &mut Floor, from: u64, to: u64, beating: &[&str]) {
    for tenth in from * 10..to * 10 {
        let now = Duration::from_millis(tenth * 100);
        if tenth % 10 == 0 {
            for worker in beating {
                floor
                    .beat(now, beat(worker, 100 + tenth))
                    .expect("a good beat");
            }
        }
        floor.refresh(now);
    }
}

#[test]
fn a_silent_worker_takes_nothing_but_when_most_vanish_none_is_dropped() {
    let mut floor = floor_with(&["a", "b", "c"]);
    live(&mut floor, 0, 6, &["a", "b"]);
    let on: Vec<_> = (0..5).map(|_| place(&mut floor, s(6))).collect();
    assert_eq!(on.iter().flatten().count(), 4, "the slots of a and b");
    let mut floor = floor_with(&["a", "b", "c"]);
    live(&mut floor, 0, 6, &["a"]);
    let on: Vec<_> = (0..7).map(|_| place(&mut floor, s(6))).collect();
    assert_eq!(
        on.iter().flatten().count(),
        6,
        "two of three vanished: all are kept"
    );
}

#[test]
fn a_proxy_that_did_not_run_blames_no_worker() {
    let mut floor = floor_with(&["a", "b", "c"]);
    live(&mut floor, 0, 2, &["a", "b", "c"]);
    floor.refresh(s(90));
    assert_eq!(taking(&floor, s(90)), ["a", "b", "c"]);
}

#[test]
fn who_is_gone_for_long_is_forgotten_once_its_permits_are_back() {
    let mut floor = floor_with(&["a", "b", "c"]);
    let line = floor.line_of(None).expect("one model");
    let placed: Vec<_> = (0..3).filter_map(|_| place(&mut floor, s(0))).collect();
    let known = |floor: &Floor| floor.signal(s(150), "p", "e").workers.len();
    live(&mut floor, 0, 70, &["a", "b"]);
    assert_eq!(known(&floor), 3, "c holds a permit");
    placed
        .iter()
        .for_each(|placed| floor.end(s(70), line, placed.ticket, None, Outcome::Aborted));
    live(&mut floor, 70, 71, &["a", "b"]);
    assert_eq!(known(&floor), 2);
    live(&mut floor, 71, 140, &[]);
    assert_eq!(known(&floor), 2, "all vanished together: none is forgotten");
}

#[test]
fn a_worker_that_beats_but_cannot_be_reached_is_kept_out_longer_each_time() {
    let mut floor = floor_with(&["a"]);
    let line = floor.line_of(None).expect("one model");
    place(&mut floor, s(0)).expect("a free slot");
    let mut tries = 0;
    for second in 1..60 {
        floor
            .beat(s(second), beat("a", 1 + second))
            .expect("a good beat");
        floor.refresh(s(second));
        if let Some(placed) = place(&mut floor, s(second)) {
            floor.set_back(
                s(second),
                line,
                placed.ticket,
                placed.seat,
                Setback::Unreachable,
            );
            tries += 1;
        }
    }
    assert!((3..=8).contains(&tries), "{tries} tries in a minute");
}

#[test]
fn orders_are_repeated_until_they_are_carried_out() {
    let mut floor = floor_with(&["a"]);
    floor.drain(s(1), "a").expect("it is known");
    assert_eq!(place(&mut floor, s(1)), None);
    assert_eq!(floor.beat(s(1), beat("a", 2)), Ok(Some(Order::Drain)));
    let draining = |sequence| Beat {
        state: WorkerState::Draining,
        ..beat("a", sequence)
    };
    assert_eq!(floor.beat(s(2), draining(3)), Ok(None));
    floor.undrain(s(2), "a").expect("it is known");
    assert_eq!(floor.beat(s(3), draining(4)), Ok(Some(Order::Undrain)));
    assert_eq!(floor.beat(s(4), beat("a", 5)), Ok(None));
    assert_eq!(
        floor.beat(s(5), draining(6)),
        Ok(None),
        "a worker that drains by itself may"
    );
    assert!(floor.drain(s(5), "b").is_err());
}

#[test]
fn a_worker_that_failed_a_try_is_passed_over_until_its_next_beat() {
    for setback in [Setback::Unreachable, Setback::Died, Setback::NotReady] {
        let mut floor = floor_with(&["a"]);
        let line = floor.line_of(None).expect("one model");
        let placed = place(&mut floor, s(1)).expect("a free slot");
        assert!(floor.set_back(s(1), line, placed.ticket, placed.seat, setback));
        assert_eq!(floor.hand_out(s(1), line), None, "{setback:?}");
        floor.beat(s(2), beat("a", 2)).expect("a good beat");
        let again = floor.hand_out(s(2), line).expect("a free slot");
        assert_eq!(again.ticket, placed.ticket);
    }
}

#[test]
fn a_full_worker_is_asked_again_after_a_pause_and_others_work_counts() {
    let mut floor = floor_with(&["a"]);
    let line = floor.line_of(None).expect("one model");
    let placed = place(&mut floor, s(1)).expect("a free slot");
    floor.set_back(s(1), line, placed.ticket, placed.seat, Setback::Full);
    floor.refresh(s(1) + Duration::from_millis(10));
    assert_eq!(floor.hand_out(s(1), line), None);
    floor.refresh(s(1) + Duration::from_millis(30));
    assert!(floor.hand_out(s(1), line).is_some());
    let busy = Beat {
        busy: 2,
        yours: 1,
        ..beat("a", 2)
    };
    floor.beat(s(2), busy).expect("a good beat");
    assert_eq!(
        place(&mut floor, s(2)),
        None,
        "one permit here and one slot elsewhere"
    );
}

#[test]
fn a_reboot_gets_a_new_seat_and_a_late_beat_of_the_old_one_is_ignored() {
    let mut floor = floor_with(&["a"]);
    let first = place(&mut floor, s(1)).expect("a free slot");
    let rebooted = Beat {
        boot: "2".to_owned(),
        ..beat("a", 1)
    };
    floor.beat(s(2), rebooted).expect("a good beat");
    let second = place(&mut floor, s(2)).expect("a free slot");
    assert_ne!(first.seat, second.seat);
    let signal = floor.signal(s(2), "p", "e");
    assert_eq!((signal.workers.len(), signal.workers[0].permits), (1, 1));
    assert_eq!(
        signal.models[0].in_flight, 2,
        "the old boot's request may still answer"
    );
}
