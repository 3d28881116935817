//! The Auto Scaling Group as a fleet, before a group in memory that can be as bad as AWS on a bad
//! day.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegate_control::{Observation, ProxySight, Seen, Time, WorkerSight};
use tidegate_scaler::config::AsgRules;
use tidegate_scaler::fleet::asg::fake::{FakeGroup, Shape, World};
use tidegate_scaler::fleet::asg::group::{GroupError, State};
use tidegate_scaler::fleet::asg::{AsgFleet, Setup};
use tidegate_scaler::fleet::{Census, Fleet, FleetError, Notice};

const BEGIN_S: u64 = 1_000_000;

const LOOKS: &str = "DescribeAutoScalingGroups";
const SETS: &str = "SetDesiredCapacity";
const ENDS: &str = "TerminateInstanceInAutoScalingGroup";

/// A fleet, the group behind it, and what the proxies say of its workers.
struct Scene {
    fleet: AsgFleet<FakeGroup>,
    group: FakeGroup,
    second: Arc<AtomicU64>,
    seen: Observation,
    notices: Vec<Notice>,
    ended: Vec<String>,
}

fn rules(shape: &Shape) -> AsgRules {
    let hook = |key: &str, hook: &Option<(String, Duration)>| match hook {
        Some((name, _)) => format!("{key} = '{name}'\n"),
        None => String::new(),
    };
    let launch = hook("launch_hook", &shape.launch_hook);
    let terminate = hook("terminate_hook", &shape.terminate_hook);
    toml_of(&format!("group = 'workers'\n{launch}{terminate}"))
}

fn toml_of(text: &str) -> AsgRules {
    #[derive(serde::Deserialize)]
    struct Whole {
        asg: AsgRules,
    }
    impl tidegate_config::Check for Whole {}
    let text = format!("[asg]\n{text}");
    let whole: Whole = tidegate_config::parse(&text, "asg.toml".as_ref()).expect("it is valid");
    whole.asg
}

impl Scene {
    fn new(shape: Shape) -> Scene {
        Scene::of_seed(1, shape)
    }

    fn of_seed(seed: u64, shape: Shape) -> Scene {
        let second = Arc::new(AtomicU64::new(BEGIN_S));
        let (clock, rules) = (second.clone(), rules(&shape));
        let now = Time::from_ms(BEGIN_S * 1000);
        let group = FakeGroup::new(World::new(seed, now, shape), move || {
            Time::from_ms(clock.load(Ordering::Relaxed) * 1000)
        });
        let fleet = AsgFleet::new(Setup {
            group: group.clone(),
            rules,
            lead_time: Duration::from_secs(120),
            drain_limit: Duration::from_secs(60),
            launched: BTreeMap::new(),
        });
        Scene {
            fleet,
            group,
            second,
            seen: observation(Vec::new()),
            notices: Vec::new(),
            ended: Vec::new(),
        }
    }

    fn now(&self) -> Time {
        Time::from_ms(self.second.load(Ordering::Relaxed) * 1000)
    }

    async fn tick(&mut self) -> Census {
        self.try_tick().await.expect("the fleet is seen")
    }

    async fn try_tick(&mut self) -> Result<Census, FleetError> {
        self.second.fetch_add(1, Ordering::Relaxed);
        let census = self.fleet.describe(self.now()).await?;
        self.notices.extend(census.notices.iter().cloned());
        let ended = census.ended.iter();
        self.ended.extend(ended.map(|ended| ended.id.clone()));
        self.fleet.attend(self.now(), &self.seen).await;
        Ok(census)
    }

    async fn ticks(&mut self, count: u32) -> Census {
        let mut census = self.tick().await;
        for _ in 1..count {
            census = self.tick().await;
        }
        census
    }

    /// Ticks until the census is as wanted, for at most five minutes.
    async fn until(&mut self, what: &str, is_so: impl Fn(&Census) -> bool) -> Census {
        for _ in 0..300 {
            let census = self.tick().await;
            if is_so(&census) {
                return census;
            }
        }
        panic!(
            "{what}: not within five minutes; {:?}",
            self.group.world().sight()
        );
    }

    async fn grow(&mut self, count: u32) -> Result<Vec<String>, FleetError> {
        self.fleet.grow(self.now(), count).await
    }

    fn calls(&self, call: &'static str) -> u32 {
        self.group.world().calls.get(call).copied().unwrap_or(0)
    }

    fn desired(&self) -> u32 {
        self.group.world().desired()
    }

