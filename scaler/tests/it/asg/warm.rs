//! Instances in the warm pool, and in standby.

use super::*;

/// A group whose pool holds `warm` instances beside `desired` that serve.
async fn with_pool(desired: u32, warm: u32, shape: Shape) -> Scene {
    let mut scene = Scene::new(Shape {
        desired,
        warm,
        max: 6,
        ..shape
    });
    scene.ticks(90).await;
    scene
}

fn ids_in(scene: &Scene, state: State) -> Vec<String> {
    let description = scene.group.world().description();
    let found = description.instances.iter().filter(|i| i.state == state);
    found.map(|instance| instance.id.clone()).collect()
}

#[tokio::test]
async fn what_is_in_the_pool_is_no_member_takes_no_requests_and_is_neither_ended_nor_replaced() {
    let mut scene = with_pool(2, 3, Shape::default()).await;
    let status = scene.tick().await;
    let pool = ids_in(&scene, State::Warm);
    assert_eq!((ids(&status).len(), pool.len(), status.warm), (2, 3, 3));
    assert!(ids(&status).iter().all(|id| !pool.contains(id)));
    assert_eq!(status.to_drain, pool, "no proxy gives them requests");
    assert_eq!(status.desired, Some(2));
    for id in &pool {
        let now = scene.now();
        let removed = scene.fleet.remove(id).await;
        assert!(
            matches!(removed, Err(FleetError::Unknown { .. })),
            "{removed:?}"
        );
        scene.fleet.replace(now, id).await.expect_err("no member");
    }
    scene.ticks(300).await;
    assert_eq!(scene.calls(ENDS) + scene.calls(SETS), 0);
    assert!(scene.notices.is_empty() && scene.ended.is_empty());
    assert_eq!(ids_in(&scene, State::Warm), pool);
}

#[tokio::test]
async fn growth_comes_from_the_pool_which_fills_up_again_and_serves_sooner() {
    let mut scene = with_pool(1, 2, Shape::default()).await;
    let pool = ids_in(&scene, State::Warm);
    let asked = scene.now();
    scene.grow(2).await.expect("it grows");
    let status = scene
        .until("they come", |status| {
            ids(status).iter().filter(|id| pool.contains(id)).count() == 2
        })
        .await;
    let from_pool = status.members.iter().filter(|m| pool.contains(&m.id));
    // The lead time that is learned is theirs from the growth, not from when the pool was filled.
    assert!(from_pool.clone().all(|member| member.launched == asked));
    assert_eq!((ids(&status).len(), status.desired), (3, Some(3)));
    let works = |scene: &Scene| {
        let working = scene.group.world().working();
        pool.iter().all(|id| working.contains(id))
    };
    while !works(&scene) {
        scene.tick().await;
        assert!(scene.now().since(asked) < Duration::from_secs(20), "sooner");
    }
    let status = scene
        .until("they are in service", |status| status.warm == 2)
        .await;
    assert!(pool.iter().all(|id| !status.to_drain.contains(id)));
    let status = scene.ticks(90).await;
    assert_eq!((ids(&status).len(), status.to_drain.len()), (3, 2));
    assert_eq!((scene.calls(SETS), scene.calls(ENDS)), (1, 0));
    assert!(scene.notices.is_empty(), "{:?}", scene.notices);
}

#[tokio::test]
async fn the_bounds_are_the_groups_whatever_its_pool_holds() {
    let mut scene = with_pool(5, 3, Shape::default()).await;
    scene.grow(2).await.expect("one of the two fits");
    let refused = scene.grow(1).await;
    assert!(matches!(refused, Err(FleetError::AtMaximum { max: 6 })));
    let status = scene.ticks(90).await;
    assert_eq!(
        (ids(&status).len(), scene.desired(), status.warm),
        (6, 6, 3)
    );
    let last = ids(&status).pop().expect("it has members");
    scene.fleet.remove(&last).await.expect("it is a member");
    let status = scene.ticks(60).await;
    assert_eq!(
        (ids(&status).len(), scene.desired(), status.warm),
        (5, 5, 3)
    );
}

#[tokio::test]
async fn one_that_is_prepared_for_the_pool_goes_to_sleep_when_its_model_has_answered() {
    let mut scene = with_pool(0, 1, hooked(0)).await;
    let [id] = ids_in(&scene, State::WarmWait).try_into().expect("one");
    let status = scene.tick().await;
    assert!(status.members.is_empty() && status.to_drain.is_empty());
    scene.sees(&id, |description| description.permits = 1);
    scene.ticks(3).await;
    let status = scene.tick().await;
    assert_eq!(
        status.to_drain,
        std::slice::from_ref(&id),
        "it has answered, and shall sleep"
    );
    assert_eq!(scene.calls("CompleteLifecycleAction"), 0, "it is busy");
    scene.sees(&id, |description| description.draining = true);
    scene.ticks(5).await;
    assert_eq!(state(&scene, &id), Some(State::Warm));
    assert_eq!(scene.calls("CompleteLifecycleAction"), 1);

    scene.grow(1).await.expect("it grows");
    scene
        .until("it leaves the pool", |status| ids(status).contains(&id))
        .await;
    scene.sees(&id, |description| description.ready = false);
    scene.ticks(20).await;
    assert_eq!(
        state(&scene, &id),
        Some(State::PendingWait),
        "not yet ready"
    );
    scene.sees(&id, |_| ());
    scene.ticks(3).await;
    assert_eq!(state(&scene, &id), Some(State::InService));
}

#[tokio::test]
async fn one_in_standby_drains_is_no_member_and_is_neither_ended_nor_replaced() {
    let mut scene = Scene::serving(3).await;
    let aside = "i-00000002".to_owned();
    let before = scene.tick().await.members.into_iter();
    let before = before.map(|m| (m.id, m.launched)).collect::<Vec<_>>();
    let asked = scene.now();
    scene.group.world().stand_by(&aside);
    let status = scene
        .until("it is seen", |status| status.to_drain.contains(&aside))
        .await;
    assert_eq!(ids(&status), ["i-00000001", "i-00000003"]);
    let status = scene.ticks(300).await;
    assert_eq!(ids(&status), ["i-00000001", "i-00000003"]);
    assert_eq!(
        (status.to_drain, status.desired),
        (vec![aside.clone()], Some(2))
    );
    let removed = scene.fleet.remove(&aside).await;
    assert!(
        matches!(removed, Err(FleetError::Unknown { .. })),
        "{removed:?}"
    );
    assert_eq!(scene.calls(ENDS) + scene.calls(SETS), 0);
    assert!(
        scene.ended.is_empty(),
        "it has not ended: {:?}",
        scene.ended
    );
    let events = [Notice::SizedByOthers { from: 3, to: 2 }];
    assert_eq!(scene.notices, events);

    scene.group.world().return_from_standby(&aside);
    let status = scene
        .until("it is back", |status| {
            ids(status).len() == 3 && status.to_drain.is_empty()
        })
        .await;
    // Those that stayed are as old as they were; its lead time has begun anew.
    for member in status.members {
        match member.id == aside {
            true => assert!(member.launched > asked + Duration::from_secs(300)),
            false => assert!(before.contains(&(member.id, member.launched))),
        }
    }
    scene.ticks(60).await;
    assert_eq!(scene.calls(ENDS) + scene.calls(SETS), 0);
}
