//! The Auto Scaling Group as a fleet, against a group in memory with all the faults of AWS.

mod calls;
mod faults;
mod hooks;
mod refresh;
mod removals;
mod shortage;
mod sizes;
mod warm;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegate_control::{Observation, ProxyObservation, Seen, Time, WorkerObservation};
use tidegate_policy::AsgRules;
use tidegate_scaler::fleet::asg::fake::{FakeGroup, Shape, World};
use tidegate_scaler::fleet::asg::group::{GroupError, State};
use tidegate_scaler::fleet::asg::{AsgFleet, Setup};
use tidegate_scaler::fleet::{Fleet, FleetError, FleetStatus, Notice};

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
    rules_of(&format!("group = 'workers'\n{launch}{terminate}"))
}

/// Of an `[asg]` table.
pub fn rules_of(text: &str) -> AsgRules {
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

    async fn tick(&mut self) -> FleetStatus {
        self.try_tick().await.expect("the fleet is seen")
    }

    async fn try_tick(&mut self) -> Result<FleetStatus, FleetError> {
        self.second.fetch_add(1, Ordering::Relaxed);
        let status = self.fleet.describe(self.now()).await?;
        self.notices.extend(status.notices.iter().cloned());
        let ended = status.ended.iter();
        self.ended.extend(ended.map(|ended| ended.id.clone()));
        self.fleet.attend(self.now(), &self.seen).await;
        Ok(status)
    }

    async fn ticks(&mut self, count: u32) -> FleetStatus {
        let mut status = self.tick().await;
        for _ in 1..count {
            status = self.tick().await;
        }
        status
    }

    /// Ticks until the status is as wanted, for at most five minutes.
    async fn until(&mut self, what: &str, is_so: impl Fn(&FleetStatus) -> bool) -> FleetStatus {
        for _ in 0..300 {
            let status = self.tick().await;
            if is_so(&status) {
                return status;
            }
        }
        panic!(
            "{what}: not within five minutes; {:?}",
            self.group.world().description()
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
    fn sees(&mut self, id: &str, change: impl Fn(&mut WorkerObservation)) {
        let mut reports = match self.seen.proxies.pop().and_then(|proxy| proxy.seen) {
            Some(seen) => seen.workers,
            None => Vec::new(),
        };
        let mut description = WorkerObservation {
            id: id.to_owned(),
            ready: true,
            draining: false,
            slots: 8,
            permits: 0,
            elsewhere: 0,
            beat_age_ms: 300,
        };
        change(&mut description);
        reports.retain(|other| other.id != id);
        reports.push(description);
        reports.sort_by(|a, b| a.id.cmp(&b.id));
        self.seen = observation(reports);
    }

    /// `count` instances in service.
    async fn serving(count: u32) -> Scene {
        let mut scene = Scene::new(Shape {
            desired: count,
            ..Shape::default()
        });
        scene
            .until("they are in service", |status| {
                ids(status).len() as u32 == count
                    && ids(status).iter().all(|id| id.starts_with("i-"))
            })
            .await;
        scene.ticks(30).await;
        scene
    }
}

fn observation(workers: Vec<WorkerObservation>) -> Observation {
    let seen = Seen {
        workers,
        ..Seen::default()
    };
    Observation {
        proxies: vec![ProxyObservation {
            source: "http://proxy".to_owned(),
            seen: Some(seen),
        }],
        ..Observation::default()
    }
}

fn ids(status: &FleetStatus) -> Vec<String> {
    let stays = status.members.iter().filter(|member| !member.leaving);
    stays.map(|member| member.id.clone()).collect()
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
    let description = scene.group.world().description();
    let instance = description
        .instances
        .iter()
        .find(|instance| instance.id == id);
    instance.map(|instance| instance.state)
}
