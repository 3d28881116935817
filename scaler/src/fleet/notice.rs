//! What people should know of a fleet besides its members, each thing once.

use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Somebody else changed the size that the fleet is asked for.
    SizedByOthers {
        from: u32,
        to: u32,
    },
    /// The fleet cannot launch now: this is short.
    CapacityUnavailable {
        what: String,
    },
    CapacityBack,
    /// Members are being replaced by newer ones.
    RefreshBegan {
        id: String,
        percent: u32,
    },
    RefreshOver,
    /// What the scaler cannot know, and goes on without.
    Unknown {
        what: &'static str,
        why: String,
    },
    /// The group would choose among new members by itself when it shrinks.
    Unprotected {
        group: String,
    },
    HookMissing {
        group: String,
        hook: String,
    },
    Suspended {
        processes: String,
    },
    Resumed,
    Throttled {
        why: String,
    },
    CallFailed {
        why: String,
    },
}

impl Notice {
    /// Whether somebody should look at it.
    pub fn is_warning(&self) -> bool {
        match self {
            Notice::CapacityUnavailable { .. }
            | Notice::Unknown { .. }
            | Notice::HookMissing { .. }
            | Notice::Suspended { .. }
            | Notice::Throttled { .. }
            | Notice::CallFailed { .. } => true,
            Notice::SizedByOthers { .. }
            | Notice::CapacityBack
            | Notice::RefreshBegan { .. }
            | Notice::RefreshOver
            | Notice::Unprotected { .. }
            | Notice::Resumed => false,
        }
    }

    /// Its name in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Notice::SizedByOthers { .. } => "sized_by_others",
            Notice::CapacityUnavailable { .. } => "capacity_unavailable",
            Notice::CapacityBack => "capacity_back",
            Notice::RefreshBegan { .. } => "refresh_began",
            Notice::RefreshOver => "refresh_over",
            Notice::Unknown { .. } => "unknown",
            Notice::Unprotected { .. } => "unprotected",
            Notice::HookMissing { .. } => "hook_missing",
            Notice::Suspended { .. } => "suspended",
            Notice::Resumed => "resumed",
            Notice::Throttled { .. } => "throttled",
            Notice::CallFailed { .. } => "call_failed",
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::SizedByOthers { from, to } => write!(
                f,
                "somebody else set the group's desired capacity from {from} to {to}; it stays so \
                 until the policy asks for another size"
            ),
            Notice::CapacityUnavailable { what } => write!(
                f,
                "capacity unavailable: AWS has no {what}; what was asked for is not counted on, \
                 and the group goes on trying"
            ),
            Notice::CapacityBack => f.write_str("capacity is available again"),
            Notice::RefreshBegan { id, percent } => write!(
                f,
                "instance refresh {id} is under way ({percent} %), so no worker is removed"
            ),
            Notice::RefreshOver => f.write_str("the instance refresh is over"),
            Notice::Unknown { what, why } => {
                write!(f, "{what} cannot be read, so it is taken as absent: {why}")
            }
            Notice::Unprotected { group } => write!(
                f,
                "{group} does not protect new instances from scale-in, so each is protected when \
                 it is seen; set NewInstancesProtectedFromScaleIn"
            ),
            Notice::HookMissing { group, hook } => {
                write!(f, "{group} has no lifecycle hook {hook}")
            }
            Notice::Suspended { processes } => {
                write!(f, "the group's processes are suspended: {processes}")
            }
            Notice::Resumed => f.write_str("the group's processes are no longer suspended"),
            Notice::Throttled { why } => {
                write!(f, "{why}, so it is called less often for a while")
            }
            Notice::CallFailed { why } => f.write_str(why),
        }
    }
}
