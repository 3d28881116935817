//! The group itself: what it wants, what it has, and what it does about the difference.
//!
//! After AWS's guides: a launch that fails is tried again after a while, in another zone; a
//! launch hook that times out ends the instance; a group that shrinks by itself chooses among
//! instances that are not protected; terminating one by name asks nobody.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tidegate_control::Time;
use tidegate_control::chance::Chance;

use super::faults::{CallOutcome, Faults};
use super::machine::Machine;
use crate::fleet::asg::group::{Description, Failure, Hook, Offerings, Refresh, State, Transition};

/// From the end's begin to the end.
const ENDS_WITHIN: (f64, f64) = (5.0, 40.0);

/// The group notices within this time that an instance is broken.
const NOTICED_WITHIN: (f64, f64) = (30.0, 120.0);

/// How a group is set up.
#[derive(Clone, Debug)]
pub struct Shape {
    pub min: u32,
    pub max: u32,
    pub desired: u32,
    pub protects_new: bool,
    pub kinds: Vec<String>,
    pub zones: Vec<String>,
    /// Seconds from launch to the worker's first answer: least, median, most.
    pub boot_s: (f64, f64, f64),
    /// Name and timeout.
    pub launch_hook: Option<(String, Duration)>,
    pub terminate_hook: Option<(String, Duration)>,
    /// Instances that its warm pool holds, once they are prepared.
    pub warm: u32,
}

impl Default for Shape {
    fn default() -> Self {
        Shape {
            min: 0,
            max: 20,
            desired: 0,
            protects_new: true,
            kinds: vec!["c7i.large".to_owned()],
            zones: vec!["eu-central-1a".to_owned(), "eu-central-1b".to_owned()],
            boot_s: (20.0, 40.0, 120.0),
            launch_hook: None,
            terminate_hook: None,
            warm: 0,
        }
    }
}

#[derive(Clone, Debug)]
pub struct World {
    pub faults: Faults,
    /// How often each call came.
    pub calls: BTreeMap<&'static str, u32>,
    pub(super) shape: Shape,
    pub(super) chance: Chance,
    pub(super) now: Time,
    pub(super) machines: BTreeMap<String, Machine>,
    pub(super) launched: u32,
    pub(super) retry_at: Time,
    pub(super) failures: VecDeque<(Time, Failure)>,
    refresh: Option<Refresh>,
    /// How the group was, the oldest first.
    past: VecDeque<(Time, Description)>,
}

impl World {
    pub fn new(seed: u64, now: Time, shape: Shape) -> World {
        let mut world = World {
            faults: Faults::default(),
            calls: BTreeMap::new(),
            shape,
            chance: Chance::new(seed, "group"),
            now,
            machines: BTreeMap::new(),
            launched: 0,
            retry_at: now,
            failures: VecDeque::new(),
            refresh: None,
            past: VecDeque::new(),
        };
        world.advance(now);
        world
    }

    /// All that happens until `now`, in steps of at most a second.
    pub fn advance(&mut self, now: Time) {
        while self.now < now {
            let step = now.since(self.now).min(Duration::from_secs(1));
            self.now = self.now + step;
            self.step();
        }
        self.step();
    }

