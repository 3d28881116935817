//! Lifecycle hooks: into service when the model answers, out of it when it has drained.

use super::*;

#[tokio::test]
async fn an_instance_is_in_service_when_its_model_answers() {
    let mut scene = Scene::new(hooked(1));
    scene.ticks(60).await;
    scene.sees("i-00000001", |description| description.ready = false);
    scene.ticks(20).await;
    assert_eq!(state(&scene, "i-00000001"), Some(State::PendingWait));
    scene.sees("i-00000001", |description| description.ready = true);
    scene.ticks(2).await;
    assert_eq!(state(&scene, "i-00000001"), Some(State::InService));
    assert_eq!(scene.calls("CompleteLifecycleAction"), 1);
}

#[tokio::test]
async fn an_instance_that_others_end_drains_first_and_is_waited_for() {
    let mut scene = Scene::new(hooked(1));
    scene.sees("i-00000001", |_| ());
    scene.ticks(60).await;
    scene.group.world().take_away("i-00000001");
    scene.sees("i-00000001", |description| description.permits = 2);
    let status = scene
        .until("it is to drain", |status| !status.to_drain.is_empty())
        .await;
    assert_eq!(status.to_drain, ["i-00000001"]);
    assert!(!ids(&status).contains(&"i-00000001".to_owned()));
    scene.sees("i-00000001", |description| {
        (description.permits, description.draining) = (1, true)
    });
    scene.ticks(40).await;
    assert_eq!(state(&scene, "i-00000001"), Some(State::LeavingWait));
    assert!(scene.calls("RecordLifecycleActionHeartbeat") >= 2);
    scene.sees("i-00000001", |description| description.draining = true);
    scene.tick().await;
    assert_eq!(state(&scene, "i-00000001"), Some(State::Leaving));
}

#[tokio::test]
async fn a_drain_without_an_end_is_given_up_at_its_limit() {
    let mut scene = Scene::new(hooked(1));
    scene.sees("i-00000001", |_| ());
    scene.ticks(60).await;
    scene.group.world().take_away("i-00000001");
    scene.sees("i-00000001", |description| {
        (description.permits, description.draining) = (1, true)
    });
    scene.ticks(50).await;
    assert_eq!(state(&scene, "i-00000001"), Some(State::LeavingWait));
    scene.ticks(30).await;
    assert!(matches!(
        state(&scene, "i-00000001"),
        None | Some(State::Leaving)
    ));
}

#[tokio::test]
async fn hooks_that_the_group_does_not_have_are_told() {
    let mut scene = Scene::new(hooked(0));
    scene.group.world().shape_mut().launch_hook = None;
    scene.ticks(5).await;
    let events: Vec<String> = scene.notices.iter().map(Notice::to_string).collect();
    assert_eq!(events, ["workers has no lifecycle hook ready"]);
}

#[tokio::test]
async fn one_that_leaves_the_warm_pool_is_let_go_by_its_termination_hook() {
    // Without a launch hook, at which one that sleeps would wait for its model to answer.
    let mut scene = Scene::new(Shape {
        warm: 1,
        launch_hook: None,
        ..hooked(1)
    });
    scene.ticks(120).await;
    let sleeper = scene.group.world().put_out_of_the_pool();
    let sleeper = sleeper.expect("one is kept warm");
    assert_eq!(state(&scene, &sleeper), Some(State::WarmLeavingWait));
    scene.ticks(30).await;
    assert!(
        !matches!(state(&scene, &sleeper), Some(State::WarmLeavingWait)),
        "nobody completed its hook"
    );
    assert!(scene.ended.is_empty(), "it was no member");
}