    /// The proxy says this of the worker on that instance.
    fn sees(&mut self, id: &str, change: impl Fn(&mut WorkerSight)) {
        let mut sights = match self.seen.proxies.pop().and_then(|proxy| proxy.seen) {
            Some(seen) => seen.workers,
            None => Vec::new(),
        };
        let mut sight = WorkerSight {
            id: id.to_owned(),
            ready: true,
            draining: false,
            slots: 8,
            permits: 0,
            elsewhere: 0,
            beat_age_ms: 300,
        };
        change(&mut sight);
        sights.retain(|other| other.id != id);
        sights.push(sight);
        sights.sort_by(|a, b| a.id.cmp(&b.id));
        self.seen = observation(sights);
    }

    /// `count` instances in service.
    async fn serving(count: u32) -> Scene {
        let mut scene = Scene::new(Shape {
            desired: count,
            ..Shape::default()
        });
        scene
            .until("they are in service", |census| {
                ids(census).len() as u32 == count
                    && ids(census).iter().all(|id| id.starts_with("i-"))
            })
            .await;
        scene.ticks(30).await;
        scene
    }
}

fn observation(workers: Vec<WorkerSight>) -> Observation {
    let seen = Seen {
        workers,
        ..Seen::default()
    };
    Observation {
        proxies: vec![ProxySight {
            source: "http://proxy".to_owned(),
            seen: Some(seen),
        }],
        ..Observation::default()
    }
}

fn ids(census: &Census) -> Vec<String> {
    let stays = census.members.iter().filter(|member| !member.leaving);
    stays.map(|member| member.id.clone()).collect()
}

#[tokio::test]
async fn what_was_launched_is_described_at_once_and_as_an_instance_later() {
    let mut scene = Scene::new(Shape::default());
    scene.tick().await;
    let asked = scene.now();
    let names = scene.grow(3).await.expect("it grows");
    assert_eq!((names.len(), scene.desired()), (3, 3));
    let census = scene.tick().await;
    assert_eq!(census.members.len(), 3);
    let census = scene
        .until("instances show", |census| {
            ids(census).iter().all(|id| id.starts_with("i-"))
        })
        .await;
    assert_eq!(census.members.len(), 3);
    assert!(census.members.iter().all(|member| member.launched == asked));
    assert_eq!(scene.calls(SETS), 1);
    assert!(scene.notices.is_empty(), "{:?}", scene.notices);
}

#[tokio::test]
async fn a_launch_whose_reply_was_lost_is_not_made_twice() {
    let mut scene = Scene::new(Shape::default());
    scene.group.world().weather.lag = Duration::from_secs(20);
    scene.tick().await;
    scene.group.world().weather.reply_lost = 1.0;
    let error = scene.grow(2).await.expect_err("no reply");
    assert!(matches!(
        error,
        FleetError::Group(GroupError::NoReply { .. })
    ));
    scene.group.world().weather.reply_lost = 0.0;
    scene.ticks(2).await;
    scene.grow(2).await.expect("asked again");
    let census = scene.ticks(60).await;
    assert_eq!((scene.desired(), ids(&census).len()), (2, 2));
    assert!(scene.notices.is_empty(), "{:?}", scene.notices);
}

#[tokio::test]
async fn it_removes_exactly_the_named_and_the_group_wants_one_less() {
    let mut scene = Scene::serving(3).await;
    scene.fleet.remove("i-00000002").await.expect("it is there");
    let census = scene.tick().await;
    assert_eq!(ids(&census), ["i-00000001", "i-00000003"]);
    assert_eq!(census.members.len(), 3, "it is described as leaving");
    scene
        .fleet
        .remove("i-00000002")
        .await
        .expect("once more changes nothing");
    let census = scene
        .until("it is gone", |census| census.members.len() == 2)
        .await;
    assert_eq!(ids(&census), ["i-00000001", "i-00000003"]);
    assert_eq!(scene.ended, ["i-00000002"]);
    assert_eq!((scene.desired(), scene.calls(ENDS)), (2, 1));
    let unknown = scene.fleet.remove("i-00000002").await;
    assert!(matches!(unknown, Err(FleetError::Unknown { .. })));
}

