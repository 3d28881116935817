//! What is known of the group's instances between two reads: the present ones, launches that do not show
//! yet, and terminated ones that still show.
//!
//! An accepted launch has a temporary name until its instance shows. Reads lag behind: our own changes
//! count at once, and an instance is gone when two reads do not show it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidegate_control::{Member, Time};

use super::desired::{Desired, Foreign};
use super::group::{Description, Instance, State};
use crate::fleet::{Ended, Renamed};

/// A look that began so long after a call without a reply shows what came of it.
pub const SHOWS_WITHIN: Duration = Duration::from_secs(5);

/// A removal that was accepted and does not show by then did not happen.
const REMOVAL_SHOWS_WITHIN: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Default)]
pub struct View {
    pub desired: Desired,
    entries: BTreeMap<String, Entry>,
    /// The oldest first.
    launches: Vec<Launch>,
    removals: BTreeMap<String, Removal>,
    /// When instances were launched that an earlier run knew.
    recalled: BTreeMap<String, Time>,
    launches_named: u32,
    warm: Vec<Instance>,
    /// Taken aside by somebody: they run, and are neither members nor gone.
    standby: Vec<String>,
    /// Who was in standby once; its lead time begins anew when it comes back.
    set_aside: BTreeSet<String>,
    ended: Vec<Ended>,
    renamed: Vec<Renamed>,
}

#[derive(Clone, Debug)]
struct Entry {
    launched: Time,
    instance: Instance,
    /// The last look did not show it.
    missed: bool,
}

/// Capacity that the group was asked for and whose instance does not show yet.
#[derive(Clone, Debug)]
struct Launch {
    name: String,
    asked: Time,
    /// It is expected to come.
    expected: bool,
}

#[derive(Clone, Copy, Debug)]
struct Removal {
    at: Time,
    /// The group has said yes.
    sure: bool,
}

/// Whether the group answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    Yes,
    None,
}

impl View {
    pub fn new(recalled: BTreeMap<String, Time>) -> View {
        View {
            recalled,
            ..View::default()
        }
    }

    /// Takes a look in. Returns a change of the desired capacity that was not ours.
    pub fn take(&mut self, now: Time, description: &Description) -> Option<Foreign> {
        let foreign = self.desired.seen(now, description.desired);
        for instance in &description.instances {
            self.settle(now, instance);
            if is_member(instance.state) {
                self.update(now, instance);
            }
        }
        self.stand_aside(description);
        let is_warm = |i: &&Instance| is_warm(i.state);
        self.warm = description
            .instances
            .iter()
            .filter(is_warm)
            .cloned()
            .collect();
        self.lose(now, description);
        self.balance(now);
        foreign
    }

    pub fn members(&self) -> Vec<Member> {
        let real = self.entries.iter().map(|(id, entry)| Member {
            id: id.clone(),
            launched: entry.launched,
            leaving: self.is_leaving(id),
        });
        let expected = self.launches.iter().filter(|launch| launch.expected);
        let launches = expected.map(|launch| Member {
            id: launch.name.clone(),
            launched: launch.asked,
            leaving: false,
        });
        real.chain(launches).collect()
    }

    /// Members on their way out.
    pub fn leaving(&self) -> impl Iterator<Item = &String> {
        self.entries.keys().filter(|id| self.is_leaving(id))
    }

    /// Instances in the warm pool.
    pub fn warm(&self) -> &[Instance] {
        &self.warm
    }

    /// Instances that somebody took out of service to look at them.
    pub fn standby(&self) -> &[String] {
        &self.standby
    }

