//! One instance of a group in memory, from its launch to its end.

use tidegate_control::Time;

use crate::fleet::asg::group::{Instance, State};

#[derive(Clone, Debug)]
pub struct Machine {
    pub instance: Instance,
    pub launched: Time,
    /// From when its worker answers; `None` if it never will.
    pub answers_from: Option<Time>,
    /// When its state ends by itself.
    pub until: Option<Time>,
    /// It stopped working, and the group will notice at this time.
    pub noticed_broken_at: Option<Time>,
    /// It was launched before the last refresh began.
    pub is_old: bool,
}

impl Machine {
    /// Whether a worker on it can work at this time.
    pub fn works(&self, now: Time) -> bool {
        let runs = !matches!(self.instance.state, State::Warm);
        let answers = self.answers_from.is_some_and(|from| now >= from);
        runs && answers && self.noticed_broken_at.is_none()
    }

    /// It counts towards the desired capacity.
    pub fn stays(&self) -> bool {
        matches!(
            self.instance.state,
            State::Pending | State::PendingWait | State::InService
        )
    }

    pub fn leaves(&self) -> bool {
        matches!(self.instance.state, State::Leaving | State::LeavingWait)
    }

    pub fn is_in_pool(&self) -> bool {
        matches!(self.instance.state, State::Warm | State::WarmWait)
    }

    pub fn enter(&mut self, state: State, until: Option<Time>) {
        self.instance.state = state;
        self.until = until;
    }
}