/// Removes one while a call fails by `weather`, as the scaler does: again at each tick.
async fn removed_in_bad_weather(lost: f64, not_arrived: f64) -> Scene {
    let mut scene = Scene::serving(3).await;
    {
        let mut world = scene.group.world();
        world.weather.lag = Duration::from_secs(4);
        (world.weather.reply_lost, world.weather.not_arrived) = (lost, not_arrived);
    }
    let failed = scene.fleet.remove("i-00000002").await;
    assert!(failed.is_err());
    scene.group.world().weather.reply_lost = 0.0;
    scene.group.world().weather.not_arrived = 0.0;
    for _ in 0..60 {
        let census = scene.tick().await;
        if ids(&census).contains(&"i-00000002".to_owned()) {
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
    let census = scene.tick().await;
    assert_eq!(ids(&census).len(), 2);
    let census = scene
        .until("the new one shows", |census| {
            ids(census) == ["i-00000002", "i-00000003"]
        })
        .await;
    assert!(!census.members.is_empty());
    assert_eq!((scene.desired(), scene.calls(SETS)), (2, 0));
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
    let refused = scene.grow(2).await;
    assert!(matches!(refused, Err(FleetError::AtMaximum { max: 3 })));
    assert_eq!((scene.calls(ENDS), scene.calls(SETS)), (0, 0));
    let limits = scene.fleet.limits();
    assert_eq!((limits.bounds.min, limits.bounds.max), (2, 3));
    assert_eq!(limits.why, "the Auto Scaling Group workers allows 2 to 3");
}

#[tokio::test]
async fn somebody_elses_size_is_told_once_and_not_fought() {
    let mut scene = Scene::serving(2).await;
    scene.group.world().set_desired(5).expect("it may");
    let census = scene.ticks(40).await;
    assert_eq!(ids(&census).len(), 5);
    assert_eq!(scene.notices, [Notice::SizedByOthers { from: 2, to: 5 }]);
    assert_eq!((scene.desired(), scene.calls(SETS)), (5, 0));

    scene.group.world().set_desired(1).expect("it may");
    let census = scene.ticks(60).await;
    assert_eq!(ids(&census).len(), 5, "all are protected");
    scene.notices.clear();
    scene.fleet.remove("i-00000001").await.expect("it is there");
    scene.ticks(60).await;
    assert_eq!(scene.desired(), 1, "it is lower than what there is already");
    let names = scene.grow(1).await.expect("it grows");
    assert_eq!((names.len(), scene.desired()), (1, 5));
    assert!(scene.notices.is_empty(), "{:?}", scene.notices);
}

#[tokio::test]
async fn capacity_that_is_short_is_told_not_counted_on_and_not_asked_for_until_it_is_back() {
    let mut scene = Scene::serving(1).await;
    let offering = |zone: &str| ("c7i.large".to_owned(), format!("eu-central-1{zone}"));
    scene.group.world().weather.short = [offering("a"), offering("b")].into();
    scene.grow(2).await.expect("it is accepted");
    let census = scene
        .until("it is known to be short", |census| census.is_short)
        .await;
    assert_eq!(ids(&census).len(), 1, "what does not come does not count");
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

    scene.group.world().weather.short.clear();
    let census = scene
        .until("it comes", |census| ids(census).len() == 3)
        .await;
    assert!(!census.is_short);
    assert_eq!(scene.notices.last(), Some(&Notice::CapacityBack));
    scene.grow(1).await.expect("it may grow again");
}

#[tokio::test]
async fn launches_that_never_came_are_cancelled_when_the_fleet_shrinks() {
    let mut scene = Scene::serving(3).await;
    let offering = |zone: &str| ("c7i.large".to_owned(), format!("eu-central-1{zone}"));
    scene.group.world().weather.short = [offering("a"), offering("b")].into();
    scene.grow(4).await.expect("it is accepted");
    scene.until("it is short", |census| census.is_short).await;
    scene.fleet.remove("i-00000001").await.expect("it is there");
    assert_eq!(scene.desired(), 2, "not 6");
    scene.group.world().weather.short.clear();
    let census = scene.ticks(60).await;
    assert_eq!(ids(&census), ["i-00000002", "i-00000003"]);
}

fn hooked(desired: u32) -> Shape {
    Shape {
        desired,
        launch_hook: Some(("ready".to_owned(), Duration::from_secs(300))),
        terminate_hook: Some(("drained".to_owned(), Duration::from_secs(45))),
        ..Shape::default()
    }
}

fn state(scene: &Scene, id: &str) -> Option<State> {
    let sight = scene.group.world().sight();
    let instance = sight.instances.iter().find(|instance| instance.id == id);
    instance.map(|instance| instance.state)
}

#[tokio::test]
async fn an_instance_is_in_service_when_its_model_answers() {
    let mut scene = Scene::new(hooked(1));
    scene.ticks(60).await;
    scene.sees("i-00000001", |sight| sight.ready = false);
    scene.ticks(20).await;
    assert_eq!(state(&scene, "i-00000001"), Some(State::PendingWait));
    scene.sees("i-00000001", |sight| sight.ready = true);
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
    scene.sees("i-00000001", |sight| sight.permits = 2);
    let census = scene
        .until("it is to drain", |census| !census.to_drain.is_empty())
        .await;
    assert_eq!(census.to_drain, ["i-00000001"]);
    assert!(!ids(&census).contains(&"i-00000001".to_owned()));
    scene.sees("i-00000001", |sight| {
        (sight.permits, sight.draining) = (1, true)
    });
    scene.ticks(40).await;
    assert_eq!(state(&scene, "i-00000001"), Some(State::LeavingWait));
    assert!(scene.calls("RecordLifecycleActionHeartbeat") >= 2);
    scene.sees("i-00000001", |sight| sight.draining = true);
    scene.tick().await;
    assert_eq!(state(&scene, "i-00000001"), Some(State::Leaving));
}

#[tokio::test]
async fn a_drain_without_an_end_is_given_up_at_its_limit() {
    let mut scene = Scene::new(hooked(1));
    scene.sees("i-00000001", |_| ());
    scene.ticks(60).await;
    scene.group.world().take_away("i-00000001");
    scene.sees("i-00000001", |sight| {
        (sight.permits, sight.draining) = (1, true)
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
    scene.group.world().weather.throttled = 1.0;
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
    scene.group.world().weather.throttled = 0.0;
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
    let sight = scene.group.world().sight();
    assert!(sight.instances.iter().all(|instance| instance.protected));
    assert!(scene.calls("SetInstanceProtection") <= 2);
    let group = "workers".to_owned();
    assert_eq!(scene.notices, [Notice::Unprotected { group }]);
}

#[tokio::test]
async fn hooks_that_the_group_does_not_have_are_told() {
    let mut scene = Scene::new(hooked(0));
    scene.group.world().shape_mut().launch_hook = None;
    scene.ticks(5).await;
    let told: Vec<String> = scene.notices.iter().map(Notice::to_string).collect();
    assert_eq!(told, ["workers has no lifecycle hook ready"]);
}

#[tokio::test]
async fn nothing_is_removed_while_a_refresh_replaces_instances_each_after_its_drain() {
    let mut scene = Scene::new(hooked(2));
    for number in 1..=9 {
        scene.sees(&format!("i-{number:08x}"), |_| ());
    }
    scene.ticks(60).await;
    scene.group.world().begin_refresh();
    let held = scene
        .until("it is seen", |census| census.scale_in_held.is_some())
        .await;
    assert_eq!(
        held.scale_in_held.as_deref(),
        Some("instance refresh refresh-2 is under way")
    );
    for _ in 0..300 {
        let census = scene.tick().await;
        for id in &census.to_drain {
            scene.sees(id, |sight| sight.draining = true);
        }
    }
    let census = scene.tick().await;
    assert_eq!(ids(&census), ["i-00000003", "i-00000004"]);
    assert_eq!(census.scale_in_held, None);
    assert_eq!(scene.ended, ["i-00000001", "i-00000002"]);
    assert_eq!(scene.notices.last(), Some(&Notice::RefreshOver));
    assert_eq!(scene.calls(ENDS) + scene.calls(SETS), 0);
}

#[tokio::test]
async fn what_a_role_does_not_allow_is_told_once_and_done_without() {
    let mut scene = Scene::new(Shape::default());
    scene.group.world().weather.denied = ["DescribeInstanceRefreshes"].into();
    let census = scene.ticks(200).await;
    assert_eq!(census.scale_in_held, None);
    let told: Vec<String> = scene.notices.iter().map(Notice::to_string).collect();
    assert_eq!(
        told[0],
        "whether an instance refresh runs cannot be known, so it is taken as none: \
         DescribeInstanceRefreshes is not permitted: the role does not allow it"
    );
    assert_eq!(told.len(), 1);
}

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
        let weather = &mut scene.group.world().weather;
        weather.lag = Duration::from_secs(15);
        (weather.throttled, weather.reply_lost, weather.not_arrived) = (0.05, 0.05, 0.05);
    }
    let mut chance = tidegate_control::chance::Chance::new(seed, "asks");
    for second in 0..1800_u32 {
        let working = scene.group.world().working();
        for id in working {
            scene.sees(&id, |sight| sight.draining = true);
        }
        let Ok(census) = scene.try_tick().await else {
            continue;
        };
        let here = ids(&census);
        if second % 20 == 0 {
            match chance.next_u64() % 4 {
                0 if here.len() < 10 => drop(scene.grow(2).await),
                1 if here.len() > 1 => drop(scene.fleet.remove(&here[0]).await),
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
    scene.group.world().weather = Default::default();
    let mut census = Census::default();
    for _ in 0..400 {
        let working = scene.group.world().working();
        for id in working {
            scene.sees(&id, |sight| sight.draining = true);
        }
        if let Ok(seen) = scene.try_tick().await {
            census = seen;
        }
    }
    let sight = scene.group.world().sight();
    let staying = sight
        .instances
        .iter()
        .filter(|i| i.state == State::InService);
    let staying: Vec<String> = staying.map(|instance| instance.id.clone()).collect();
    assert_eq!(ids(&census), staying, "seed {seed}: it knows who is there");
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
