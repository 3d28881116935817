//! How a member's stage follows from the fleet, the heartbeats and our own orders.

use tidegate_control::{Fleet, Member, Observation, Roster, Stage};

use crate::stage::{at, observation, report, seen};

fn members() -> Vec<Member> {
    vec![Member {
        id: "w-1".to_owned(),
        launched: at(0),
        leaving: false,
    }]
}

/// One proxy that reports `w-1` as ready or not, draining or not.
fn reports(ready: bool, draining: bool) -> Observation {
    let mut seen = seen(0, 0);
    let mut worker = report("w-1", 0);
    (worker.ready, worker.draining, worker.beat_age_ms) = (ready, draining, 0);
    seen.workers = vec![worker];
    observation(Some(seen))
}

#[test]
fn a_worker_serves_from_its_first_ready_beat() {
    let mut roster = Roster::default();
    let mut stage =
        |second, seen: &Observation| roster.update(at(second), &members(), seen)[0].stage;
    assert_eq!(stage(1, &observation(Some(seen(0, 0)))), Stage::Booting);
    assert_eq!(stage(2, &reports(false, false)), Stage::Booting);
    assert_eq!(
        stage(3, &reports(true, false)),
        Stage::Serving { heard: at(3) }
    );
    assert_eq!(
        stage(4, &observation(None)),
        Stage::Serving { heard: at(3) }
    );
    assert_eq!(
        stage(5, &reports(false, false)),
        Stage::Serving { heard: at(5) }
    );
}

#[test]
fn a_worker_drains_on_our_order_and_leaves_on_its_own() {
    let mut roster = Roster::default();
    roster.update(at(1), &members(), &reports(true, false));
    roster.drain(at(2), "w-1");
    let stage = |roster: &mut Roster, second, draining| {
        roster.update(at(second), &members(), &reports(true, draining))[0].stage
    };
    assert_eq!(
        stage(&mut roster, 3, true),
        Stage::Draining { since: at(2) }
    );
    roster.undrain(at(4), "w-1");
    assert_eq!(stage(&mut roster, 5, true), Stage::Serving { heard: at(5) });
    let since = at(16);
    assert_eq!(stage(&mut roster, 16, true), Stage::Quitting { since });
    assert_eq!(stage(&mut roster, 20, true), Stage::Quitting { since });
    let heard = at(21);
    assert_eq!(stage(&mut roster, 21, false), Stage::Serving { heard });
    let since = at(22);
    assert_eq!(stage(&mut roster, 22, true), Stage::Quitting { since });
}

#[test]
fn a_worker_that_is_gone_is_forgotten() {
    let mut roster = Roster::default();
    roster.update(at(1), &members(), &reports(true, false));
    roster.drain(at(2), "w-1");
    assert!(roster.update(at(3), &[], &reports(true, true)).is_empty());
    assert_eq!(roster.draining().count(), 0);
    let back = roster.update(at(4), &members(), &observation(None));
    assert_eq!(back[0].stage, Stage::Booting);
}

#[test]
fn an_operators_drain_is_known_until_it_is_taken_back_or_the_worker_is_gone() {
    let mut roster = Roster::default();
    roster.update(at(1), &members(), &reports(true, false));
    roster.keep_draining(at(2), "w-1");
    let workers = roster.update(at(3), &members(), &reports(true, true));
    assert_eq!(workers[0].stage, Stage::Draining { since: at(2) });
    assert!(roster.kept_draining().contains("w-1"));
    let fleet = Fleet {
        workers,
        kept_draining: vec!["w-1".to_owned()],
        ..Fleet::default()
    };
    let mut restarted = Roster::default();
    restarted.recall(&fleet);
    assert!(restarted.kept_draining().contains("w-1"));
    restarted.undrain(at(4), "w-1");
    assert!(restarted.kept_draining().is_empty());
    roster.update(at(5), &[], &reports(true, true));
    assert!(roster.kept_draining().is_empty());
}
