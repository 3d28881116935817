//! The fleet as an EC2 Auto Scaling Group.
//!
//! It grows by setting the desired capacity, which is absolute, so that a repeated call launches nothing
//! more. It shrinks by terminating exactly the worker that has drained. It never asks for fewer
//! instances in another way, because AWS would then choose which one to terminate.
//!
//! A tick makes at most one read, and no call takes longer than `asg.timeout`. Between two reads the
//! [`View`] holds what is known.

mod acts;
pub mod desired;
pub mod fake;
pub mod group;
pub mod hooks;
mod notices;
pub mod shortage;
pub mod view;
mod watch;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use tidegate_control::{Bounds, Observation, Time};

use self::acts::Plan;
use self::group::{Description, Group, GroupError, State, Then};
use self::hooks::Hooks;
use self::notices::Notices;
use self::view::View;
use self::watch::{Read, Watch};
use super::{Capabilities, Fleet, FleetError, FleetStatus, Limits, Notice};
use tidegate_policy::AsgRules;

/// What the fleet is made of.
pub struct Setup<G> {
    pub group: G,
    pub rules: AsgRules,
    /// Within this time 99 of 100 instances serve.
    pub lead_time: Duration,
    /// After this time an instance that leaves is waited for no more.
    pub drain_limit: Duration,
    /// When instances were launched that an earlier run knew.
    pub launched: BTreeMap<String, Time>,
}

pub struct AsgFleet<G> {
    group: G,
    name: String,
    call_limit: Duration,
    view: View,
    hooks: Hooks,
    watch: Watch,
    notices: Notices,
    /// The group as the last look showed it.
    description: Option<Description>,
    /// When each instance was last protected.
    protected: BTreeMap<String, Time>,
    now: Time,
}

impl<G: Group> AsgFleet<G> {
    pub fn new(setup: Setup<G>) -> AsgFleet<G> {
        let rules = setup.rules;
        AsgFleet {
            group: setup.group,
            // To replace is two calls.
            call_limit: *rules.timeout * 2,
            view: View::new(setup.launched),
            hooks: Hooks::new(rules.launch_hook, rules.terminate_hook, setup.drain_limit),
            watch: Watch::new(&rules.group, *rules.describe_every, setup.lead_time),
            name: rules.group,
            notices: Notices::default(),
            description: None,
            protected: BTreeMap::new(),
            now: Time::default(),
        }
    }

    /// Makes the read that is due, if one is.
    async fn read(&mut self, now: Time) -> Result<(), FleetError> {
        let wait = self.view.waits_since();
        let Some(read) = self.watch.due(now, self.view.expects_a_look(), wait) else {
            return Ok(());
        };
        self.watch.begun(now, read);
        match read {
            Read::Look => self.look(now).await?,
            Read::Hooks => {
                let hooks = self.group.hooks().await;
                if let Some(hooks) = self.known(now, "its lifecycle hooks", hooks) {
                    let missing = self.hooks.take(&hooks);
                    for hook in missing {
                        let group = self.name.clone();
                        self.notices.once(Notice::HookMissing { group, hook });
                    }
                }
            }
            Read::Refresh => {
                let refresh = self.group.refresh().await;
                let is_refused = refresh.as_ref().is_err_and(GroupError::is_lasting);
                if is_refused && self.watch.knows_of_refreshes() {
                    // It was permitted before: what it said last still holds.
                    return Ok(());
                }
                if let Some(refresh) = self.known(now, "whether an instance refresh runs", refresh)
                {
                    self.watch.refresh(refresh.clone());
                    self.notices.refresh(refresh);
                }
            }
            Read::Failures => {
                let failures = self.group.failures().await;
                if let Some(failures) = self.known(now, "why launches fail", failures)
                    && let Some(short) = self.watch.failures(now, &failures)
                {
                    self.view.give_up_all();
                    self.notices.short(short);
                }
            }
        }
        Ok(())
    }

