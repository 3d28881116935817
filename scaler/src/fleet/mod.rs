//! What a fleet is to the scaler: something that can be seen, grown, and reduced by one exact
//! member.

pub mod process;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use tidegate_control::{Bounds, Member, Observation, Time};

/// Workers on machines, containers or processes. Called by one caller, one call at a time; no
/// call may take longer than a tick.
#[async_trait]
pub trait Fleet: Send {
    /// The bounds that the fleet itself sets, and their reason.
    fn limits(&self) -> Limits;

    /// Who is there now. A launch that was accepted is described from then on, as is a removal,
    /// as leaving, until it is complete.
    async fn describe(&mut self, now: Time) -> Result<Census, FleetError>;

    /// Launches `count` workers. Returns the ids of those that are known at once.
    async fn grow(&mut self, now: Time, count: u32) -> Result<Vec<String>, FleetError>;

    /// Removes exactly this member. Removing one that is leaving changes nothing.
    async fn remove(&mut self, id: &str) -> Result<(), FleetError>;

    /// The scaler ends. A fleet that cannot live without it ends too, in good order.
    async fn close(&mut self);

    /// As [`Fleet::close`], for someone who will not wait.
    fn abandon(&mut self);
}

/// What a fleet allows, whatever a policy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub bounds: Bounds,
    /// Such as `this machine has 2 cores`.
    pub why: String,
}

/// The fleet at one moment.
#[derive(Clone, Debug, Default)]
pub struct Census {
    pub members: Vec<Member>,
    /// Members that ended since the census before.
    pub ended: Vec<Ended>,
}

/// The end of a member.
#[derive(Clone, Debug)]
pub struct Ended {
    pub id: String,
    /// How long it lived.
    pub after: Duration,
    /// It had been told to.
    pub asked: bool,
    /// It was told to, did not, and was killed after this long.
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
}

/// Whoever reports to the proxies, as a fleet that nobody else describes. While one of them is
/// silent, those `known` before count as well.
pub fn reported<'a>(
    now: Time,
    seen: &'a Observation,
    known: impl Iterator<Item = &'a String>,
) -> Census {
    let answered = seen.proxies.iter().filter_map(|proxy| proxy.seen.as_ref());
    let reported = answered.flat_map(|seen| seen.workers.iter().map(|worker| &worker.id));
    let is_partial = !seen.is_complete();
    let ids: BTreeSet<&String> = reported.chain(known.filter(|_| is_partial)).collect();
    let members = ids.into_iter().map(|id| Member {
        id: id.clone(),
        launched: now,
        leaving: false,
    });
    Census {
        members: members.collect(),
        ended: Vec::new(),
    }
}
