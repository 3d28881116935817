//! One of the two scalers: started, killed, and started again as another one.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_control::{Law, Roster};
use tidegate_policy::PolicyFile;
use tidegate_scaler::fleet::asg::{AsgFleet, Setup};
use tidegate_scaler::lease::{Lease, Shared, Table, Terms};
use tidegate_scaler::publish::Publisher;
use tidegate_scaler::scaler::{Actuator, Parts, Scaler};
use tidegate_scaler::sources::Sources;

use super::Run;
use crate::watched::{Examiner, Gate, Quiet, Street};

const POLICY: &str = r#"
[fleet]
kind = "asg"
min = 2
max = 12
lead_time = "3m"
silence = "30s"
drain_limit = "2m"
[slo]
latency = "10s"
[[signal]]
name = "requests"
metric = "concurrency"
statistic = "mean"
window = "20s"
target_per_worker = 3
[scale_in]
stabilization = "2m"
steps = [{ percent = 50, per = "60s" }]
[proxies]
admin = ["http://10.0.0.1:9090"]
token_file = "none"
[asg]
group = "workers"
launch_hook = "ready"
terminate_hook = "drained"
"#;

/// One scaler's place: a process that may be there or not.
pub struct Endpoint {
    pub scaler: Option<Scaler>,
    pub owner: String,
    pub street: Street,
    pub table: Table,
    /// When a dead one is started again.
    pub back_at: u64,
    /// By how much its clock was set forward.
    pub ahead: Duration,
    pub lives: u32,
}

impl Run {
    pub fn start(&mut self, index: usize) {
        let endpoint = &mut self.endpoints[index];
        endpoint.lives += 1;
        endpoint.owner = format!("{index}-{}", endpoint.lives);
        let file: PolicyFile = tidegate_config::parse(POLICY, "policy.toml".as_ref())
            .unwrap_or_else(|error| panic!("{error}"));
        let gate = Gate {
            group: self.group.clone(),
            world: self.world.clone(),
            table: self.table.clone(),
            owner: endpoint.owner.clone(),
        };
        let fleet = AsgFleet::new(Setup {
            group: gate,
            rules: file.asg.clone().expect("there is an [asg]"),
            lead_time: file.fleet.lead_time.into(),
            drain_limit: file.fleet.drain_limit.into(),
            launched: BTreeMap::new(),
        });
        let terms = Terms {
            duration: Duration::from_secs(10),
            every: Duration::from_secs(2),
        };
        let store = Box::new(endpoint.table.clone());
        endpoint.scaler = Some(Scaler::new(Parts {
            law: Law::new(file.policy()),
            roster: Roster::default(),
            proxies: Box::new(endpoint.street.clone()),
            sources: Sources::default(),
            actuator: Actuator::Fleet(Box::new(fleet)),
            lease: Lease::Shared(Shared::new(store, endpoint.owner.clone(), terms)),
            ledger: Box::new(Examiner(endpoint.street.clone())),
            publisher: Publisher::default(),
            events: Box::new(Quiet {
                owner: endpoint.owner.clone(),
                world: self.world.clone(),
                aloud: self.aloud,
            }),
        }));
    }
}
