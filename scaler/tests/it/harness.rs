//! A whole scaler in a test: proxies that signal what the test says, a fleet in memory, and
//! everything that it reported.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use tidegate_config::Tokens;
use tidegate_control::{Bounds, Law, Member, Roster, Size, Time};
use tidegate_policy::PolicyFile;
use tidegate_protocol::Order;
use tidegate_scaler::event::{Event, EventSink};
use tidegate_scaler::fleet::{Capabilities, Ended, Fleet, FleetError, FleetStatus, Limits};
use tidegate_scaler::lease::Lease;
use tidegate_scaler::ledger::{Ledger, LedgerRules, Note, WorkerByHand};
use tidegate_scaler::proxies::{Addressees, Proxies};
use tidegate_scaler::publish::Publisher;
use tidegate_scaler::scaler::{Actuator, Parts, Scaler};
use tidegate_scaler::sources::Sources;

use crate::stage::{FakeProxy, lock, token_file};

const POLICY: &str = r#"
[fleet]
kind = "process"
min = 1
max = 3
lead_time = "20s"
drain_limit = "20s"

[slo]
latency = "2s"

[[signal]]
name = "requests"
metric = "concurrency"
statistic = "max"
window = "2s"
target_per_worker = 4

[scale_in]
stabilization = "10s"

[proxies]
admin = ["http://replaced.by.the.test"]
token_file = "replaced"

[process]
model = "m"
token_file = "replaced"
"#;

/// A fleet in memory: the calls that it got, and what a test makes of its members.
#[derive(Clone, Default)]
pub struct Memory(pub Arc<Mutex<State>>);

#[derive(Default)]
pub struct State {
    pub members: Vec<Member>,
    pub launched: u32,
    pub ended: Vec<Ended>,
    /// It launches nothing.
    pub refuses: bool,
    /// It does not say who is there.
    pub unseen: bool,
    /// Launched workers crash at once.
    pub crash: bool,
}

#[async_trait]
impl Fleet for Memory {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn limits(&self) -> Limits {
        Limits {
            bounds: Bounds { min: 0, max: 100 },
            why: None,
        }
    }

    async fn describe(&mut self, _now: Time) -> Result<FleetStatus, FleetError> {
        let mut state = lock(&self.0);
        if state.unseen {
            return Err(FleetError::NotSeen);
        }
        if state.crash {
            let crashed = std::mem::take(&mut state.members);
            let ended = crashed.into_iter().map(|member| end(&member.id, false));
            state.ended.extend(ended);
        }
        Ok(FleetStatus {
            members: state.members.clone(),
            ended: std::mem::take(&mut state.ended),
            ..FleetStatus::default()
        })
    }

    async fn grow(&mut self, now: Time, count: u32) -> Result<Vec<String>, FleetError> {
        let mut state = lock(&self.0);
        if state.refuses {
            return Err(FleetError::Unknown {
                id: "capacity".to_owned(),
            });
        }
        let ids = (0..count).map(|_| {
            state.launched += 1;
            let id = format!("w-{}", state.launched);
            state.members.push(Member {
                id: id.clone(),
                launched: now,
                leaving: false,
            });
            id
        });
        Ok(ids.collect())
    }

    async fn remove(&mut self, id: &str) -> Result<(), FleetError> {
        let mut state = lock(&self.0);
        state.members.retain(|member| member.id != id);
        let ended = end(id, true);
        state.ended.push(ended);
        Ok(())
    }

    async fn close(&mut self) {}

    fn abandon(&mut self) {}
}

pub fn end(id: &str, asked: bool) -> Ended {
    Ended {
        id: id.to_owned(),
        after: Duration::from_millis(300),
        asked,
        killed_after: None,
        how: "exit code 1".to_owned(),
        log: None,
        last_lines: vec!["the model cannot be loaded".to_owned()],
    }
}

#[derive(Clone, Default)]
pub struct Events(Arc<Mutex<Vec<String>>>);

impl EventSink for Events {
    fn emit(&mut self, event: &Event) {
        lock(&self.0).push(event.to_string());
    }
}

/// A scaler, what it talks to, and what it said.
pub struct Harness {
    scaler: Scaler,
    pub proxies: Vec<FakeProxy>,
    pub fleet: Memory,
    events: Events,
    /// Ticks so far.
    pub second: u64,
    pub directory: TempDir,
}

