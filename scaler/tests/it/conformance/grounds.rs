//! The kinds of fleets that there are, each with a way to get one and to meddle with it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tempfile::TempDir;
use tidegate_control::Time;
use tidegate_scaler::aws::autoscaling::AwsGroup;
use tidegate_scaler::config::{AsgRules, ContainerRules, ProcessRules};
use tidegate_scaler::fleet::Fleet;
use tidegate_scaler::fleet::asg::fake::{FakeGroup, Shape, World};
use tidegate_scaler::fleet::asg::group::Group;
use tidegate_scaler::fleet::asg::{AsgFleet, Setup};
use tidegate_scaler::fleet::container::ContainerFleet;
use tidegate_scaler::fleet::process::{self, ProcessFleet};

use super::{Ground, Kind, ROOM};
use crate::fake_engine::{CREATED_S, FakeEngine};
use crate::stage::script;
use tidegate_tests::{Moto, REGION};

/// Kinds that any machine has; `moto` is the emulator that one of them calls.
pub fn here(moto: Arc<Moto>) -> Vec<Kind> {
    vec![
        Kind::new("fake", || async { Fake::new() }),
        Kind::new("processes", || async { Processes::new() }),
        Kind::new("containers", || async { Containers::new() }),
        Kind::new("moto", move || {
            let moto = Arc::clone(&moto);
            async { Emulated::new(moto) }
        }),
    ]
}

fn rules(text: &str) -> AsgRules {
    #[derive(serde::Deserialize)]
    struct Whole {
        asg: AsgRules,
    }
    impl tidegate_config::Check for Whole {}
    let text = format!("[asg]\n{text}");
    let whole: Whole = tidegate_config::parse(&text, "asg.toml".as_ref()).expect("it is valid");
    whole.asg
}

fn container_rules(text: &str) -> ContainerRules {
    #[derive(serde::Deserialize)]
    struct Whole {
        container: ContainerRules,
    }
    impl tidegate_config::Check for Whole {}
    let text = format!("[container]\n{text}");
    let whole: Whole = tidegate_config::parse(&text, "engine.toml".as_ref()).expect("it is valid");
    whole.container
}

/// Seconds of a fleet whose time is the test's.
#[derive(Clone)]
struct Seconds(Arc<AtomicU64>);

impl Seconds {
    fn begin() -> Seconds {
        Seconds(Arc::new(AtomicU64::new(1_000_000)))
    }

    fn now(&self) -> Time {
        Time::from_ms(self.0.load(Ordering::Relaxed) * 1000)
    }

    fn pass(&self) -> Time {
        self.0.fetch_add(1, Ordering::Relaxed);
        self.now()
    }
}

fn asg<G: Group>(group: G, rules: AsgRules) -> AsgFleet<G> {
    AsgFleet::new(Setup {
        group,
        rules,
        lead_time: Duration::from_secs(120),
        drain_limit: Duration::from_secs(60),
        launched: BTreeMap::new(),
    })
}

/// A group in memory whose looks lag.
struct Fake {
    fleet: AsgFleet<FakeGroup>,
    group: FakeGroup,
    seconds: Seconds,
}

impl Fake {
    fn new() -> Fake {
        let seconds = Seconds::begin();
        let clock = seconds.clone();
        let shape = Shape {
            max: ROOM,
            ..Shape::default()
        };
        let group = FakeGroup::new(World::new(7, seconds.now(), shape), move || clock.now());
        group.world().weather.lag = Duration::from_secs(3);
        Fake {
            fleet: asg(group.clone(), rules("group = 'workers'")),
            group,
            seconds,
        }
    }
}

#[async_trait]
impl Ground for Fake {
    fn fleet(&mut self) -> &mut dyn Fleet {
        &mut self.fleet
    }

    async fn pass(&mut self) -> Time {
        self.seconds.pass()
    }

    async fn end_by_others(&mut self, id: &str) -> bool {
        self.group.world().take_away(id);
        true
    }

    async fn size_by_others(&mut self, count: u32) -> bool {
        self.group.world().set_desired(count).is_ok()
    }
}