    async fn look(&mut self, now: Time) -> Result<(), FleetError> {
        match self.group.look().await {
            Ok(description) if description.weighted => {
                self.description = None;
                Err(FleetError::Weighted)
            }
            Ok(description) => {
                self.watch.looked(now);
                self.notices.group(&self.name, &description);
                if let Some(foreign) = self.view.take(now, &description) {
                    let (from, to) = (foreign.from, foreign.to);
                    self.notices.push(Notice::SizedByOthers { from, to });
                }
                if self.view.waits_since().is_none() && self.watch.capacity_came() {
                    self.notices.capacity_back();
                }
                self.description = Some(description);
                Ok(())
            }
            Err(error) => {
                self.failed(now, &error);
                if let GroupError::NotMade { .. }
                | GroupError::NoReply { .. }
                | GroupError::Busy { .. } = error
                {
                    self.watch.acted(now);
                }
                match self.watch.is_blind(now) {
                    true => Err(error.into()),
                    false => Ok(()),
                }
            }
        }
    }

    /// The answer of a read that can be done without. What will not be answered is taken as none.
    fn known<T: Default>(
        &mut self,
        now: Time,
        what: &'static str,
        answer: Result<T, GroupError>,
    ) -> Option<T> {
        match answer {
            Ok(answer) => {
                self.watch.answered();
                Some(answer)
            }
            Err(error) if error.is_lasting() => {
                let why = error.to_string();
                self.notices.once(Notice::Unknown { what, why });
                Some(T::default())
            }
            Err(error) => {
                self.failed(now, &error);
                None
            }
        }
    }

    /// Why no member is to be removed now. While one is missed its replacement may be there
    /// already, and would be the one too many.
    fn why_not_shrink(&self) -> Option<String> {
        let missed = self.view.missed().next();
        let missed = missed.map(|id| format!("{id} is not seen in the group any more"));
        missed.or_else(|| self.watch.why_not_shrink())
    }

    /// A call failed. When AWS throttles, all calls wait.
    fn failed(&mut self, now: Time, error: &GroupError) {
        if let GroupError::Throttled { .. } = error {
            self.watch.throttled(now);
            self.notices.throttled(error.to_string());
        }
    }

    /// Whether calls may be made, and the group as it was last seen.
    fn ready_to_act(&self, now: Time) -> Result<&Description, FleetError> {
        if let Some(until) = self.watch.held_until(now) {
            let for_ms = until.since(now).as_millis() as u64;
            return Err(FleetError::HeldBack { for_ms });
        }
        self.description.as_ref().ok_or(FleetError::NotSeen)
    }
}