impl Harness {
    pub async fn new(proxies: usize) -> Harness {
        Harness::with_actuator(proxies, |fleet| Actuator::Fleet(Box::new(fleet))).await
    }

    pub async fn with_actuator(count: usize, actuator: impl FnOnce(Memory) -> Actuator) -> Harness {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut proxies = Vec::new();
        for _ in 0..count {
            proxies.push(FakeProxy::start().await);
        }
        let file: PolicyFile = tidegate_config::parse(POLICY, "policy.toml".as_ref())
            .unwrap_or_else(|e| panic!("{e}"));
        let tokens = token_file(directory.path(), "operator.token");
        let tokens = Tokens::read(&tokens).expect("the token is valid");
        let urls: Vec<String> = proxies.iter().map(|proxy| proxy.url.clone()).collect();
        let (fleet, events) = (Memory::default(), Events::default());
        let ledger = LedgerRules {
            file: directory.path().join("ledger.jsonl"),
            bytes: 1 << 20,
            kept: 1,
        };
        let scaler = Scaler::new(Parts {
            law: Law::new(file.policy()),
            roster: Roster::default(),
            proxies: Box::new(Proxies::of(Addressees {
                urls,
                tokens,
                timeout: Duration::from_secs(5),
            })),
            sources: Sources::default(),
            actuator: actuator(fleet.clone()),
            lease: Lease::Alone,
            ledger: Box::new(Ledger::open(ledger).expect("the ledger opens")),
            publisher: Publisher::default(),
            events: Box::new(events.clone()),
        });
        Harness {
            scaler,
            proxies,
            fleet,
            events,
            second: 0,
            directory,
        }
    }

    /// The fleet's size is taken into somebody's actuator, or given back.
    pub fn order(&mut self, size: Option<Size>, span: Duration) -> Result<String, String> {
        let now = Time::from_ms(1_000_000 + self.second * 1000);
        self.scaler.take_order(now, size, span, Note::default())
    }

    /// An operator has a worker drain, or takes it back.
    pub fn order_worker(&mut self, worker: &str, order: Order) -> Result<String, String> {
        let now = Time::from_ms(1_000_000 + self.second * 1000);
        let by_hand = WorkerByHand {
            worker: worker.to_owned(),
            order,
            note: Note {
                who: "Ada".to_owned(),
                why: "new kernel".to_owned(),
            },
        };
        self.scaler.take_worker_order(now, by_hand)
    }

    pub async fn tick(&mut self) {
        self.second += 1;
        let now = Time::from_ms(1_000_000 + self.second * 1000);
        self.scaler.tick(now).await;
    }

    pub async fn ticks(&mut self, count: u32) {
        for _ in 0..count {
            self.tick().await;
        }
    }

    /// Ticks until there is a member, for no longer than a breaker waits.
    pub async fn until_launched(&mut self) {
        for _ in 0..61 {
            self.tick().await;
            if !self.members().is_empty() {
                return;
            }
        }
        panic!("nothing was launched: {:?}", self.events());
    }

    /// Every member heartbeats as ready, at every proxy, with these permits on it.
    pub fn all_ready(&self, permits: u32) {
        for id in self.members() {
            for proxy in &self.proxies {
                proxy.ready(&id, permits);
            }
        }
    }

    pub fn load(&self, waiting: u64, in_flight: u64) {
        self.proxies[0].load(waiting, in_flight);
    }

    pub fn members(&self) -> Vec<String> {
        let state = lock(&self.fleet.0);
        state
            .members
            .iter()
            .map(|member| member.id.clone())
            .collect()
    }

    /// What was said since the last call.
    pub fn events(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.events.0))
    }

    pub fn orders(&self, proxy: usize) -> Vec<String> {
        std::mem::take(&mut self.proxies[proxy].state().orders)
    }

    /// Two workers that serve under load, and then nothing to do.
    pub async fn two_idle_workers(proxies: usize) -> Harness {
        let mut harness = Harness::new(proxies).await;
        harness.tick().await;
        harness.all_ready(0);
        harness.load(4, 4);
        harness.ticks(2).await;
        harness.all_ready(0);
        harness.ticks(2).await;
        assert_eq!(harness.members(), ["w-1", "w-2"]);
        harness.load(0, 0);
        harness.events();
        harness
    }
}
