//! What the scalers are given in place of the world, and the rules that they are held to at every
//! step: who writes, within which bounds, and that nothing is taken away that is at work.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tidegate_control::{Action, Time};
use tidegate_protocol::Order;
use tidegate_scaler::event::{Event, EventSink};
use tidegate_scaler::fleet::asg::fake::FakeGroup;
use tidegate_scaler::fleet::asg::group::{
    Description, Failure, Group, GroupError, Hook, Refresh, Then,
};
use tidegate_scaler::lease::Table;
use tidegate_scaler::ledger::{Entry, Record};
use tidegate_scaler::proxies::{Addressees, ProxyFault, Reply, Signals};

use crate::service::{PROXIES, Service};

pub const LEAST: u32 = 2;
pub const MOST: u32 = 12;

/// Longer than what a proxy said counts (5 s), with a tick on either side.
const BLIND_AFTER_S: u64 = 7;

/// What all of a run's parts share.
pub struct World {
    pub service: Service,
    /// Rules that were broken, in words.
    pub broken: Vec<String>,
    pub removals: u32,
}

pub type Shared = Arc<Mutex<World>>;

pub fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub fn breaks(&mut self, rule: String) {
        let at = self.service.now();
        self.broken.push(format!("at {at} s: {rule}"));
    }
}

/// One scaler's way to the proxies. Each may be cut off.
#[derive(Clone)]
pub struct Street {
    pub world: Shared,
    /// Since when each proxy cannot be reached.
    pub cut: Arc<Mutex<[Option<u64>; PROXIES]>>,
}

impl Street {
    fn is_cut(&self, proxy: usize) -> bool {
        self.cuts()[proxy].is_some()
    }

    pub fn cuts(&self) -> MutexGuard<'_, [Option<u64>; PROXIES]> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unreachable() -> ProxyFault {
    let why = "cut off".to_owned();
    ProxyFault::Unreachable { why }
}

#[async_trait]
impl Signals for Street {
    fn follow(&mut self, _addressees: Addressees) {}

    async fn signals(&mut self) -> Vec<Reply> {
        let replies = (0..PROXIES).map(|proxy| Reply {
            source: proxy.to_string(),
            signal: match self.is_cut(proxy) {
                true => Err(unreachable()),
                false => Ok(lock(&self.world).service.signal(proxy)),
            },
        });
        replies.collect()
    }

    async fn order(&self, source: &str, order: Order, worker: &str) -> Result<(), ProxyFault> {
        let proxy: usize = source.parse().map_err(|_| unreachable())?;
        if self.is_cut(proxy) {
            return Err(unreachable());
        }
        lock(&self.world).service.order(proxy, order, worker);
        Ok(())
    }
}

/// The group as one scaler calls it.
#[derive(Clone)]
pub struct Gate {
    pub group: FakeGroup,
    pub world: Shared,
    pub table: Table,
    /// Who calls.
    pub owner: String,
}

impl Gate {
    /// A call that changes something: by who has the lease, and nobody else.
    fn writes(&self, what: &str) {
        let holder = self.table.item().as_ref().map(|item| item.owner.clone());
        if holder.as_deref() != Some(self.owner.as_str()) {
            let owner = &self.owner;
            let rule = format!("{owner} makes a call ({what}) while {holder:?} holds the lease");
            lock(&self.world).breaks(rule);
        }
    }
}

#[async_trait]
impl Group for Gate {
    async fn look(&self) -> Result<Description, GroupError> {
        self.group.look().await
    }

    async fn hooks(&self) -> Result<Vec<Hook>, GroupError> {
        self.group.hooks().await
    }

    async fn refresh(&self) -> Result<Option<Refresh>, GroupError> {
        self.group.refresh().await
    }

    async fn failures(&self) -> Result<Vec<Failure>, GroupError> {
        self.group.failures().await
    }

    async fn set_desired(&self, desired: u32) -> Result<(), GroupError> {
        self.writes("SetDesiredCapacity");
        if !(LEAST..=MOST).contains(&desired) {
            lock(&self.world).breaks(format!("{desired} are asked for"));
        }
        self.group.set_desired(desired).await
    }

    async fn terminate(&self, id: &str, then: Then) -> Result<(), GroupError> {
        self.writes("TerminateInstanceInAutoScalingGroup");
        let works = self.group.world().working().iter().any(|one| one == id);
        {
            let mut world = lock(&self.world);
            world.removals += 1;
            let permits = world.service.permits(id);
            if works && permits > 0 {
                world.breaks(format!("{id} is removed while it is at {permits} requests"));
            }
        }
        let answer = self.group.terminate(id, then).await;
        let desired = self.group.world().desired();
        if then == Then::Shrink && desired < LEAST {
            lock(&self.world).breaks(format!("{desired} are left"));
        }
        answer
    }

    async fn protect(&self, ids: &[String]) -> Result<(), GroupError> {
        self.writes("SetInstanceProtection");
        self.group.protect(ids).await
    }

    async fn go_on(&self, hook: &str, id: &str) -> Result<(), GroupError> {
        self.writes("CompleteLifecycleAction");
        self.group.go_on(hook, id).await
    }

    async fn wait_on(&self, hook: &str, id: &str) -> Result<(), GroupError> {
        self.writes("RecordLifecycleActionHeartbeat");
        self.group.wait_on(hook, id).await
    }
}

/// Takes a scaler's ledger, and looks at each decision: no shrinking on less than full description.
pub struct Examiner(pub Street);

impl Examiner {
    fn examine(&self, action: &Action) {
        let now = lock(&self.0.world).service.now();
        let blind = self
            .0
            .cuts()
            .iter()
            .flatten()
            .any(|since| now - since > BLIND_AFTER_S);
        if blind && !action.drain.is_empty() {
            let drained = &action.drain;
            lock(&self.0.world).breaks(format!("{drained:?} are drained without description"));
        }
    }
}

impl Record for Examiner {
    fn record(&mut self, _at: Time, entry: Entry) -> io::Result<()> {
        if let Entry::Tick(tick) = entry {
            let action = &tick.decision.action;
            self.examine(action);
            if !action.remove.is_empty() && !tick.observation.is_complete() {
                let removed = &action.remove;
                lock(&self.0.world).breaks(format!("{removed:?} are removed without description"));
            }
        }
        Ok(())
    }
}

/// Says nothing, unless asked to.
pub struct Quiet {
    pub owner: String,
    pub world: Shared,
    pub aloud: bool,
}

impl EventSink for Quiet {
    fn emit(&mut self, event: &Event) {
        if self.aloud {
            let at = lock(&self.world).service.now();
            eprintln!("{at:>6} {}: {event}", self.owner);
        }
    }
}
