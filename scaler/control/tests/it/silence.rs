//! Workers that were ready and are not heard of any more.

use tidegate_control::{Guard, Stage};

use crate::stage::{POLICY, Scene, at, observation, report, seen};

#[test]
fn a_silent_worker_is_replaced_unless_it_still_holds_a_permit() {
    let mut scene = Scene::new(POLICY, 2);
    let heard = scene.now();
    scene.workers[1].stage = Stage::Serving { heard };
    let fleet = |workers: &[tidegate_control::Worker]| tidegate_control::Fleet {
        workers: workers.to_vec(),
        ..tidegate_control::Fleet::default()
    };
    let mut tick = |second: u64, permits: u32| {
        let now = at(second);
        scene.workers[0].stage = Stage::Serving { heard: now };
        let mut seen = seen(0, 8);
        seen.workers = vec![report("w-1", 4), report("w-2", permits)];
        let seen = observation(Some(seen));
        scene.law.decide(now, &seen, &fleet(&scene.workers)).action
    };
    assert_eq!(tick(200, 1).replace, []);
    let replaced = tick(201, 0).replace;
    assert_eq!(replaced.len(), 1);
    assert_eq!(replaced[0].id, "w-2");
}

/// Ticks in which these workers of `scene`, idle by what the proxy says, are never heard of
/// again, each a second after the other; what was replaced and the guards of the last tick.
fn silenced(scene: &mut Scene, silent: &[usize], ticks: u64) -> (Vec<String>, Vec<Guard>) {
    let fell = scene.now();
    let (mut replaced, mut guards) = (Vec::new(), Vec::new());
    for id in ["w-1", "w-2", "w-3", "w-4"] {
        scene.permits(id, 0);
    }
    for _ in 0..ticks {
        let next = at(scene.second + 1);
        for (index, worker) in scene.workers.iter_mut().enumerate() {
            let heard = match silent.contains(&index) {
                true => fell + std::time::Duration::from_secs(index as u64),
                false => next,
            };
            worker.stage = Stage::Serving { heard };
        }
        let decision = scene.tick_as_is(0, 16);
        assert!(decision.action.drain.is_empty(), "{decision}");
        replaced.extend(decision.action.replace.into_iter().map(|r| r.id));
        guards = decision.reason.guards;
        scene
            .workers
            .retain(|worker| !replaced.contains(&worker.id));
    }
    (replaced, guards)
}

#[test]
fn when_most_workers_fall_silent_together_none_is_replaced() {
    for silent in [&[0, 1, 2, 3][..], &[1, 2, 3]] {
        let mut scene = Scene::new(POLICY, 4);
        let (replaced, guards) = silenced(&mut scene, silent, 100);
        assert_eq!((replaced, guards), (vec![], vec![Guard::MassSilence]));
    }
}

#[test]
fn up_to_half_of_the_workers_are_replaced_when_they_fall_silent_and_a_lone_one_is() {
    let mut scene = Scene::new(POLICY, 4);
    let (replaced, _) = silenced(&mut scene, &[2, 3], 34);
    assert_eq!(replaced, ["w-3", "w-4"]);
    let mut scene = Scene::new(POLICY, 1);
    assert_eq!(silenced(&mut scene, &[0], 31).0, ["w-1"]);
}

/// As [`silenced`], with so many requests answered in each tick, and others that wait.
fn silent_under_load(scene: &mut Scene, ticks: u64, served: u64) -> Vec<String> {
    let fell = scene.now();
    let mut replaced = Vec::new();
    for id in ["w-1", "w-2"] {
        scene.permits(id, 0);
        scene.set(id, Stage::Serving { heard: fell });
    }
    for _ in 0..ticks {
        scene.second += 1;
        let now = scene.now();
        let mut seen = seen(100, 0);
        seen.served = served;
        seen.workers = scene.reports.clone();
        let fleet = tidegate_control::Fleet {
            workers: scene.workers.clone(),
            ..tidegate_control::Fleet::default()
        };
        let decision = scene.law.decide(now, &observation(Some(seen)), &fleet);
        replaced.extend(decision.action.replace.into_iter().map(|r| r.id));
        if !replaced.is_empty() {
            break;
        }
    }
    replaced
}

#[test]
fn silent_workers_that_answer_nothing_are_replaced_in_the_end() {
    let mut scene = Scene::new(POLICY, 2);
    assert_eq!(silent_under_load(&mut scene, 300, 0), Vec::<String>::new());
    let mut scene = Scene::new(POLICY, 2);
    assert_eq!(silent_under_load(&mut scene, 302, 0), ["w-1", "w-2"]);
}

#[test]
fn silent_workers_that_answer_are_not_replaced_however_long_it_lasts() {
    let mut scene = Scene::new(POLICY, 2);
    let none = Vec::<String>::new();
    assert_eq!(silent_under_load(&mut scene, 1200, 3), none);
}
