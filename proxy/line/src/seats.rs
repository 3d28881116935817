//! The workers of one model: their slots, and which of them takes the next request.

use std::collections::{BTreeMap, BTreeSet};

/// One boot of one worker. Never used again, so a worker that restarts gets a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeatId(pub(crate) u64);

/// How full a seat is: permits per slot in millionths, so that seats of different sizes compare.
type Load = u64;

#[derive(Clone, Debug, Default)]
struct Seat {
    slots: u32,
    permits: u32,
    elsewhere: u32,
    taking: bool,
}

impl Seat {
    fn used(&self) -> u32 {
        self.permits.saturating_add(self.elsewhere)
    }

    fn load(&self) -> Load {
        u64::from(self.used()) * 1_000_000 / u64::from(self.slots.max(1))
    }

    fn is_free(&self) -> bool {
        self.taking && self.used() < self.slots
    }
}

/// All seats of one model, with the free ones in order of load.
#[derive(Clone, Debug, Default)]
pub struct Seats {
    seats: BTreeMap<SeatId, Seat>,
    free: BTreeSet<(Load, SeatId)>,
    taking_slots: u64,
    last: u64,
}

impl Seats {
    /// Adds a seat that takes nothing until [`Seats::update`] says so.
    pub fn add(&mut self) -> SeatId {
        self.last += 1;
        self.seats.insert(SeatId(self.last), Seat::default());
        SeatId(self.last)
    }

    /// Sets what the worker announced: its slots, how many of them others hold, and whether it
    /// may be handed requests. Nothing happens for a seat that was removed.
    pub fn update(&mut self, id: SeatId, slots: u32, elsewhere: u32, taking: bool) {
        self.change(id, |seat| {
            seat.slots = slots;
            seat.elsewhere = elsewhere;
            seat.taking = taking;
        });
    }

    /// Removes a seat that holds no permit; says whether it did.
    pub fn remove(&mut self, id: SeatId) -> bool {
        if self.permits(id) > 0 {
            return false;
        }
        self.change(id, |seat| seat.taking = false);
        self.seats.remove(&id).is_some()
    }

    /// The least busy seat with a free slot, the one added first among equals.
    pub fn least_busy(&self) -> Option<SeatId> {
        self.free.first().map(|(_, id)| *id)
    }

    /// Permits held on a seat.
    pub fn permits(&self, id: SeatId) -> u32 {
        self.seats.get(&id).map_or(0, |seat| seat.permits)
    }

    /// Whether a seat takes requests, as far as it has slots free.
    pub fn is_taking(&self, id: SeatId) -> bool {
        self.seats.get(&id).is_some_and(|seat| seat.taking)
    }

    /// Slots of all seats that take requests, free or not.
    pub fn taking_slots(&self) -> u64 {
        self.taking_slots
    }

    pub(crate) fn take(&mut self, id: SeatId) {
        self.change(id, |seat| seat.permits += 1);
    }

    pub(crate) fn give_back(&mut self, id: SeatId) {
        self.change(id, |seat| seat.permits = seat.permits.saturating_sub(1));
    }

    /// Changes one seat and keeps the order of the free ones and the sum of slots true.
    fn change(&mut self, id: SeatId, apply: impl FnOnce(&mut Seat)) {
        let Some(seat) = self.seats.get_mut(&id) else {
            return;
        };
        if seat.is_free() {
            self.free.remove(&(seat.load(), id));
        }
        if seat.taking {
            self.taking_slots -= u64::from(seat.slots);
        }
        apply(seat);
        if seat.taking {
            self.taking_slots += u64::from(seat.slots);
        }
        if seat.is_free() {
            self.free.insert((seat.load(), id));
        }
    }
}
