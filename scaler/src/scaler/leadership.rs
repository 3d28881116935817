//! This scaler's place among several: whether it acts, and what it leaves to the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidegate_control::{Action, Law, Roster, Time};

use crate::lease::{Act, Lease, LeaseChange, LeaseError, Memory, SETTLED_AFTER};
use crate::orders::Orders;

pub struct Leadership {
    lease: Lease,
    memory: Memory,
    leads: bool,
    /// Who is not to be removed before, as the one before may just have done it.
    unsettled: BTreeMap<String, Time>,
    /// The same for everybody, where it is not known whom.
    all_unsettled: Option<Time>,
}

impl Leadership {
    pub fn new(lease: Lease) -> Leadership {
        Leadership {
            leads: matches!(lease, Lease::Alone),
            lease,
            memory: Memory::new(),
            unsettled: BTreeMap::new(),
            all_unsettled: None,
        }
    }

    pub fn leads(&self) -> bool {
        self.leads
    }

    /// Whether this scaler may begin something that takes `span`.
    pub fn may_act(&self, span: Duration) -> bool {
        self.leads && self.lease.outlasts(span)
    }

    pub fn holder(&self) -> Option<&str> {
        self.lease.holder()
    }

    /// Renews the lease or tries to take it, when that is due.
    pub async fn renew(&mut self) -> LeaseChange {
        self.lease.renew(&self.memory).await
    }

    /// From now on this scaler acts. Returns what the one before has left, made its own.
    pub fn take(&mut self, now: Time, left: Option<Memory>, law: &Law, roster: &Roster) -> &Memory {
        self.leads = true;
        self.memory = left.unwrap_or_else(|| Memory {
            by_hand: law.by_hand(),
            ..Memory::new()
        });
        let (memory, own) = (&mut self.memory, roster.draining());
        memory.version = crate::lease::VERSION;
        if memory.draining.is_empty() && memory.acts.is_empty() {
            let own = own.map(|(id, since)| (id.to_owned(), since));
            memory.draining.extend(own);
            (memory.kept_draining).extend(roster.kept_draining().iter().cloned());
        }
        let removed = memory.removed.keys();
        let until = now + SETTLED_AFTER;
        self.unsettled = removed.map(|id| (id.clone(), until)).collect();
        &self.memory
    }

    /// What the one before has done lately is not known: nobody is removed for a while.
    pub fn is_unsettled(&mut self, now: Time) {
        self.all_unsettled = Some(now + SETTLED_AFTER);
    }

    /// Another acts from now on.
    pub fn lose(&mut self) {
        self.leads = false;
    }

    /// Writes down what is about to be done.
    ///
    /// # Errors
    /// When that fails: then it is not to be done.
    pub async fn intend(
        &mut self,
        now: Time,
        action: &Action,
        roster: &Roster,
        orders: &Orders,
    ) -> Result<(), LeaseError> {
        self.follow(roster, orders);
        let mut memory = self.memory.clone();
        memory.intend(now, action);
        self.lease.keep(&memory).await?;
        self.memory = memory;
        Ok(())
    }

    /// Who drains because the fleet says so; written down with the next change.
    pub fn set_drained_by_fleet(&mut self, drained: &BTreeSet<String>) {
        if self.leads && self.memory.drained_by_fleet != *drained {
            self.memory.drained_by_fleet.clone_from(drained);
            self.lease.hurry();
        }
    }

    /// Keeps up with who drains, and who shall not any more.
    pub fn follow(&mut self, roster: &Roster, orders: &Orders) {
        if !self.leads {
            return;
        }
        let draining = roster.draining();
        let draining = draining.map(|(id, since)| (id.to_owned(), since));
        self.memory.draining = draining.collect();
        (self.memory.kept_draining).clone_from(roster.kept_draining());
        self.memory.undrained = orders.undrained().map(str::to_owned).collect();
    }

    /// The size is in somebody's actuator, or back in the law's; written down with the next change.
    pub fn set_by_hand(&mut self, order: Option<tidegate_control::Override>) {
        self.memory.by_hand = order;
        self.lease.hurry();
    }

    /// Whether a look at the fleet is sure to show it if the member was removed before.
    pub fn has_settled(&mut self, now: Time, id: &str) -> bool {
        self.unsettled.retain(|_, until| now < *until);
        self.all_unsettled = self.all_unsettled.filter(|until| now < *until);
        self.all_unsettled.is_none() && !self.unsettled.contains_key(id)
    }

    pub async fn give_up(&mut self) -> Result<(), LeaseError> {
        self.leads = false;
        self.lease.give_up(&self.memory).await
    }
}

/// As the law counts them.
pub fn changes(acts: &[Act]) -> impl Iterator<Item = (Time, u32, u32)> {
    acts.iter().map(|act| (act.at, act.added, act.removed))
}
