//! Everything at once, by seed.

use super::*;

/// A controller without memory or manners asks for random sizes; the group answers as it will.
async fn survives(seed: u64) {
    let mut scene = Scene::of_seed(
        seed,
        Shape {
            max: 12,
            ..hooked(3)
        },
    );
    {
        let faults = &mut scene.group.world().faults;
        faults.lag = Duration::from_secs(15);
        (faults.throttled, faults.reply_lost, faults.not_arrived) = (0.05, 0.05, 0.05);
    }
    let mut chance = tidegate_control::chance::Chance::new(seed, "asks");
    for second in 0..1800_u32 {
        let working = scene.group.world().working();
        for id in working {
            scene.sees(&id, |description| description.draining = true);
        }
        let Ok(status) = scene.try_tick().await else {
            continue;
        };
        let here = ids(&status);
        if second % 20 == 0 {
            match chance.next_u64() % 4 {
                0 if here.len() < 10 => drop(scene.grow(2).await),
                1 if here.len() > 1 => drop(scene.fleet.remove_some(&here[1..]).await),
                2 if !here.is_empty() => {
                    let now = scene.now();
                    drop(scene.fleet.replace(now, &here[0]).await);
                }
                _ => {}
            }
        }
        let desired = scene.desired();
        assert!(desired <= 12, "seed {seed}: {desired} at {second}");
    }
    scene.group.world().faults = Default::default();
    let mut status = FleetStatus::default();
    for _ in 0..400 {
        let working = scene.group.world().working();
        for id in working {
            scene.sees(&id, |description| description.draining = true);
        }
        if let Ok(seen) = scene.try_tick().await {
            status = seen;
        }
    }
    let description = scene.group.world().description();
    let staying = description
        .instances
        .iter()
        .filter(|i| i.state == State::InService);
    let staying: Vec<String> = staying.map(|instance| instance.id.clone()).collect();
    assert_eq!(ids(&status), staying, "seed {seed}: it knows who is there");
    let foreign = |notice: &&Notice| matches!(notice, Notice::SizedByOthers { .. });
    let foreign: Vec<&Notice> = scene.notices.iter().filter(foreign).collect();
    assert!(foreign.is_empty(), "seed {seed}: {foreign:?}");
}

#[tokio::test]
async fn in_bad_weather_it_stays_within_bounds_and_ends_up_knowing_who_is_there() {
    for seed in 0..20 {
        survives(seed).await;
    }
}
