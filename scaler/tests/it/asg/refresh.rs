//! An instance refresh.

use super::*;

#[tokio::test]
async fn nothing_is_removed_while_a_refresh_replaces_instances_each_after_its_drain() {
    let mut scene = Scene::new(hooked(2));
    for number in 1..=9 {
        scene.sees(&format!("i-{number:08x}"), |_| ());
    }
    scene.ticks(60).await;
    scene.group.world().begin_refresh();
    let held = scene
        .until("it is seen", |status| status.scale_in_held.is_some())
        .await;
    assert_eq!(
        held.scale_in_held.as_deref(),
        Some("instance refresh refresh-2 is under way")
    );
    for _ in 0..300 {
        let status = scene.tick().await;
        for id in &status.to_drain {
            scene.sees(id, |description| description.draining = true);
        }
    }
    let status = scene.tick().await;
    assert_eq!(ids(&status), ["i-00000003", "i-00000004"]);
    assert_eq!(status.scale_in_held, None);
    assert_eq!(scene.ended, ["i-00000001", "i-00000002"]);
    assert_eq!(scene.notices.last(), Some(&Notice::RefreshOver));
    assert_eq!(scene.calls(ENDS) + scene.calls(SETS), 0);
}
