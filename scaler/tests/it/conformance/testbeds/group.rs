//! Auto Scaling Groups: one in memory, and one in an emulator of AWS.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tidegate_control::Time;
use tidegate_policy::AsgRules;
use tidegate_scaler::aws::autoscaling::AwsGroup;
use tidegate_scaler::fleet::Fleet;
use tidegate_scaler::fleet::asg::fake::{FakeGroup, Shape, World};
use tidegate_scaler::fleet::asg::group::Group;
use tidegate_scaler::fleet::asg::{AsgFleet, Setup};

use super::super::{ROOM, Testbed};
use crate::asg::rules_of;
use tidegate_tests::{Moto, REGION};

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
pub struct Fake {
    fleet: AsgFleet<FakeGroup>,
    group: FakeGroup,
    seconds: Seconds,
}

impl Fake {
    pub fn new() -> Fake {
        let seconds = Seconds::begin();
        let clock = seconds.clone();
        let shape = Shape {
            max: ROOM,
            ..Shape::default()
        };
        let group = FakeGroup::new(World::new(7, seconds.now(), shape), move || clock.now());
        group.world().faults.lag = Duration::from_secs(3);
        Fake {
            fleet: asg(group.clone(), rules_of("group = 'workers'")),
            group,
            seconds,
        }
    }
}

#[async_trait]
impl Testbed for Fake {
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

/// A group of its own in one emulator of AWS, called over HTTP by the SDK.
pub struct Emulated {
    fleet: AsgFleet<AwsGroup>,
    group: String,
    moto: Arc<Moto>,
    seconds: Seconds,
}

impl Emulated {
    pub fn new(moto: Arc<Moto>) -> Emulated {
        static GROUPS: AtomicUsize = AtomicUsize::new(0);
        let group = format!("workers-{}", GROUPS.fetch_add(1, Ordering::Relaxed));
        create_group(&moto, &group, ROOM);
        // An empty one is all that there is here, and it is read with every look.
        let pool = json!({ "AutoScalingGroupName": group, "MinSize": 0 });
        moto.call("autoscaling", "put_warm_pool", &pool);
        let text = format!(
            "group = '{group}'\nregion = '{REGION}'\nendpoint_url = '{}'\ntimeout = '5s'",
            moto.url
        );
        let rules = rules_of(&text);
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
impl Testbed for Emulated {
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
