//! Admission: a class holds a limited number of requests and bytes, and a request whose deadline cannot
//! be met by the estimate is refused at once with the time to come back.

use std::time::Duration;

use super::{Ask, Queue, Refusal};
use crate::{Class, Moment, estimate};

impl Queue {
    pub(super) fn refusal(&mut self, now: Moment, ask: &Ask) -> Option<Refusal> {
        let class = ask.class.index();
        let config = &self.config.classes[class];
        let left_free = config.left_free(self.endpoints.taking_slots());
        let goes_at_once = self.waiting_before(ask.class) == 0
            && self.endpoints.free_slots() > left_free
            && self.endpoints.least_busy(ask.cost).is_some();
        if goes_at_once {
            return None;
        }
        let held = &self.classes[class];
        let full = held.waiting() >= config.waiting
            || held.bytes.saturating_add(ask.bytes) > config.waiting_bytes;
        if full {
            return Some(self.refuse_full(now, ask.class));
        }
        self.lateness(now, ask).map(|lateness| Refusal::TooLate {
            retry_after: lateness,
        })
    }

    /// When the place comes free that this refused request can have, after those refused
    /// before it.
    fn refuse_full(&mut self, now: Moment, class: Class) -> Refusal {
        let held = self.classes[class.index()].waiting();
        let before = self.waiting_before(class).saturating_sub(held as u64);
        let config = &self.config.classes[class.index()];
        let (most, unknown) = (config.waiting as u64, config.retry_after);
        let owed = &mut self.classes[class.index()].owed;
        let place = before + *owed;
        *owed = (*owed + 1).min(most);
        let retry_after = self.until_served(now, class, place);
        Refusal::Full {
            retry_after: retry_after.unwrap_or(unknown),
        }
    }

    /// By how much the answer to a request that enters now would miss its deadline; `None` when
    /// it would not, or nothing is known to estimate it by.
    fn lateness(&self, now: Moment, ask: &Ask) -> Option<Duration> {
        let mean = self.service.mean()?;
        let own = self.classes[ask.class.index()].service.mean();
        let own = own.unwrap_or(mean);
        let left = ask.deadline.saturating_sub(now);
        let place = self.waiting_before(ask.class);
        let slots = self.slots_for(ask.class);
        if slots == 0 || estimate::at_most(place, slots, mean) + own <= left {
            return None;
        }
        let answered = self.until_served(now, ask.class, place)? + own;
        answered.checked_sub(left).filter(|late| !late.is_zero())
    }

    /// Time until departure `place` from now; `None` when no worker takes requests or none has
    /// answered yet.
    fn until_served(&self, now: Moment, class: Class, place: u64) -> Option<Duration> {
        let mean = self.service.mean()?;
        let slots = self.slots_for(class);
        let age = |nth| Some(now.saturating_sub(self.running.nth_oldest(nth)?));
        (slots > 0).then(|| estimate::until_departure(place, slots, mean, age))
    }

    /// Requests in queue of this class and of those before it.
    fn waiting_before(&self, class: Class) -> u64 {
        let before = &self.classes[..=class.index()];
        before.iter().map(|class| class.waiting() as u64).sum()
    }

    /// Slots that a class may come to hold.
    fn slots_for(&self, class: Class) -> u64 {
        let slots = self.endpoints.taking_slots();
        slots - self.config.classes[class.index()].left_free(slots)
    }
}
