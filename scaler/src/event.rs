//! What the scaler reports while it works, each thing once.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tidegate_control::Decision;
use tidegate_protocol::Order;

use crate::fleet::Notice;
use crate::ledger::{ByHand, WorkerByHand};

/// Something worth telling.
#[derive(Clone, Debug)]
pub enum Event {
    /// The fleet changes size or members.
    Decided(Decision),
    /// A dry run would have done this.
    WouldDo(Decision),
    WorkerReady {
        id: String,
        after: Duration,
    },
    /// A worker that an earlier run has launched serves.
    WorkerServes {
        id: String,
    },
    /// A worker ended that the scaler had not stopped.
    WorkerDied(Death),
    /// A worker that was told to stop has ended.
    WorkerStopped {
        id: String,
        how: Stopped,
    },
    /// Several starts in a row failed.
    StartsFail {
        failures: u32,
        wait: Duration,
    },
    StartsWork,
    LaunchFailed {
        why: String,
    },
    /// Most of the workers fell silent together.
    HeartbeatsLost,
    FleetUnknown {
        why: String,
    },
    ProxySilent {
        proxy: String,
        why: String,
    },
    ProxyAnswers {
        proxy: String,
    },
    /// A name stands for one more proxy.
    ProxyJoined {
        proxy: String,
    },
    /// A name stands for a proxy no more.
    ProxyLeft {
        proxy: String,
    },
    OrderFailed {
        proxy: String,
        why: String,
    },
    LedgerFailed {
        why: String,
    },
    /// What the law has learned cannot be kept for the next run.
    LearnedUnkept {
        why: String,
    },
    /// What an earlier run's law has learned cannot be used.
    LearnedUnread {
        why: String,
    },
    /// This scaler acts, as nobody else does any more.
    Leads {
        /// Workers that the one before has left draining.
        draining: usize,
    },
    /// Another scaler acts.
    Watches {
        holder: Option<String>,
    },
    /// What the one before has left cannot be read.
    MemoryUnread {
        why: String,
    },
    LeaseUnreached {
        why: String,
    },
    LeaseReached,
    PolicyReloaded {
        file: PathBuf,
        /// What differs from the policy that was in force.
        changed: Vec<&'static str>,
        next_start: Vec<&'static str>,
    },
    /// An operator took the size into their hands, or gave it back.
    ByHand(ByHand),
    /// An operator has a worker drain, or takes it back.
    WorkerByHand(WorkerByHand),
    /// The wall clock was set.
    ClockSet {
        by: Duration,
        back: bool,
    },
    PolicyRefused {
        why: String,
    },
    /// The fleet allows less than the policy.
    BoundsCut {
        min: u32,
        max: u32,
        why: String,
    },
    /// Other fleets of this machine have the cores that more workers need.
    CoresHeld {
        needed: u32,
        max: u32,
        why: String,
    },
    /// The fleet has something to tell.
    Fleet(Notice),
    /// An earlier run's ledger was taken up.
    Recalled {
        ticks: usize,
    },
}

/// How a worker that was told to stop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    Finished,
    /// It had to be killed after this long.
    Killed {
        after: Duration,
    },
}

/// The unasked-for end of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    pub id: String,
    /// How long it lived.
    pub after: Duration,
    /// It had been ready.
    pub served: bool,
    /// Such as `exit code 1`.
    pub how: String,
    pub log: Option<PathBuf>,
    /// The end of its log.
    pub last_lines: Vec<String>,
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Info,
    Warning,
}

impl Event {
    pub fn severity(&self) -> Severity {
        match self {
            Event::WorkerDied(_)
            | Event::WorkerStopped {
                how: Stopped::Killed { .. },
                ..
            }
            | Event::StartsFail { .. }
            | Event::LaunchFailed { .. }
            | Event::HeartbeatsLost
            | Event::FleetUnknown { .. }
            | Event::ProxySilent { .. }
            | Event::OrderFailed { .. }
            | Event::LedgerFailed { .. }
            | Event::LearnedUnkept { .. }
            | Event::LearnedUnread { .. }
            | Event::MemoryUnread { .. }
            | Event::LeaseUnreached { .. }
            | Event::PolicyRefused { .. } => Severity::Warning,
            Event::Fleet(notice) if notice.is_warning() => Severity::Warning,
            _ => Severity::Info,
        }
    }