/// Scripts that end when they are told to, or when their file is there.
struct Processes {
    fleet: ProcessFleet,
    directory: TempDir,
    began: std::time::Instant,
}

impl Processes {
    fn new() -> Processes {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let body = format!(
            "trap 'exit 0' TERM; while [ ! -e {}/$3 ]; do sleep 0.02; done; exit 3",
            directory.path().display()
        );
        let fleet = ProcessFleet::new(
            process::Setup {
                binary: script(directory.path(), "worker", &body),
                rules: ProcessRules {
                    model: "models/tiny".to_owned(),
                    name: None,
                    binary: None,
                    config: None,
                    token_file: None,
                    threads: None,
                    oversubscribe: false,
                    stop_limit: tidegate_config::Duration::from_secs(20),
                    logs: None,
                },
                proxies: vec!["http://127.0.0.1:1".to_owned()],
                token_file: directory.path().join("worker.token"),
                cores: ROOM,
                max: ROOM,
            },
            0,
        );
        Processes {
            fleet,
            directory,
            began: std::time::Instant::now(),
        }
    }
}

#[async_trait]
impl Ground for Processes {
    fn fleet(&mut self) -> &mut dyn Fleet {
        &mut self.fleet
    }

    async fn pass(&mut self) -> Time {
        tokio::time::sleep(Duration::from_millis(10)).await;
        Time::from_ms(1_000_000_000) + self.began.elapsed()
    }

    async fn end_by_others(&mut self, id: &str) -> bool {
        fs::write(self.directory.path().join(id), "").expect("it is written");
        true
    }

    async fn size_by_others(&mut self, _count: u32) -> bool {
        false
    }
}

/// Containers of an engine in memory, which end when they are told to.
struct Containers {
    fleet: ContainerFleet,
    engine: FakeEngine,
    began: std::time::Instant,
}

impl Containers {
    fn new() -> Containers {
        let engine = FakeEngine::start();
        let proxies = vec!["http://proxy:9090".to_owned()];
        let rules = crate::container::rules(&engine);
        Containers {
            fleet: ContainerFleet::new(rules, proxies, 0),
            engine,
            began: std::time::Instant::now(),
        }
    }
}

#[async_trait]
impl Ground for Containers {
    fn fleet(&mut self) -> &mut dyn Fleet {
        &mut self.fleet
    }

    async fn pass(&mut self) -> Time {
        {
            let shelf = &mut *self.engine.shelf();
            for (name, _) in std::mem::take(&mut shelf.signals) {
                let mut all = shelf.containers.values_mut();
                if let Some(told) = all.find(|container| container.name == name) {
                    (told.state, told.exit_code) = ("exited", 0);
                }
            }
        }
        Time::from_ms(CREATED_S * 1000 + 500) + self.began.elapsed()
    }

    async fn end_by_others(&mut self, id: &str) -> bool {
        self.engine.end(id, 137);
        true
    }

    async fn size_by_others(&mut self, _count: u32) -> bool {
        false
    }
}

/// Containers of a real engine, which `make in-engine` names, with the image and the model that it
/// has made.
struct Engine {
    fleet: ContainerFleet,
    /// A filter that finds the fleet's containers.
    label: String,
    _tokens: TempDir,
    began: std::time::Instant,
}

/// What a container engine is needed for.
pub fn in_engine() -> Vec<Kind> {
    vec![Kind::new("engine", || async { Engine::new() })]
}

fn docker(arguments: &[&str]) -> bool {
    let output = Command::new("docker").args(arguments).output();
    output.expect("docker runs").status.success()
}

