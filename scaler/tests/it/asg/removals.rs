//! Removals: exactly who was named, once, and many at a time.

use super::*;

#[tokio::test]
async fn it_removes_exactly_the_named_and_the_group_wants_one_less() {
    let mut scene = Scene::serving(3).await;
    scene.fleet.remove("i-00000002").await.expect("it is there");
    let status = scene.tick().await;
    assert_eq!(ids(&status), ["i-00000001", "i-00000003"]);
    assert_eq!(status.members.len(), 3, "it is described as leaving");
    scene
        .fleet
        .remove("i-00000002")
        .await
        .expect("once more changes nothing");
    let status = scene
        .until("it is gone", |status| status.members.len() == 2)
        .await;
    assert_eq!(ids(&status), ["i-00000001", "i-00000003"]);
    assert_eq!(scene.ended, ["i-00000002"]);
    assert_eq!((scene.desired(), scene.calls(ENDS)), (2, 1));
    let unknown = scene.fleet.remove("i-00000002").await;
    assert!(matches!(unknown, Err(FleetError::Unknown { .. })));
}

/// Removes one while a call fails by `faults`, as the scaler does: again at each tick.
async fn removed_in_bad_weather(lost: f64, not_arrived: f64) -> Scene {
    let mut scene = Scene::serving(3).await;
    {
        let mut world = scene.group.world();
        world.faults.lag = Duration::from_secs(4);
        (world.faults.reply_lost, world.faults.not_arrived) = (lost, not_arrived);
    }
    let failed = scene.fleet.remove("i-00000002").await;
    assert!(failed.is_err());
    scene.group.world().faults.reply_lost = 0.0;
    scene.group.world().faults.not_arrived = 0.0;
    for _ in 0..60 {
        let status = scene.tick().await;
        if ids(&status).contains(&"i-00000002".to_owned()) {
            scene.fleet.remove("i-00000002").await.expect("it works");
        }
    }
    scene
}

#[tokio::test]
async fn a_removal_whose_reply_was_lost_takes_one_away_and_not_two() {
    let scene = removed_in_bad_weather(1.0, 0.0).await;
    assert_eq!((scene.desired(), scene.calls(ENDS)), (2, 1));
    assert_eq!(scene.ended, ["i-00000002"]);
}

#[tokio::test]
async fn a_removal_that_did_not_arrive_is_made_after_a_look() {
    let scene = removed_in_bad_weather(0.0, 1.0).await;
    assert_eq!((scene.desired(), scene.calls(ENDS)), (2, 2));
    assert_eq!(scene.ended, ["i-00000002"]);
}