#[async_trait]
impl<G: Group> Fleet for AsgFleet<G> {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            outlives_scaler: true,
            has_other_writers: true,
            names_at_once: false,
            drains_what_others_end: true,
        }
    }

    fn call_limit(&self) -> Duration {
        self.call_limit
    }

    fn limits(&self) -> Limits {
        let name = &self.name;
        match &self.description {
            Some(Description { min, max, .. }) => Limits {
                bounds: Bounds {
                    min: *min,
                    max: *max,
                },
                why: Some(format!(
                    "the Auto Scaling Group {name} allows {min} to {max}"
                )),
            },
            None => Limits {
                bounds: Bounds {
                    min: 0,
                    max: u32::MAX,
                },
                why: Some(format!("the Auto Scaling Group {name} was not seen yet")),
            },
        }
    }

    async fn describe(&mut self, now: Time) -> Result<FleetStatus, FleetError> {
        self.now = now;
        if self.watch.held_until(now).is_none() {
            self.read(now).await?;
        }
        let description = self
            .description
            .as_ref()
            .filter(|_| !self.watch.is_blind(now));
        let Some(description) = description else {
            return Err(FleetError::NotSeen);
        };
        let warm_and_awake = self.view.warm().iter().filter(|instance| {
            instance.state == State::Warm || self.hooks.has_answered(&instance.id)
        });
        let to_drain = (self.view.leaving().cloned())
            .chain(self.view.standby().iter().cloned())
            .chain(warm_and_awake.map(|instance| instance.id.clone()));
        Ok(FleetStatus {
            members: self.view.members(),
            to_drain: to_drain.collect(),
            desired: Some(self.view.desired.value()),
            warm: description.warm,
            is_short: self.watch.is_short(),
            scale_in_held: self.why_not_shrink(),
            ended: self.view.ended(),
            renamed: self.view.renamed(),
            notices: self.notices.take(),
        })
    }

    /// Raises the desired capacity to what there is and `count` more, as far as the group's maximum
    /// allows; what is under way already is not asked for again.
    async fn grow(&mut self, now: Time, count: u32) -> Result<Vec<String>, FleetError> {
        let max = self.ready_to_act(now)?.max;
        if let Some(description) = &self.description
            && let Some((until, what)) = self.watch.short_until(now, &description.offerings)
        {
            let for_ms = until.since(now).as_millis() as u64;
            return Err(FleetError::Short { what, for_ms });
        }
        // As many as the group takes; one that is full says so.
        let counted = self.view.counted();
        let room = max.saturating_sub(counted);
        if count > 0 && room == 0 {
            return Err(FleetError::AtMaximum { max });
        }
        let count = count.min(room);
        let target = counted + count;
        if target > self.view.desired.value() {
            self.set_desired(now, target).await?;
        }
        Ok(self.view.launch(now, count))
    }

    async fn remove(&mut self, id: &str) -> Result<(), FleetError> {
        let removed = self.remove_some(&[id.to_owned()]).await;
        removed.into_iter().next().unwrap_or(Ok(()))
    }

    /// Some at a time. What AWS says to one of them holds for all: either the desired capacity falls
    /// with each, or it is lower than what there is already and stays.
    async fn remove_some(&mut self, ids: &[String]) -> Vec<Result<(), FleetError>> {
        let (then, planned) = self.plan_removals(ids);
        let calls = planned
            .iter()
            .filter(|plan| matches!(plan, Plan::Terminate));
        if calls.count() == 0 {
            return planned.into_iter().map(Plan::without_a_call).collect();
        }
        let ending: Vec<&String> = (ids.iter().zip(&planned))
            .filter_map(|(id, plan)| matches!(plan, Plan::Terminate).then_some(id))
            .collect();
        let answers = self.terminate_all(&ending, then).await;
        let all_done = answers.iter().all(Result::is_ok);
        let mut answers = answers.into_iter();
        let mut done: Vec<Result<(), FleetError>> = (planned.into_iter())
            .map(|plan| match plan {
                Plan::Terminate => answers.next().unwrap_or(Ok(())),
                plan => plan.without_a_call(),
            })
            .collect();
        if all_done && let Some(last) = done.iter_mut().rfind(|done| done.is_ok()) {
            *last = self.cancel_launches().await;
        }
        done
    }

    /// The group launches the other one by itself, as its desired capacity stays.
    async fn replace(&mut self, now: Time, id: &str) -> Result<Vec<String>, FleetError> {
        if self.view.is_launch(id) {
            self.view.give_up(id);
            return self.grow(now, 1).await;
        }
        if self.is_removable(id)? {
            self.ready_to_act(now)?;
            let mut answers = self.terminate_all(&[&id.to_owned()], Then::Stay).await;
            answers.pop().unwrap_or(Ok(()))?;
        }
        self.grow(now, 1).await
    }

    async fn attend(&mut self, now: Time, seen: &Observation) {
        if self.ready_to_act(now).is_ok() {
            self.complete_hooks(now, seen).await;
            self.protect(now).await;
        }
    }

    /// Instances live on without the scaler.
    async fn close(&mut self) {}

    fn abandon(&mut self) {}
}