impl Engine {
    fn new() -> Engine {
        static FLEETS: AtomicUsize = AtomicUsize::new(0);
        let number = FLEETS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("clause-{}-{number}", std::process::id());
        let host = std::env::var("DOCKER_HOST").unwrap_or_default();
        let socket = host
            .strip_prefix("unix://")
            .unwrap_or("/var/run/docker.sock");
        let tokens = tempfile::tempdir().expect("a temporary directory");
        let token = tokens.path().join("token");
        fs::write(&token, "worker-token-for-tests").expect("it is written");
        let own = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&token, own).expect("its mode is set");
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
        let models = models.canonicalize().expect("the models are there");
        let text = format!(
            "image = 'tidegate-worker'\nnetwork = 'bridge'\nuser = '0:0'\ntimeout = '20s'\n\
             model = '/models/all-MiniLM-L6-v2.int8.safetensors'\nname_prefix = '{prefix}'\n\
             token_file = '/run/worker/token'\nsocket = '{socket}'\n\
             [[container.mounts]]\nfrom = '{}'\nto = '/models'\n\
             [[container.mounts]]\nfrom = '{}'\nto = '/run/worker'\n",
            models.display(),
            tokens.path().display(),
        );
        let rules = container_rules(&text);
        Engine {
            fleet: ContainerFleet::new(rules, vec!["http://127.0.0.1:1".to_owned()], 0),
            label: format!("label=tidegate.fleet={prefix}"),
            _tokens: tokens,
            began: std::time::Instant::now(),
        }
    }
}

#[async_trait]
impl Ground for Engine {
    fn fleet(&mut self) -> &mut dyn Fleet {
        &mut self.fleet
    }

    async fn pass(&mut self) -> Time {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Time::from_ms(1_000_000_000) + self.began.elapsed()
    }

    async fn end_by_others(&mut self, id: &str) -> bool {
        docker(&["kill", id])
    }

    async fn size_by_others(&mut self, _count: u32) -> bool {
        false
    }
}

/// Nothing outlives the clause that it was started for.
impl Drop for Engine {
    fn drop(&mut self) {
        let listed = Command::new("docker")
            .args(["ps", "--all", "--quiet", "--filter", &self.label])
            .output();
        let listed = listed.map(|output| output.stdout).unwrap_or_default();
        for id in String::from_utf8_lossy(&listed).lines() {
            docker(&["rm", "--force", id]);
        }
    }
}

/// A group of its own in one emulator of AWS, called over HTTP by the SDK.
struct Emulated {
    fleet: AsgFleet<AwsGroup>,
    group: String,
    moto: Arc<Moto>,
    seconds: Seconds,
}

impl Emulated {
    fn new(moto: Arc<Moto>) -> Emulated {
        static GROUPS: AtomicUsize = AtomicUsize::new(0);
        let group = format!("workers-{}", GROUPS.fetch_add(1, Ordering::Relaxed));
        create_group(&moto, &group, ROOM);
        let text = format!(
            "group = '{group}'\nregion = '{REGION}'\nendpoint_url = '{}'\ntimeout = '5s'",
            moto.url
        );
        let rules = rules(&text);
        Emulated {
            fleet: asg(AwsGroup::new(&rules), rules),
            group,
            moto,
            seconds: Seconds::begin(),
        }
    }
}

/// An empty group with a launch configuration of its own.
pub fn create_group(moto: &Moto, group: &str, max: u32) {
    let configuration = json!({
        "LaunchConfigurationName": group, "ImageId": "ami-12c6146b", "InstanceType": "t3.micro",
    });
    moto.call("autoscaling", "create_launch_configuration", &configuration);
    let parameters = json!({
        "AutoScalingGroupName": group, "LaunchConfigurationName": group,
        "MinSize": 0, "MaxSize": max, "DesiredCapacity": 0,
        "AvailabilityZones": [format!("{REGION}a")],
        "NewInstancesProtectedFromScaleIn": true,
    });
    moto.call("autoscaling", "create_auto_scaling_group", &parameters);
}

#[async_trait]
impl Ground for Emulated {
    fn fleet(&mut self) -> &mut dyn Fleet {
        &mut self.fleet
    }

    async fn pass(&mut self) -> Time {
        self.seconds.pass()
    }

    async fn end_by_others(&mut self, id: &str) -> bool {
        let parameters = json!({ "InstanceId": id, "ShouldDecrementDesiredCapacity": false });
        let call = "terminate_instance_in_auto_scaling_group";
        self.moto.call("autoscaling", call, &parameters);
        true
    }

    async fn size_by_others(&mut self, count: u32) -> bool {
        let parameters = json!({ "AutoScalingGroupName": self.group, "DesiredCapacity": count });
        self.moto
            .call("autoscaling", "set_desired_capacity", &parameters);
        true
    }
}