    /// All instances that a look showed.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        let members = self.entries.values().map(|entry| &entry.instance);
        members.chain(&self.warm)
    }

    pub fn ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    pub fn renamed(&mut self) -> Vec<Renamed> {
        std::mem::take(&mut self.renamed)
    }

    /// Members that stay, launches that are expected with them.
    pub fn counted(&self) -> u32 {
        let expected = self.launches.iter().filter(|launch| launch.expected);
        self.staying() + expected.count() as u32
    }

    /// Instances that stay.
    pub fn staying(&self) -> u32 {
        let staying = self.entries.keys().filter(|id| !self.is_leaving(id));
        staying.count() as u32
    }

    /// Since when the oldest launch has been under way.
    pub fn waits_since(&self) -> Option<Time> {
        self.launches.iter().map(|launch| launch.asked).min()
    }

    pub fn knows(&self, id: &str) -> bool {
        self.entries.contains_key(id)
    }

    pub fn is_launch(&self, id: &str) -> bool {
        self.launches.iter().any(|launch| launch.name == id)
    }

    pub fn is_leaving(&self, id: &str) -> bool {
        let state = self.entries.get(id).map(|entry| entry.instance.state);
        self.removals.contains_key(id) || matches!(state, Some(State::Leaving | State::LeavingWait))
    }

    /// A look is worth its call before `after` passes: something is to show.
    pub fn expects_a_look(&self) -> bool {
        self.removals.values().any(|removal| !removal.sure)
            || self.entries.values().any(|entry| entry.missed)
    }

    /// Members that the last look did not show and that may be gone.
    pub fn missed(&self) -> impl Iterator<Item = &String> {
        let missed = self.entries.iter().filter(|(_, entry)| entry.missed);
        missed.map(|(id, _)| id)
    }

    /// `count` more are expected from now on, those first that were given up.
    pub fn launch(&mut self, now: Time, count: u32) -> Vec<String> {
        let names = (0..count).map(|_| {
            let given_up = self.launches.iter().position(|launch| !launch.expected);
            given_up.map(|index| self.launches.remove(index));
            self.expect(now)
        });
        names.collect()
    }

    /// The launch is not expected any more; the group may go on trying.
    pub fn give_up(&mut self, name: &str) {
        let named = |launch: &&mut Launch| launch.name == name;
        if let Some(launch) = self.launches.iter_mut().find(named) {
            launch.expected = false;
        }
    }

    /// Launches that are not expected any more, and that the group goes on trying.
    pub fn given_up(&self) -> usize {
        let given_up = self.launches.iter().filter(|launch| !launch.expected);
        given_up.count()
    }

    /// The group does not try them any more either.
    pub fn forget_given_up(&mut self) {
        self.launches.retain(|launch| launch.expected);
    }

    /// No launch from before is expected any more.
    pub fn give_up_all(&mut self) {
        self.launches
            .iter_mut()
            .for_each(|launch| launch.expected = false);
    }

    /// The group was asked to terminate the instance.
    pub fn removed(&mut self, now: Time, id: &str, reply: Reply) {
        let sure = reply == Reply::Yes;
        self.removals
            .insert(id.to_owned(), Removal { at: now, sure });
    }

    fn expect(&mut self, now: Time) -> String {
        self.launches_named += 1;
        let name = format!("launch-{}-{}", now.as_ms() / 1000, self.launches_named);
        self.launches.push(Launch {
            name: name.clone(),
            asked: now,
            expected: true,
        });
        name
    }

    /// What the look says of a removal.
    fn settle(&mut self, now: Time, instance: &Instance) {
        let Some(removal) = self.removals.get_mut(&instance.id) else {
            return;
        };
        let patience = match removal.sure {
            true => REMOVAL_SHOWS_WITHIN,
            false => SHOWS_WITHIN,
        };
        match instance.state {
            State::Leaving | State::LeavingWait => removal.sure = true,
            _ if now.since(removal.at) >= patience => {
                self.removals.remove(&instance.id);
            }
            _ => {}
        }
    }

    fn update(&mut self, now: Time, instance: &Instance) {
        if let Some(entry) = self.entries.get_mut(&instance.id) {
            entry.instance.clone_from(instance);
            entry.missed = false;
            return;
        }
        let leaves = matches!(instance.state, State::Leaving | State::LeavingWait);
        let launched = match self.recalled.remove(&instance.id) {
            Some(launched) => launched,
            None if leaves => now,
            // It has to become ready once more.
            None if self.set_aside.remove(&instance.id) => now,
            None => self.arrive(&instance.id).unwrap_or(now),
        };
        let entry = Entry {
            launched,
            instance: instance.clone(),
            missed: false,
        };
        self.entries.insert(instance.id.clone(), entry);
    }

    /// The instance of the oldest launch shows: of those that are expected, or of the others.
    fn arrive(&mut self, id: &str) -> Option<Time> {
        let expected = self.launches.iter().position(|launch| launch.expected);
        let index = expected.or((!self.launches.is_empty()).then_some(0))?;
        let launch = self.launches.remove(index);
        self.renamed.push(Renamed {
            from: launch.name,
            to: id.to_owned(),
        });
        Some(launch.asked)
    }

    /// Whoever is in standby is no member, has not ended, and may come back.
    fn stand_aside(&mut self, description: &Description) {
        let aside = description
            .instances
            .iter()
            .filter(|i| i.state == State::Standby);
        self.standby = aside.map(|instance| instance.id.clone()).collect();
        for id in &self.standby {
            self.entries.remove(id);
            self.set_aside.insert(id.clone());
        }
        let shown = |id: &String| description.instances.iter().any(|i| i.id == *id);
        self.set_aside.retain(shown);
    }

    /// Drops who is not there any more.
    fn lose(&mut self, now: Time, description: &Description) {
        let shown = description.instances.iter().filter(|i| is_member(i.state));
        let shown: BTreeSet<&String> = shown.map(|instance| &instance.id).collect();
        let missing: Vec<String> = (self.entries.keys())
            .filter(|id| !shown.contains(id))
            .cloned()
            .collect();
        for id in missing {
            let leaving = self.is_leaving(&id);
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            if !leaving && !std::mem::replace(&mut entry.missed, true) {
                continue;
            }
            let ours = self.removals.remove(&id).is_some();
            if let Some(entry) = self.entries.remove(&id) {
                let asked = ours || (leaving && entry.instance.healthy);
                self.ended.push(ended(id, now, &entry, asked));
            }
        }
        let entries = &self.entries;
        self.removals.retain(|id, _| entries.contains_key(id));
    }

    /// As many launches as the group has instances to come.
    fn balance(&mut self, now: Time) {
        let unsure = self.removals.values().filter(|removal| !removal.sure);
        let here = self.staying() + unsure.count() as u32;
        let due = self.desired.value().saturating_sub(here) as usize;
        while self.launches.len() > due {
            let given_up = self.launches.iter().position(|launch| !launch.expected);
            let index = given_up.unwrap_or(self.launches.len() - 1);
            self.launches.remove(index);
        }
        for _ in self.launches.len()..due {
            self.expect(now);
        }
    }
}

fn is_member(state: State) -> bool {
    state != State::Standby && !is_warm(state)
}

fn is_warm(state: State) -> bool {
    matches!(
        state,
        State::Warm | State::WarmWait | State::WarmLeavingWait
    )
}

fn ended(id: String, now: Time, entry: &Entry, asked: bool) -> Ended {
    let how = match entry.instance.healthy {
        _ if asked => "terminated",
        true => "it is not in the group any more",
        false => "the group found it unhealthy",
    };
    Ended {
        id,
        after: now.since(entry.launched),
        asked,
        killed_after: None,
        how: how.to_owned(),
        log: None,
        last_lines: Vec::new(),
    }
}
