//! Launches that do not come.

use super::*;

#[tokio::test]
async fn capacity_that_is_short_is_told_not_counted_on_and_not_asked_for_until_it_is_back() {
    let mut scene = Scene::serving(1).await;
    let offering = |zone: &str| ("c7i.large".to_owned(), format!("eu-central-1{zone}"));
    scene.group.world().faults.short = [offering("a"), offering("b")].into();
    scene.grow(2).await.expect("it is accepted");
    let status = scene
        .until("it is known to be short", |status| status.is_short)
        .await;
    assert_eq!(ids(&status).len(), 1, "what does not come does not count");
    let Err(FleetError::Short { what, .. }) = scene.grow(2).await else {
        panic!("it was asked for again");
    };
    assert_eq!(
        what,
        "c7i.large in eu-central-1a, c7i.large in eu-central-1b"
    );
    scene.ticks(30).await;
    assert_eq!(scene.notices.len(), 1, "{:?}", scene.notices);
    assert_eq!((scene.desired(), scene.calls(SETS)), (3, 1));

    scene.group.world().faults.short.clear();
    let status = scene
        .until("it comes", |status| ids(status).len() == 3)
        .await;
    assert!(!status.is_short);
    assert_eq!(scene.notices.last(), Some(&Notice::CapacityBack));
    scene.grow(1).await.expect("it may grow again");
}

#[tokio::test]
async fn one_short_pool_does_not_keep_the_group_from_growing() {
    let mut scene = Scene::serving(1).await;
    let short = ("c7i.large".to_owned(), "eu-central-1a".to_owned());
    scene.group.world().faults.short = [short].into();
    // What fails in one zone comes in the other; the failures are known all the same.
    for _ in 0..4 {
        scene.grow(1).await.expect("the other zone has some");
        scene.ticks(60).await;
    }
    let status = scene.ticks(60).await;
    assert_eq!(ids(&status).len(), 5);
}

#[tokio::test]
async fn launches_that_never_came_are_cancelled_when_the_fleet_shrinks() {
    let mut scene = Scene::serving(3).await;
    let offering = |zone: &str| ("c7i.large".to_owned(), format!("eu-central-1{zone}"));
    scene.group.world().faults.short = [offering("a"), offering("b")].into();
    scene.grow(4).await.expect("it is accepted");
    scene.until("it is short", |status| status.is_short).await;
    scene.fleet.remove("i-00000001").await.expect("it is there");
    assert_eq!(scene.desired(), 2, "not 6");
    scene.group.world().faults.short.clear();
    let status = scene.ticks(60).await;
    assert_eq!(ids(&status), ["i-00000002", "i-00000003"]);
}
