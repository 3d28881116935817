//! How often AWS is called, and what happens when it throttles or refuses.

use super::*;

#[tokio::test]
async fn a_quiet_group_is_looked_at_once_in_ten_seconds() {
    let mut scene = Scene::serving(2).await;
    let before = scene.calls(LOOKS);
    scene.ticks(600).await;
    let looks = scene.calls(LOOKS) - before;
    assert!((54..=66).contains(&looks), "{looks} looks in ten minutes");
    let all: u32 = scene.group.world().calls.values().sum();
    assert!(all < looks + 40, "{:?}", scene.group.world().calls);
}

#[tokio::test]
async fn when_aws_throttles_it_is_called_less_and_less_and_told_once() {
    let mut scene = Scene::serving(2).await;
    scene.group.world().faults.throttled = 1.0;
    let before: u32 = scene.group.world().calls.values().sum();
    for _ in 0..45 {
        scene.try_tick().await.expect("the last look still counts");
    }
    let error = scene.grow(1).await.expect_err("it is held back");
    assert!(matches!(error, FleetError::HeldBack { .. }), "{error}");
    let calls: u32 = scene.group.world().calls.values().sum::<u32>() - before;
    assert!((3..=6).contains(&calls), "{calls} calls in 45 s");
    assert_eq!(scene.notices.len(), 1, "{:?}", scene.notices);
    let mut blind = false;
    for _ in 0..60 {
        let is_blind = scene.try_tick().await.is_err();
        assert!(is_blind || !blind, "it stays so until it is seen again");
        blind = is_blind;
    }
    assert!(blind, "what is not seen for a minute is not known");
    scene.group.world().faults.throttled = 0.0;
    for _ in 0..65 {
        let _ = scene.try_tick().await;
    }
    scene.grow(1).await.expect("it works again");
}

#[tokio::test]
async fn new_instances_are_protected_where_the_group_does_not() {
    let mut scene = Scene::new(Shape {
        desired: 2,
        protects_new: false,
        ..Shape::default()
    });
    scene.ticks(60).await;
    let description = scene.group.world().description();
    assert!(
        description
            .instances
            .iter()
            .all(|instance| instance.protected)
    );
    assert!(scene.calls("SetInstanceProtection") <= 2);
    let group = "workers".to_owned();
    assert_eq!(scene.notices, [Notice::Unprotected { group }]);
}

#[tokio::test]
async fn what_a_role_does_not_allow_is_told_once_and_done_without() {
    let mut scene = Scene::new(Shape::default());
    scene.group.world().faults.denied = ["DescribeInstanceRefreshes"].into();
    let status = scene.ticks(200).await;
    assert_eq!(status.scale_in_held, None);
    let events: Vec<String> = scene.notices.iter().map(Notice::to_string).collect();
    assert_eq!(
        events[0],
        "whether an instance refresh runs cannot be read, so it is taken as absent: \
         DescribeInstanceRefreshes is not permitted: the role does not allow it"
    );
    assert_eq!(events.len(), 1);
}
