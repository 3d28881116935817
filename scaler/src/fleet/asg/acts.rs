//! The calls that change the group, and what is remembered of each until a read shows it.

use std::time::Duration;

use futures_util::future::join_all;
use tidegate_control::{Observation, Time};

use super::AsgFleet;
use super::group::{Group, GroupError, MOST_PROTECTED, State, Then};
use super::hooks::{Due, What};
use super::view::Reply;
use crate::fleet::{FleetError, Notice};

/// An instance whose protection does not show after this is protected again.
const PROTECTS_WITHIN: Duration = Duration::from_secs(60);

/// Instances that are terminated at the same time. Each is a call, and all of an account's calls
/// come out of one bucket.
const MOST_AT_ONCE: usize = 10;

/// What is to become of a member that shall go.
pub(super) enum Plan {
    /// The group is called.
    Terminate,
    /// There is nothing to do.
    Done,
    Refused(FleetError),
}

impl Plan {
    pub(super) fn without_a_call(self) -> Result<(), FleetError> {
        match self {
            Plan::Refused(error) => Err(error),
            Plan::Terminate | Plan::Done => Ok(()),
        }
    }
}

impl<G: Group> AsgFleet<G> {
    pub(super) async fn set_desired(&mut self, now: Time, desired: u32) -> Result<(), FleetError> {
        self.watch.acted(now);
        match self.group.set_desired(desired).await {
            Ok(()) => {
                self.watch.answered();
                self.view.desired.wrote(now, desired);
                Ok(())
            }
            Err(error) => {
                if let GroupError::NoReply { .. } = error {
                    self.view.desired.tried(now, desired);
                }
                self.failed(now, &error);
                Err(error.into())
            }
        }
    }

    /// What is to become of the first of these members, and of those after it that can be removed
    /// with it.
    pub(super) fn plan_removals(&mut self, ids: &[String]) -> (Then, Vec<Plan>) {
        let (mut desired, mut staying) = (self.view.desired.value(), self.view.staying());
        let then = |desired, staying| match desired >= staying {
            true => Then::Shrink,
            false => Then::Stay,
        };
        let common = then(desired, staying);
        let (mut plans, mut calls) = (Vec::new(), 0);
        for id in ids {
            let plan = self.plan_removal(id, common, desired);
            if let Plan::Terminate = plan {
                if calls == MOST_AT_ONCE || then(desired, staying) != common {
                    break;
                }
                calls += 1;
                desired -= u32::from(common == Then::Shrink);
                staying -= 1;
            }
            plans.push(plan);
        }
        (common, plans)
    }

    fn plan_removal(&mut self, id: &str, then: Then, desired: u32) -> Plan {
        if self.view.is_launch(id) {
            self.view.give_up(id);
            return Plan::Done;
        }
        let min = match self.is_removable(id) {
            Ok(false) => return Plan::Done,
            Ok(true) => self
                .ready_to_act(self.now)
                .map(|description| description.min),
            Err(error) => Err(error),
        };
        match min {
            Ok(min) if then == Then::Shrink && desired <= min => {
                Plan::Refused(FleetError::AtMinimum { min })
            }
            Ok(_) => Plan::Terminate,
            Err(error) => Plan::Refused(error),
        }
    }

    /// Ends these instances, all at once. What was done is taken in first, then what may have been.
    pub(super) async fn terminate_all(
        &mut self,
        ids: &[&String],
        then: Then,
    ) -> Vec<Result<(), FleetError>> {
        let now = self.now;
        self.watch.acted(now);
        let calls = ids.iter().map(|id| self.group.terminate(id, then));
        let answers = join_all(calls).await;
        let falls = u32::from(then == Then::Shrink);
        for (id, _) in ids.iter().zip(&answers).filter(|(_, done)| done.is_ok()) {
            self.watch.answered();
            let desired = self.view.desired.value().saturating_sub(falls);
            self.view.desired.wrote(now, desired);
            self.view.removed(now, id, Reply::Yes);
        }
        let mut desired = self.view.desired.value();
        for (id, answer) in ids.iter().zip(&answers) {
            let Err(error) = answer else {
                continue;
            };
            if let GroupError::NoReply { .. } = error {
                desired = desired.saturating_sub(falls);
                self.view.desired.tried(now, desired);
                self.view.removed(now, id, Reply::None);
            }
            self.failed(now, error);
        }
        let answers = answers.into_iter();
        answers.map(|done| done.map_err(FleetError::from)).collect()
    }

    /// The fleet shrinks, so launches that did not come are not waited for any more. Nobody is
    /// chosen by AWS for that: there are no more instances than are asked for, all protected.
    pub(super) async fn cancel_launches(&mut self) -> Result<(), FleetError> {
        let target = self.view.counted();
        let (desired, given_up) = (self.view.desired.value(), self.view.given_up());
        let Some(description) = &self.description else {
            return Ok(());
        };
        let is_safe = description.protects_new && self.view.instances().all(|i| i.protected);
        if given_up == 0 || !is_safe || target >= desired || target < description.min {
            return Ok(());
        }
        self.set_desired(self.now, target).await?;
        self.view.forget_given_up();
        Ok(())
    }

    /// Whether the member is there and stays, so that it can be taken away.
    pub(super) fn is_removable(&self, id: &str) -> Result<bool, FleetError> {
        match self.view.knows(id) {
            true => Ok(!self.view.is_leaving(id)),
            false => Err(FleetError::Unknown { id: id.to_owned() }),
        }
    }

    /// Instances in service that the group might choose when it shrinks by itself.
    pub(super) async fn protect(&mut self, now: Time) {
        let protected = &mut self.protected;
        protected.retain(|_, at| now.since(*at) < PROTECTS_WITHIN);
        let open = self.view.instances().filter(|instance| {
            instance.state == State::InService
                && !instance.protected
                && !self.view.is_leaving(&instance.id)
                && !protected.contains_key(&instance.id)
        });
        let ids = open.map(|instance| instance.id.clone());
        let ids: Vec<String> = ids.take(MOST_PROTECTED).collect();
        if ids.is_empty() {
            return;
        }
        match self.group.protect(&ids).await {
            Ok(()) => self.watch.answered(),
            Err(error) => self.complain(now, &error),
        }
        self.protected.extend(ids.into_iter().map(|id| (id, now)));
    }

    pub(super) async fn complete_hooks(&mut self, now: Time, seen: &Observation) {
        let due = self.hooks.due(now, self.view.instances(), seen);
        if due.is_empty() {
            return;
        }
        self.watch.acted(now);
        let group = &self.group;
        let calls = due.iter().map(async |Due { id, hook, what }| match what {
            What::GoOn => group.go_on(hook, id).await,
            What::Wait => group.wait_on(hook, id).await,
        });
        let answers = join_all(calls).await;
        for error in answers.into_iter().filter_map(Result::err) {
            self.complain(now, &error);
        }
    }

    /// A call failed that no decision waits for.
    fn complain(&mut self, now: Time, error: &GroupError) {
        self.failed(now, error);
        let why = error.to_string();
        match error {
            GroupError::Throttled { .. } | GroupError::NoReply { .. } => {}
            error if error.is_lasting() => self.notices.once(Notice::CallFailed { why }),
            _ => self.notices.push(Notice::CallFailed { why }),
        }
    }
}