    /// Every instance that is not gone.
    pub fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.machines.values()
    }

    /// Ids of instances whose worker can work now.
    pub fn working(&self) -> Vec<String> {
        let working = self.machines.values().filter(|m| m.works(self.now));
        working.map(|machine| machine.instance.id.clone()).collect()
    }

    pub fn desired(&self) -> u32 {
        self.shape.desired
    }

    pub fn shape_mut(&mut self) -> &mut Shape {
        &mut self.shape
    }

    /// The instance stops working; the group notices after a while.
    pub fn break_down(&mut self, id: &str) {
        let at = self.later(NOTICED_WITHIN);
        if let Some(machine) = self.machines.get_mut(id) {
            machine.noticed_broken_at.get_or_insert(at);
        }
    }

    /// The instance is taken away, as after a spot notice or from the console; another is
    /// launched for it.
    pub fn take_away(&mut self, id: &str) {
        self.end(id);
    }

    /// The instance is gone at once, without any state on the way out.
    pub fn vanish(&mut self, id: &str) {
        self.machines.remove(id);
    }

    /// Replaces every instance by a new one, protected ones included, one at a time.
    pub fn begin_refresh(&mut self) {
        for machine in self.machines.values_mut() {
            machine.is_old = true;
        }
        let id = format!("refresh-{}", self.launched);
        self.refresh = Some(Refresh { id, percent: 0 });
    }

    pub fn outcome(&mut self, call: &'static str) -> (CallOutcome, Duration) {
        *self.calls.entry(call).or_default() += 1;
        self.faults.outcome(call, &mut self.chance)
    }

    /// As it is, or was a short time ago.
    pub fn look(&mut self) -> Description {
        let lag = self.faults.lag.mul_f64(self.chance.between(0.0, 1.0));
        let then = self.now - lag;
        let seen = self.past.iter().rev().find(|(at, _)| *at <= then);
        let seen = seen.or(self.past.front());
        seen.map_or_else(
            || self.description(),
            |(_, description)| description.clone(),
        )
    }

    /// As it is.
    pub fn description(&self) -> Description {
        let instances = self.machines.values();
        Description {
            min: self.shape.min,
            max: self.shape.max,
            desired: self.shape.desired,
            protects_new: self.shape.protects_new,
            suspended: Vec::new(),
            instances: instances.map(|machine| machine.instance.clone()).collect(),
            warm: self.pool().count() as u32,
            weighted: false,
            offerings: Offerings {
                kinds: Some(self.shape.kinds.clone()),
                zones: self.shape.zones.clone(),
            },
        }
    }

    pub fn hooks(&self) -> Vec<Hook> {
        let hook = |on, hook: &Option<(String, Duration)>| {
            hook.as_ref().map(|(name, timeout)| Hook {
                name: name.clone(),
                on,
                timeout_s: timeout.as_secs() as u32,
            })
        };
        let launch = hook(Transition::Launch, &self.shape.launch_hook);
        let terminate = hook(Transition::Terminate, &self.shape.terminate_hook);
        launch.into_iter().chain(terminate).collect()
    }

    pub fn refresh(&self) -> Option<Refresh> {
        self.refresh.clone()
    }

    pub fn failures(&self) -> Vec<Failure> {
        let failures = self.failures.iter().rev();
        let aged = failures.map(|(at, failure)| Failure {
            age_ms: self.now.since(*at).as_millis() as u64,
            ..failure.clone()
        });
        aged.collect()
    }

    pub(super) fn step(&mut self) {
        self.end_what_is_broken();
        self.follow_states();
        self.move_the_refresh_on();
        self.launch_what_is_missing();
        self.fill_the_pool();
        self.shrink_by_itself();
        self.remember();
    }

    fn end_what_is_broken(&mut self) {
        let now = self.now;
        let noticed = |m: &&mut Machine| m.stays() && m.noticed_broken_at.is_some_and(|t| now >= t);
        let broken: Vec<String> = (self.machines.values_mut())
            .filter(noticed)
            .map(|machine| {
                machine.instance.healthy = false;
                machine.instance.id.clone()
            })
            .collect();
        broken.iter().for_each(|id| self.end(id));
    }

    /// States that end by themselves.
    fn follow_states(&mut self) {
        let now = self.now;
        let over = |machine: &&Machine| machine.until.is_some_and(|until| now >= until);
        let over = self.machines.values().filter(over);
        let over: Vec<(String, State)> = over
            .map(|machine| (machine.instance.id.clone(), machine.instance.state))
            .collect();
        for (id, state) in over {
            match state {
                State::Pending => self.arrive(&id),
                State::Warm => self.prepare(&id),
                // Nobody said in time that it may go on.
                State::PendingWait | State::WarmWait => self.end(&id),
                State::LeavingWait => self.leave(&id),
                State::Leaving => drop(self.machines.remove(&id)),
                _ => {}
            }
        }
    }

    fn arrive(&mut self, id: &str) {
        let Some((_, timeout)) = self.shape.launch_hook.clone() else {
            return self.enter_service(id);
        };
        let until = Some(self.now + timeout);
        if let Some(machine) = self.machines.get_mut(id) {
            machine.enter(State::PendingWait, until);
        }
    }

    pub(super) fn enter_service(&mut self, id: &str) {
        if let Some(machine) = self.machines.get_mut(id) {
            machine.enter(State::InService, None);
            machine.instance.protected = self.shape.protects_new;
        }
    }

    /// The instance is on its way out, by its hook if there is one.
    pub(super) fn end(&mut self, id: &str) {
        let Some((_, timeout)) = self.shape.terminate_hook.clone() else {
            return self.leave(id);
        };
        let until = Some(self.now + timeout);
        if let Some(machine) = self.machines.get_mut(id).filter(|m| !m.leaves()) {
            machine.enter(State::LeavingWait, until);
        }
    }

    pub(super) fn leave(&mut self, id: &str) {
        let until = Some(self.later(ENDS_WITHIN));
        if let Some(machine) = self.machines.get_mut(id) {
            machine.answers_from = None;
            machine.enter(State::Leaving, until);
        }
    }

    fn move_the_refresh_on(&mut self) {
        if self.refresh.is_none() {
            return;
        }
        let stays = || self.machines.values().filter(|machine| machine.stays());
        let settled = stays().all(|machine| machine.instance.state == State::InService)
            && stays().count() as u32 >= self.shape.desired
            && self.machines.values().all(|machine| !machine.leaves());
        if !settled {
            return;
        }
        let oldest = stays().find(|machine| machine.is_old);
        match oldest.map(|machine| machine.instance.id.clone()) {
            Some(id) => self.end(&id),
            None => self.refresh = None,
        }
    }

    /// More instances than are wanted: those go that are not protected, by chance.
    fn shrink_by_itself(&mut self) {
        let stays = || self.machines.values().filter(|machine| machine.stays());
        let mut surplus = (stays().count() as u32).saturating_sub(self.shape.desired);
        let open =
            stays().filter(|m| m.instance.state == State::InService && !m.instance.protected);
        let mut open: Vec<String> = open.map(|machine| machine.instance.id.clone()).collect();
        while surplus > 0 && !open.is_empty() {
            let index = self.chance.next_u64() as usize % open.len();
            let id = open.swap_remove(index);
            self.end(&id);
            surplus -= 1;
        }
    }

    fn remember(&mut self) {
        let description = self.description();
        match self.past.back_mut() {
            Some((at, last)) if *at == self.now => *last = description,
            Some((_, last)) if *last == description => {}
            _ => self.past.push_back((self.now, description)),
        }
        // The one before the longest lag is still to be shown.
        let oldest = self.now - self.faults.lag;
        while self.past.get(1).is_some_and(|(at, _)| *at <= oldest) {
            self.past.pop_front();
        }
    }

    pub(super) fn later(&mut self, (least, most): (f64, f64)) -> Time {
        self.now + Duration::from_secs_f64(self.chance.between(least, most))
    }
}