#[tokio::test]
async fn a_replaced_worker_goes_and_the_group_launches_another() {
    let mut scene = Scene::serving(2).await;
    let now = scene.now();
    let names = scene.fleet.replace(now, "i-00000001").await;
    assert_eq!(names.expect("it is there").len(), 1);
    let status = scene.tick().await;
    assert_eq!(ids(&status).len(), 2);
    let status = scene
        .until("the new one shows", |status| {
            ids(status) == ["i-00000002", "i-00000003"]
        })
        .await;
    assert!(!status.members.is_empty());
    assert_eq!((scene.desired(), scene.calls(SETS)), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn fifty_go_in_the_time_of_a_few_calls_in_the_order_in_which_they_were_named() {
    let mut scene = Scene::of_seed(
        1,
        Shape {
            desired: 50,
            max: 50,
            ..Shape::default()
        },
    );
    scene.ticks(60).await;
    // On average a call takes half of it.
    scene.group.world().faults.delay = Duration::from_millis(400);
    let all = ids(&scene.tick().await);
    assert_eq!(all.len(), 50);
    let began = tokio::time::Instant::now();
    let (mut left, mut goes) = (all.as_slice(), 0);
    while !left.is_empty() {
        let go = tokio::time::Instant::now();
        let done = scene.fleet.remove_some(left).await;
        assert!(done.iter().all(Result::is_ok) && (1..=10).contains(&done.len()));
        assert!(
            go.elapsed() <= Duration::from_millis(400),
            "one call's time"
        );
        (left, goes) = (&left[done.len()..], goes + 1);
        let (gone, stay) = all.split_at(all.len() - left.len());
        let machines = scene.group.world();
        let state = |id: &String| {
            let mut found = machines.machines();
            let machine = found.find(|machine| machine.instance.id == *id);
            machine.map(|machine| machine.stays())
        };
        assert!(gone.iter().all(|id| state(id) != Some(true)));
        assert!(stay.iter().all(|id| state(id) == Some(true)), "nobody else");
    }
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    assert_eq!((goes, scene.calls(ENDS), scene.desired()), (5, 50, 0));
    let status = scene.ticks(90).await;
    assert!(status.members.is_empty() && scene.notices.is_empty());
}

#[tokio::test]
async fn where_more_are_than_wanted_those_go_first_without_another_decrement() {
    let mut scene = Scene::serving(5).await;
    scene.group.world().set_desired(3).expect("it may");
    let here = ids(&scene.ticks(15).await);
    let first = scene.fleet.remove_some(&here[..4]).await;
    assert_eq!((first.len(), scene.desired()), (2, 3));
    let then = scene.fleet.remove_some(&here[2..4]).await;
    assert_eq!((then.len(), scene.desired()), (2, 1));
    assert!(first.iter().chain(&then).all(Result::is_ok));
    let status = scene.ticks(60).await;
    assert_eq!(ids(&status), here[4..]);
}

#[tokio::test]
async fn no_more_go_together_than_the_minimum_allows_and_what_is_named_twice_goes_once() {
    let mut scene = Scene::serving(4).await;
    scene.group.world().shape_mut().min = 2;
    let mut here = ids(&scene.ticks(15).await);
    here.push("i-nowhere".to_owned());
    let done = scene.fleet.remove_some(&here).await;
    let events: Vec<String> = (done.iter())
        .map(|done| match done {
            Ok(()) => "gone".to_owned(),
            Err(error) => error.to_string(),
        })
        .collect();
    let at_minimum = "the fleet's minimum of 2 is reached";
    let unknown = "there is no member i-nowhere";
    assert_eq!(events, ["gone", "gone", at_minimum, at_minimum, unknown]);
    assert_eq!((scene.calls(ENDS), scene.desired()), (2, 2));
}

#[tokio::test]
async fn refusals_of_calls_made_together_count_as_one_and_hold_the_rest_back() {
    let mut scene = Scene::serving(20).await;
    let here = ids(&scene.tick().await);
    scene.group.world().faults.throttled = 1.0;
    let before: u32 = scene.group.world().calls.values().sum();
    let first = scene.fleet.remove_some(&here).await;
    assert!(first.iter().all(Result::is_err));
    let rest = scene.fleet.remove_some(&here[first.len()..]).await;
    let held = |done: &Result<(), FleetError>| matches!(done, Err(FleetError::HeldBack { .. }));
    assert!(!rest.is_empty() && rest.iter().all(held));
    let calls: u32 = scene.group.world().calls.values().sum::<u32>() - before;
    assert_eq!((calls as usize, calls), (first.len(), scene.calls(ENDS)));
    scene.group.world().faults.throttled = 0.0;
    scene.ticks(2).await;
    let again = scene.fleet.remove_some(&here).await;
    assert!(again.iter().all(Result::is_ok), "a second later: {again:?}");
}

#[tokio::test]
async fn of_removals_made_together_those_without_a_reply_are_made_once() {
    for (lost, not_arrived) in [(0.5, 0.0), (0.0, 0.5), (0.3, 0.3)] {
        let mut scene = Scene::serving(12).await;
        {
            let faults = &mut scene.group.world().faults;
            faults.lag = Duration::from_secs(4);
            (faults.reply_lost, faults.not_arrived) = (lost, not_arrived);
        }
        let all = ids(&scene.tick().await);
        let leaving = &all[..8];
        for _ in 0..90 {
            let here = ids(&scene.tick().await);
            let left = leaving.iter().filter(|id| here.contains(id)).cloned();
            let left: Vec<String> = left.collect();
            scene.fleet.remove_some(&left).await;
        }
        scene.group.world().faults = Default::default();
        let status = scene.ticks(90).await;
        assert_eq!(
            ids(&status),
            all[8..],
            "lost {lost}, not arrived {not_arrived}"
        );
        assert_eq!(scene.desired(), 4);
        assert!(scene.notices.is_empty(), "{:?}", scene.notices);
    }
}

#[tokio::test]
async fn while_a_member_is_missed_none_is_removed() {
    let mut scene = Scene::serving(3).await;
    let status = scene.tick().await;
    assert_eq!(status.scale_in_held, None);
    // It vanishes without a word, and the group launches another.
    scene.group.world().vanish("i-00000002");
    let status = scene
        .until("it is missed", |status| status.scale_in_held.is_some())
        .await;
    let why = status.scale_in_held.unwrap_or_default();
    assert!(why.starts_with("i-00000002 is not seen"), "{why}");
    let status = scene
        .until("it is gone", |status| status.scale_in_held.is_none())
        .await;
    assert!(!ids(&status).contains(&"i-00000002".to_owned()));
    assert_eq!(scene.ended, ["i-00000002"]);
}
