//! How many workers a margin comes to.

/// What the real fleet and every simulated one are sized by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// Requests that would be at workers now if nobody waited.
    pub load: f64,
    /// By how many more the load rises until a launch serves, if half of the rise goes on.
    pub rise: f64,
    /// Slots over the load that are needed at least, as arrivals and services vary by chance.
    pub spare: f64,
    /// Requests that a worker is to be at.
    pub concurrency: f64,
}

/// What is bought over the demand as it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Margin {
    /// Slots over the load.
    pub factor: f64,
    /// Whether a rise is taken to go on.
    pub follows_rise: bool,
}

impl Margin {
    pub const NONE: Margin = Margin {
        factor: 1.0,
        follows_rise: false,
    };
}

/// Demand may be so many times as much before a worker fewer would be too few.
const ROOM_TO_SHRINK: f64 = 1.03;

/// Guards a quotient that is a whole number but for its last bits.
const ROUNDING: f64 = 1e-9;

impl Rule {
    /// Requests that will be at workers when a launch serves, as far as the margin looks ahead.
    pub fn load(&self, margin: Margin) -> f64 {
        match margin.follows_rise {
            true => self.load + self.rise,
            false => self.load,
        }
    }

    /// Workers for this margin, while `draining` slots work off what waits. What is held shrinks only
    /// where fewer would do with some room, so that it does not follow noise.
    pub fn workers(&self, margin: Margin, draining: f64, held: u32) -> u32 {
        let load = self.load(margin);
        let slots = (load * margin.factor).max(load + self.spare);
        let with_room = |room: f64| {
            let workers = (slots * room + draining) / self.concurrency;
            (workers - ROUNDING).ceil().max(0.0) as u32
        };
        let asked = with_room(1.0);
        match asked < held {
            true => with_room(ROOM_TO_SHRINK).clamp(asked, held),
            false => asked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule {
        load: 40.0,
        rise: 20.0,
        spare: 3.0,
        concurrency: 4.0,
    };

    fn margin(factor: f64) -> Margin {
        Margin {
            factor,
            follows_rise: false,
        }
    }

    #[test]
    fn the_larger_of_growth_and_chance_is_bought_in_whole_workers() {
        let sizes = [1.0, 1.1, 1.5].map(|factor| RULE.workers(margin(factor), 0.0, 0));
        assert_eq!(sizes, [11, 11, 15]);
        assert_eq!(
            RULE.workers(margin(1.0), 8.0, 0),
            13,
            "and slots for what waits"
        );
        let follows_rise = Margin {
            follows_rise: true,
            ..margin(1.0)
        };
        assert_eq!(RULE.workers(follows_rise, 0.0, 0), 16);
    }

    #[test]
    fn what_is_held_goes_only_when_fewer_do_with_room() {
        assert_eq!(
            RULE.workers(margin(1.0), 0.0, 12),
            12,
            "44.3 slots are 12 workers"
        );
        assert_eq!(RULE.workers(margin(1.0), 0.0, 20), 12);
        assert_eq!(RULE.workers(margin(1.0), 0.0, 11), 11);
    }
}
