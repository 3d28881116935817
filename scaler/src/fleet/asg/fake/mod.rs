//! A group in memory that behaves as AWS's do, and as badly: instances take their time, looks
//! lag, replies are lost, calls are throttled, capacity is short, others write as well.
//!
//! By seed: the same calls at the same times bring the same. [`World`] is the group, and takes
//! `now`; [`FakeGroup`] is how a fleet calls it, with a clock of the caller's; [`Faults`] is
//! what goes wrong. For tests and rehearsals: nothing of it is used by the daemons.

mod calls;
mod faults;
mod launches;
mod machine;
mod pool;
mod world;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tidegate_control::Time;

use super::group::{Description, Failure, Group, GroupError, Hook, Refresh, Then};

pub use faults::{CallOutcome, Faults, Offering};
pub use machine::Machine;
pub use world::{Shape, World};

/// Handles of one group in memory. Clones call the same group.
#[derive(Clone)]
pub struct FakeGroup {
    world: Arc<Mutex<World>>,
    clock: Arc<dyn Fn() -> Time + Send + Sync>,
}

impl FakeGroup {
    pub fn new(world: World, clock: impl Fn() -> Time + Send + Sync + 'static) -> FakeGroup {
        FakeGroup {
            world: Arc::new(Mutex::new(world)),
            clock: Arc::new(clock),
        }
    }

    /// The group itself as it is now, to look behind its answers or to meddle with it.
    pub fn world(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.advance((self.clock)());
        world
    }

    /// One call: it may be throttled, not arrive, take its time, or be done without a reply.
    async fn call<T>(
        &self,
        call: &'static str,
        act: impl FnOnce(&mut World) -> Result<T, GroupError>,
    ) -> Result<T, GroupError> {
        let (took, answer) = {
            let mut world = self.world();
            let (outcome, took) = world.outcome(call);
            let no_reply = || GroupError::NoReply {
                call,
                why: "timeout".to_owned(),
            };
            let answer = match outcome {
                CallOutcome::Throttled => Err(GroupError::Throttled { call }),
                CallOutcome::Denied => {
                    let why = "the role does not allow it".to_owned();
                    Err(GroupError::Denied { call, why })
                }
                CallOutcome::NotArrived => Err(no_reply()),
                CallOutcome::ReplyLost => act(&mut world).and(Err(no_reply())),
                CallOutcome::Answered => act(&mut world),
            };
            (took, answer)
        };
        if took > Duration::ZERO {
            tokio::time::sleep(took).await;
        }
        answer
    }
}

#[async_trait]
impl Group for FakeGroup {
    async fn look(&self) -> Result<Description, GroupError> {
        self.call("DescribeAutoScalingGroups", |world| Ok(world.look()))
            .await
    }

    async fn hooks(&self) -> Result<Vec<Hook>, GroupError> {
        self.call("DescribeLifecycleHooks", |world| Ok(world.hooks()))
            .await
    }

    async fn refresh(&self) -> Result<Option<Refresh>, GroupError> {
        self.call("DescribeInstanceRefreshes", |world| Ok(world.refresh()))
            .await
    }

    async fn failures(&self) -> Result<Vec<Failure>, GroupError> {
        self.call("DescribeScalingActivities", |world| Ok(world.failures()))
            .await
    }

    async fn set_desired(&self, desired: u32) -> Result<(), GroupError> {
        self.call("SetDesiredCapacity", |world| world.set_desired(desired))
            .await
    }

    async fn terminate(&self, id: &str, then: Then) -> Result<(), GroupError> {
        self.call("TerminateInstanceInAutoScalingGroup", |world| {
            world.terminate(id, then)
        })
        .await
    }

    async fn protect(&self, ids: &[String]) -> Result<(), GroupError> {
        self.call("SetInstanceProtection", |world| world.protect(ids))
            .await
    }

    async fn go_on(&self, hook: &str, id: &str) -> Result<(), GroupError> {
        self.call("CompleteLifecycleAction", |world| world.go_on(hook, id))
            .await
    }

    async fn wait_on(&self, hook: &str, id: &str) -> Result<(), GroupError> {
        self.call("RecordLifecycleActionHeartbeat", |world| {
            world.wait_on(hook, id)
        })
        .await
    }
}