    /// What kind of event it is, for programs: part of the log's format, which does not change.
    pub fn code(&self) -> &'static str {
        match self {
            Event::Decided(_) => "decided",
            Event::WouldDo(_) => "would_do",
            Event::WorkerReady { .. } => "worker_ready",
            Event::WorkerServes { .. } => "worker_serves",
            Event::WorkerDied(_) => "worker_died",
            Event::WorkerStopped { .. } => "worker_stopped",
            Event::StartsFail { .. } => "starts_fail",
            Event::StartsWork => "starts_work",
            Event::LaunchFailed { .. } => "launch_failed",
            Event::HeartbeatsLost => "heartbeats_lost",
            Event::FleetUnknown { .. } => "fleet_unknown",
            Event::ProxySilent { .. } => "proxy_silent",
            Event::ProxyAnswers { .. } => "proxy_answers",
            Event::ProxyJoined { .. } => "proxy_joined",
            Event::ProxyLeft { .. } => "proxy_left",
            Event::OrderFailed { .. } => "order_failed",
            Event::LedgerFailed { .. } => "ledger_failed",
            Event::LearnedUnkept { .. } => "learned_unkept",
            Event::LearnedUnread { .. } => "learned_unread",
            Event::Leads { .. } => "leads",
            Event::Watches { .. } => "watches",
            Event::MemoryUnread { .. } => "memory_unread",
            Event::LeaseUnreached { .. } => "lease_unreached",
            Event::LeaseReached => "lease_reached",
            Event::PolicyReloaded { .. } => "policy_reloaded",
            Event::ByHand(_) => "by_hand",
            Event::WorkerByHand(_) => "worker_by_hand",
            Event::ClockSet { .. } => "clock_set",
            Event::PolicyRefused { .. } => "policy_refused",
            Event::BoundsCut { .. } => "bounds_cut",
            Event::CoresHeld { .. } => "cores_held",
            Event::Fleet(_) => "fleet",
            Event::Recalled { .. } => "recalled",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Decided(decision) => decision.fmt(f),
            Event::WouldDo(decision) => write!(f, "would do: {decision}"),
            Event::WorkerReady { id, after } => write!(f, "{id} is ready after {}", span(*after)),
            Event::WorkerServes { id } => write!(f, "{id} is serving"),
            Event::WorkerDied(death) => death.fmt(f),
            Event::WorkerStopped { id, how } => match how {
                Stopped::Finished => write!(f, "{id} has stopped"),
                Stopped::Killed { after } => write!(
                    f,
                    "{id} did not stop within {} and was killed",
                    span(*after)
                ),
            },
            Event::StartsFail { failures, wait } => write!(
                f,
                "{failures} launches in a row have failed; retrying after {}, then less often, down to once a minute",
                span(*wait)
            ),
            Event::StartsWork => f.write_str("launches succeed again"),
            Event::LaunchFailed { why } => write!(f, "no worker could be launched: {why}"),
            Event::HeartbeatsLost => f.write_str(
                "most workers fell silent together, so none is replaced before fleet.mass_silence: \
                 do their heartbeats reach the proxies?",
            ),
            Event::FleetUnknown { why } => {
                write!(
                    f,
                    "the state of the fleet cannot be read, so nothing is decided: {why}"
                )
            }
            Event::ProxySilent { proxy, why } => {
                write!(f, "{proxy} gives no signal, so no worker is removed: {why}")
            }
            Event::ProxyAnswers { proxy } => write!(f, "{proxy} gives its signal again"),
            Event::ProxyJoined { proxy } => write!(f, "{proxy} is a new proxy"),
            Event::ProxyLeft { proxy } => write!(f, "{proxy} is no longer one of the proxies"),
            Event::OrderFailed { proxy, why } => write!(f, "{proxy} accepts no orders: {why}"),
            Event::LedgerFailed { why } => write!(f, "the ledger cannot be written: {why}"),
            Event::LearnedUnkept { why } => {
                write!(f, "what was learned cannot be kept for the next run: {why}")
            }
            Event::LearnedUnread { why } => write!(
                f,
                "what an earlier run has learned is not used, and is learned anew: {why}"
            ),
            Event::Leads { draining: 0 } => f.write_str("holds the lease and acts"),
            Event::Leads { draining } => {
                write!(
                    f,
                    "holds the lease and acts; takes over {draining} draining workers"
                )
            }
            Event::Watches { holder: None } => f.write_str("only watches, without the lease"),
            Event::Watches {
                holder: Some(holder),
            } => write!(f, "only watches: {holder} holds the lease"),
            Event::MemoryUnread { why } => write!(
                f,
                "the state that the previous scaler left cannot be read, so no worker is removed for a while: {why}"
            ),
            Event::LeaseUnreached { why } => write!(f, "the lease cannot be reached: {why}"),
            Event::LeaseReached => f.write_str("the lease can be reached again"),
            Event::PolicyReloaded {
                file,
                changed,
                next_start,
            } => {
                write!(f, "{} is in force", file.display())?;
                if !next_start.is_empty() {
                    write!(f, ", except {} until a restart", next_start.join(", "))?;
                }
                match changed.is_empty() {
                    true => f.write_str("; unchanged"),
                    false => write!(f, "; changed: {}", changed.join(", ")),
                }
            }
            Event::ClockSet { by, back: false } => write!(
                f,
                "the clock was set forward by {}; what was seen before counts as a pause",
                span(*by)
            ),
            Event::ClockSet { by, back: true } => write!(
                f,
                "the clock was set back by {}; schedules follow it",
                span(*by)
            ),
            Event::ByHand(ByHand { order, note }) => match order {
                Some(order) => write!(f, "{order}{note}"),
                None => write!(f, "the policy decides again{note}"),
            },
            Event::WorkerByHand(WorkerByHand {
                worker,
                order,
                note,
            }) => match order {
                Order::Drain => write!(f, "{worker} is drained by hand{note}"),
                Order::Undrain => write!(f, "{worker} is undrained by hand{note}"),
            },
            Event::PolicyRefused { why } => write!(f, "the old policy stays in force: {why}"),
            Event::BoundsCut { min, max, why } => {
                write!(f, "the fleet is limited to {min} to {max} workers: {why}")
            }
            Event::CoresHeld { needed, max, why } => {
                write!(f, "{needed} workers are needed and {max} can run: {why}")
            }
            Event::Fleet(notice) => notice.fmt(f),
            Event::Recalled { ticks } => write!(f, "continues from {ticks} ticks of its ledger"),
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, after, how) = (&self.id, span(self.after), &self.how);
        match self.served {
            true => write!(f, "{id} ended after {after} ({how})")?,
            false => write!(f, "{id} ended {after} after its start, never ready ({how})")?,
        }
        for line in &self.last_lines {
            write!(f, "\n    {line}")?;
        }
        match &self.log {
            Some(log) => write!(f, "\n    log: {}", log.display()),
            None => Ok(()),
        }
    }
}

/// `0.4s`, `12s`.
pub fn span(duration: Duration) -> String {
    match duration.as_secs_f64() {
        seconds if seconds < 10.0 => format!("{seconds:.1}s"),
        seconds => format!("{seconds:.0}s"),
    }
}

/// Takes events to people: the log of a daemon, or the terminal of `up`.
pub trait EventSink: Send {
    fn emit(&mut self, event: &Event);
}

/// Tells by the log.
#[derive(Debug, Default)]
pub struct Log;

impl EventSink for Log {
    fn emit(&mut self, event: &Event) {
        match event.severity() {
            Severity::Info => tracing::info!(code = event.code(), "{event}"),
            Severity::Warning => tracing::warn!(code = event.code(), "{event}"),
        }
    }
}
