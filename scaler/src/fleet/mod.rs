//! A fleet as the scaler sees it: it can be read, grown, and reduced by one exact member.

pub mod asg;
pub mod container;
mod notice;
pub mod process;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use self::asg::group::GroupError;
use async_trait::async_trait;
use tidegate_control::{Bounds, Member, Observation, Time};

pub use notice::Notice;

/// Workers on machines, containers or processes. Called by one caller, one call at a time; no
/// call may take longer than a tick.
#[async_trait]
pub trait Fleet: Send {
    fn capabilities(&self) -> Capabilities;

    /// The bounds that the fleet itself sets, and their reason. They may change with each
    /// [`Fleet::describe`].
    fn limits(&self) -> Limits;

    /// The longest that one call to grow or to remove may take, with all its tries.
    fn call_limit(&self) -> Duration {
        Duration::from_secs(2)
    }

    /// Who is there now. A launch that was accepted is described from then on, as is a removal,
    /// as leaving, until it is complete.
    async fn describe(&mut self, now: Time) -> Result<FleetStatus, FleetError>;

    /// Launches `count` workers. Returns the ids of those that are known at once.
    async fn grow(&mut self, now: Time, count: u32) -> Result<Vec<String>, FleetError>;

    /// Removes exactly this member. Removing one that is leaving changes nothing.
    async fn remove(&mut self, id: &str) -> Result<(), FleetError>;

    /// Removes the first of these members, and as many after it as can be removed within the time of
    /// one call. Says what came of them, in their order; the others are untouched.
    async fn remove_some(&mut self, ids: &[String]) -> Vec<Result<(), FleetError>> {
        match ids.first() {
            Some(id) => vec![self.remove(id).await],
            None => Vec::new(),
        }
    }

    /// As [`Fleet::remove`], and launches another in its place. Returns the ids of the launched
    /// that are known at once.
    async fn replace(&mut self, now: Time, id: &str) -> Result<Vec<String>, FleetError> {
        self.remove(id).await?;
        self.grow(now, 1).await
    }

    /// The law has asked for so many workers at this tick, before bounds.
    fn needs(&mut self, workers: u32) {
        let _ = workers;
    }

    /// Which other fleets have what this one would need to grow, in words; `None` when none has.
    fn held_by_others(&self) -> Option<String> {
        None
    }

    /// Follows up on what the heartbeats say, at the end of each tick.
    async fn attend(&mut self, now: Time, seen: &Observation) {
        let _ = (now, seen);
    }

    /// The scaler ends. A fleet that cannot live without it ends too, in good order.
    async fn close(&mut self);

    /// As [`Fleet::close`], for someone who will not wait.
    fn abandon(&mut self);
}

/// What differs between fleets, beyond what all of them do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Members live on when the scaler ends.
    pub outlives_scaler: bool,
    /// Others may launch and remove members, or change how many there shall be.
    pub has_other_writers: bool,
    /// A launch has its member's id at once; otherwise a name of its own until the member shows.
    pub names_at_once: bool,
    /// A member that others take away is described as to be drained, and waits for it.
    pub drains_what_others_end: bool,
}

/// What a fleet allows, whatever a policy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub bounds: Bounds,
    /// What people should know of it, such as `this machine has 2 cores`.
    pub why: Option<String>,
}

/// The fleet at one moment.
#[derive(Clone, Debug, Default)]
pub struct FleetStatus {
    pub members: Vec<Member>,
    /// Members that ended since the status before.
    pub ended: Vec<Ended>,
    /// Launches that have become members with an id of their own since the status before.
    pub renamed: Vec<Renamed>,
    /// Who shall take no requests, though the law did not say so: members that others take away,
    /// and what is kept warm.
    pub to_drain: Vec<String>,
    /// Why no member is to be removed now.
    pub scale_in_held: Option<String>,
    /// How many members the fleet was asked for, where that is not what it has.
    pub desired: Option<u32>,
    /// What is prepared and not a member.
    pub warm: u32,
    /// Capacity that was asked for is not to be had.
    pub is_short: bool,
    /// What people should know.
    pub notices: Vec<Notice>,
}

/// A member that was described under another name before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renamed {
    pub from: String,
    pub to: String,
}

/// The end of a member.
#[derive(Clone, Debug)]
pub struct Ended {
    pub id: String,
    /// How long it lived.
    pub after: Duration,
    /// The scaler had stopped it.
    pub asked: bool,
    /// The scaler had stopped it, it did not end, and was killed after this long.
    pub killed_after: Option<Duration>,
    /// Such as `exit code 1`.
    pub how: String,
    pub log: Option<PathBuf>,
    pub last_lines: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    #[error("{} cannot be started: {cause}", program.display())]
    Spawn {
        program: PathBuf,
        cause: std::io::Error,
    },
    #[error("there is no member {id}")]
    Unknown { id: String },
    #[error(transparent)]
    Engine(#[from] container::EngineError),
    #[error(transparent)]
    Group(#[from] GroupError),
    #[error("the state of the group is unknown or too old")]
    NotSeen,
    #[error(
        "the group's capacity is counted in other units than instances, which is not supported"
    )]
    Weighted,
    #[error("the fleet's minimum of {min} is reached")]
    AtMinimum { min: u32 },
    #[error("the fleet's maximum of {max} is reached")]
    AtMaximum { max: u32 },
    #[error("AWS has no {what}; retrying in {} s", for_ms.div_ceil(1000))]
    Short { what: String, for_ms: u64 },
    #[error("AWS throttles; retrying in {} s", for_ms.div_ceil(1000))]
    HeldBack { for_ms: u64 },
}

/// Whoever reports to the proxies, as a fleet that nobody else describes. While one of them is
/// silent, those `known` before count as well.
pub fn reported<'a>(
    now: Time,
    seen: &'a Observation,
    known: impl Iterator<Item = &'a String>,
) -> FleetStatus {
    let answered = seen.proxies.iter().filter_map(|proxy| proxy.seen.as_ref());
    let reported = answered.flat_map(|seen| seen.workers.iter().map(|worker| &worker.id));
    let is_partial = !seen.is_complete();
    let ids: BTreeSet<&String> = reported.chain(known.filter(|_| is_partial)).collect();
    let members = ids.into_iter().map(|id| Member {
        id: id.clone(),
        launched: now,
        leaving: false,
    });
    FleetStatus {
        members: members.collect(),
        ..FleetStatus::default()
    }
}
