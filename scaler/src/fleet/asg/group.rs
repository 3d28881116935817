//! What an Auto Scaling Group can be asked and ordered, call by call.
//!
//! AWS or a group in memory answers; the fleet above is the same. A call ends within its own timeout,
//! and is tried once; the caller decides about retries.

use async_trait::async_trait;

/// The calls. Each is one request.
#[async_trait]
pub trait Group: Send + Sync {
    /// The group and its instances, perhaps as they were some seconds ago.
    async fn look(&self) -> Result<Description, GroupError>;

    /// Its lifecycle hooks.
    async fn hooks(&self) -> Result<Vec<Hook>, GroupError>;

    /// The instance refresh that is under way, if one is.
    async fn refresh(&self) -> Result<Option<Refresh>, GroupError>;

    /// Launches that failed lately, the newest first.
    async fn failures(&self) -> Result<Vec<Failure>, GroupError>;

    /// How many instances there shall be. Asking for the same again changes nothing.
    async fn set_desired(&self, desired: u32) -> Result<(), GroupError>;

    /// Takes exactly this instance away.
    async fn terminate(&self, id: &str, then: Then) -> Result<(), GroupError>;

    /// Keeps instances from being chosen when the group shrinks by itself; at most
    /// [`MOST_PROTECTED`].
    async fn protect(&self, ids: &[String]) -> Result<(), GroupError>;

    /// The instance need not wait for this hook any more.
    async fn go_on(&self, hook: &str, id: &str) -> Result<(), GroupError>;

    /// The instance may wait for this hook for one more of its timeouts.
    async fn wait_on(&self, hook: &str, id: &str) -> Result<(), GroupError>;
}

/// Instances that one call protects.
pub const MOST_PROTECTED: usize = 50;

/// What becomes of the desired capacity when an instance is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It falls by one.
    Shrink,
    /// It stays, so that the group launches another instance if it has too few now.
    Stay,
}

/// The group at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    pub min: u32,
    pub max: u32,
    pub desired: u32,
    /// New instances are protected from scale-in.
    pub protects_new: bool,
    /// Processes that somebody suspended, such as `Launch`.
    pub suspended: Vec<String>,
    pub instances: Vec<Instance>,
    /// Instances in the warm pool.
    pub warm: u32,
    /// Its capacity is counted in something else than instances.
    pub weighted: bool,
    pub offerings: Offerings,
}

/// What the group may launch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offerings {
    /// Types of instances; `None` where AWS chooses among all that meet requirements. A group with
    /// one type may not say which.
    pub kinds: Option<Vec<String>>,
    pub zones: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    pub id: String,
    /// Such as `c7i.large`.
    pub kind: String,
    pub zone: String,
    pub state: State,
    /// The group means to keep it.
    pub healthy: bool,
    pub protected: bool,
}

/// Where an instance is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// On its way in.
    Pending,
    /// Waits for its launch hooks.
    PendingWait,
    InService,
    /// Somebody took it out of service to look at it.
    Standby,
    /// On its way out.
    Leaving,
    /// Waits for its termination hooks.
    LeavingWait,
    /// In the warm pool.
    Warm,
    /// In the warm pool, and waits for its launch hooks.
    WarmWait,
    /// On its way out of the warm pool, and waits for its termination hooks.
    WarmLeavingWait,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    pub name: String,
    pub on: Transition,
    /// How long an instance waits for it by default.
    pub timeout_s: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    Launch,
    Terminate,
}

/// An instance refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refresh {
    pub id: String,
    pub percent: u32,
}

/// A launch that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Of the activity.
    pub id: String,
    /// In AWS's words.
    pub message: String,
    pub zone: Option<String>,
    /// How long ago, as the group's own clock has it.
    pub age_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    #[error("there is no Auto Scaling Group {group}")]
    Missing { group: String },
    #[error("AWS throttles {call}")]
    Throttled { call: &'static str },
    #[error("{call}: another change of the group is under way ({why})")]
    Busy { call: &'static str, why: String },
    /// AWS could not be called at all.
    #[error("{call} was not called: {why}")]
    NotMade { call: &'static str, why: String },
    /// It may have been done.
    #[error("{call}: no answer ({why})")]
    NoReply { call: &'static str, why: String },
    #[error("{call} is not permitted: {why}")]
    Denied { call: &'static str, why: String },
    /// Of emulators.
    #[error("{call} is not supported there")]
    Unsupported { call: &'static str },
    #[error("{call} is refused: {code}: {why}")]
    Refused {
        call: &'static str,
        code: String,
        why: String,
    },
}

impl GroupError {
    /// Whether asking again will bring the same.
    pub fn is_lasting(&self) -> bool {
        matches!(
            self,
            GroupError::Denied { .. } | GroupError::Unsupported { .. }
        )
    }
}
