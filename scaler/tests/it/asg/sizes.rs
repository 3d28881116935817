//! Growth, bounds, and sizes that others set.

use super::*;

#[tokio::test]
async fn what_was_launched_is_described_at_once_and_as_an_instance_later() {
    let mut scene = Scene::new(Shape::default());
    scene.tick().await;
    let asked = scene.now();
    let names = scene.grow(3).await.expect("it grows");
    assert_eq!((names.len(), scene.desired()), (3, 3));
    let status = scene.tick().await;
    assert_eq!(status.members.len(), 3);
    let status = scene
        .until("instances show", |status| {
            ids(status).iter().all(|id| id.starts_with("i-"))
        })
        .await;
    assert_eq!(status.members.len(), 3);
    assert!(status.members.iter().all(|member| member.launched == asked));
    assert_eq!(scene.calls(SETS), 1);
    assert!(scene.notices.is_empty(), "{:?}", scene.notices);
}

#[tokio::test]
async fn a_launch_whose_reply_was_lost_is_not_made_twice() {
    let mut scene = Scene::new(Shape::default());
    scene.group.world().faults.lag = Duration::from_secs(20);
    scene.tick().await;
    scene.group.world().faults.reply_lost = 1.0;
    let error = scene.grow(2).await.expect_err("no reply");
    assert!(matches!(
        error,
        FleetError::Group(GroupError::NoReply { .. })
    ));
    scene.group.world().faults.reply_lost = 0.0;
    scene.ticks(2).await;
    scene.grow(2).await.expect("asked again");
    let status = scene.ticks(60).await;
    assert_eq!((scene.desired(), ids(&status).len()), (2, 2));
    assert!(scene.notices.is_empty(), "{:?}", scene.notices);
}

#[tokio::test]
async fn at_the_groups_minimum_nothing_is_asked_of_it() {
    let mut scene = Scene::serving(2).await;
    scene.group.world().shape_mut().min = 2;
    scene.ticks(15).await;
    let refused = scene.fleet.remove("i-00000001").await;
    assert!(matches!(refused, Err(FleetError::AtMinimum { min: 2 })));
    scene.group.world().shape_mut().max = 3;
    scene.ticks(15).await;
    let fits = scene.grow(2).await.expect("one of them fits");
    assert_eq!((fits.len(), scene.desired()), (1, 3));
    let refused = scene.grow(2).await;
    assert!(matches!(refused, Err(FleetError::AtMaximum { max: 3 })));
    assert_eq!((scene.calls(ENDS), scene.calls(SETS)), (0, 1));
    let limits = scene.fleet.limits();
    assert_eq!((limits.bounds.min, limits.bounds.max), (2, 3));
    let why = "the Auto Scaling Group workers allows 2 to 3";
    assert_eq!(limits.why.as_deref(), Some(why));
}

#[tokio::test]
async fn somebody_elses_size_is_told_once_and_not_fought() {
    let mut scene = Scene::serving(2).await;
    scene.group.world().set_desired(5).expect("it may");
    let status = scene.ticks(40).await;
    assert_eq!(ids(&status).len(), 5);
    assert_eq!(scene.notices, [Notice::SizedByOthers { from: 2, to: 5 }]);
    assert_eq!((scene.desired(), scene.calls(SETS)), (5, 0));

    scene.group.world().set_desired(1).expect("it may");
    let status = scene.ticks(60).await;
    assert_eq!(ids(&status).len(), 5, "all are protected");
    scene.notices.clear();
    scene.fleet.remove("i-00000001").await.expect("it is there");
    scene.ticks(60).await;
    assert_eq!(scene.desired(), 1, "it is lower than what there is already");
    let names = scene.grow(1).await.expect("it grows");
    assert_eq!((names.len(), scene.desired()), (1, 5));
    assert!(scene.notices.is_empty(), "{:?}", scene.notices);
}
