//! The cores of one machine, shared by several fleets of processes.
//!
//! Together they have at most as many workers as there are cores. A fleet may use the cores that the
//! others leave free. When a fleet without a worker needs one, another fleet with more workers than its
//! minimum gives up a core.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One fleet's part in the cores of this machine.
#[derive(Clone, Debug)]
pub struct Share {
    cores: u32,
    /// Of all fleets, in their order.
    fleets: Arc<Mutex<Vec<Use>>>,
    own: usize,
    /// Of all fleets, in their order.
    names: Arc<[String]>,
}

/// What a fleet has, and what it must have.
#[derive(Clone, Copy, Debug)]
struct Use {
    min: u32,
    /// Processes, those that are ending included.
    workers: u32,
    /// It has none, and was asked for one.
    needs_one: bool,
}

impl Use {
    /// What no other fleet may take: its minimum, and the last of what it has.
    fn kept(self) -> u32 {
        self.min.max(self.workers.min(1))
    }

    /// What it holds against the others.
    fn held(self) -> u32 {
        self.workers.max(self.min).max(u32::from(self.needs_one))
    }
}

impl Share {
    /// All the cores, for the only fleet of this machine.
    pub fn alone(cores: u32) -> Share {
        Share {
            cores,
            fleets: Arc::default(),
            own: 0,
            names: Arc::from([]),
        }
    }

    /// The parts of fleets with these names and minimums.
    pub fn among(cores: u32, fleets: &[(&str, u32)]) -> Vec<Share> {
        let unused = |(_, min): &(&str, u32)| Use {
            min: *min,
            workers: 0,
            needs_one: false,
        };
        let names: Vec<String> = fleets.iter().map(|(name, _)| (*name).to_owned()).collect();
        let names: Arc<[String]> = names.into();
        let uses: Vec<Use> = fleets.iter().map(unused).collect();
        let uses = Arc::new(Mutex::new(uses));
        let share = |own| Share {
            cores,
            fleets: Arc::clone(&uses),
            own,
            names: Arc::clone(&names),
        };
        (0..fleets.len()).map(share).collect()
    }

    /// Cores of this machine.
    pub fn cores(&self) -> u32 {
        self.cores
    }

    /// Whether others have a part.
    pub fn is_shared(&self) -> bool {
        self.lock().len() > 1
    }

    /// How many workers this fleet may have now.
    pub fn most(&self) -> u32 {
        let fleets = self.lock();
        let Some(own) = fleets.get(self.own) else {
            return self.cores;
        };
        let others = fleets.iter().enumerate().filter(|(at, _)| *at != self.own);
        let held = others.map(|(at, other)| match own.workers {
            // Of two fleets that wait for a core the first gets it.
            0 if other.workers == 0 && at > self.own => other.min,
            _ => other.held(),
        });
        let left = self.cores.saturating_sub(held.sum());
        left.max(own.kept())
    }

    /// Which fleets have the cores that this one does not, in words; `None` when none has any.
    pub fn held_by_others(&self) -> Option<String> {
        let fleets = self.lock();
        let others = fleets.iter().zip(self.names.iter()).enumerate();
        let others = others.filter(|(at, (other, _))| *at != self.own && other.workers > 0);
        let (mut names, mut workers) = (Vec::new(), 0);
        for (_, (other, name)) in others {
            names.push(name.as_str());
            workers += other.workers;
        }
        let cores = match workers {
            1 => "core",
            _ => "cores",
        };
        match names.as_slice() {
            [] => None,
            [name] => Some(format!("the fleet {name} has the other {cores}")),
            names => Some(format!(
                "the fleets {} have the other {cores}",
                names.join(", ")
            )),
        }
    }

    pub fn set_workers(&self, workers: usize) {
        if let Some(own) = self.lock().get_mut(self.own) {
            own.workers = workers as u32;
            own.needs_one &= workers == 0;
        }
    }

    /// The law asks for so many workers, whatever the bounds.
    pub fn set_needed(&self, workers: u32) {
        if let Some(own) = self.lock().get_mut(self.own) {
            own.needs_one = workers > 0 && own.workers == 0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Use>> {
        self.fleets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn most(shares: &[Share]) -> Vec<u32> {
        shares.iter().map(Share::most).collect()
    }

    #[test]
    fn what_one_fleet_does_not_use_the_other_may() {
        let shares = Share::among(2, &[("first", 1), ("second", 0)]);
        assert_eq!(most(&shares), [2, 1]);
        shares[0].set_workers(2);
        assert_eq!(most(&shares), [2, 0]);
        assert_eq!(Share::alone(4).most(), 4);
    }

    #[test]
    fn a_fleet_that_needs_its_first_worker_gets_a_core_back() {
        let shares = Share::among(2, &[("first", 1), ("second", 0)]);
        shares[0].set_workers(2);
        shares[1].set_needed(3);
        // The core is not free before the other's worker has ended.
        assert_eq!(most(&shares), [1, 0]);
        shares[0].set_workers(1);
        assert_eq!(most(&shares), [1, 1]);
        shares[1].set_workers(1);
        shares[1].set_needed(3);
        assert_eq!(most(&shares), [1, 1]);
        // It is idle again.
        shares[1].set_workers(0);
        shares[1].set_needed(0);
        assert_eq!(most(&shares), [2, 1]);
    }

    #[test]
    fn of_two_that_wait_for_one_core_the_first_gets_it() {
        let shares = Share::among(3, &[("first", 1), ("second", 0), ("third", 0)]);
        shares[0].set_workers(2);
        shares[1].set_needed(1);
        shares[2].set_needed(1);
        assert_eq!(most(&shares), [1, 1, 0]);
        shares[1].set_workers(1);
        shares[0].set_workers(1);
        assert_eq!(most(&shares), [1, 1, 1]);
    }

    #[test]
    fn who_has_the_cores_is_told() {
        let shares = Share::among(4, &[("first", 1), ("second", 0), ("third", 0)]);
        assert_eq!(shares[0].held_by_others(), None);
        shares[1].set_workers(1);
        let held = "the fleet second has the other core";
        assert_eq!(shares[0].held_by_others().as_deref(), Some(held));
        assert_eq!(shares[1].held_by_others(), None);
        shares[2].set_workers(2);
        let held = "the fleets second, third have the other cores";
        assert_eq!(shares[0].held_by_others().as_deref(), Some(held));
        assert_eq!(Share::alone(4).held_by_others(), None);
    }

    proptest::proptest! {
        /// Fleets that follow their parts, one at a time, never have more workers than cores, and
        /// whoever needs its first worker has one in the end.
        #[test]
        fn the_sum_stays_within_the_cores(
            cores in 3_u32..12,
            steps in proptest::collection::vec((0_usize..3, 0_u32..8), 1..60),
        ) {
            let shares = Share::among(cores, &[("first", 1), ("second", 0), ("third", 0)]);
            let mut workers = [1_u32, 0, 0];
            let mut needed = [1_u32, 0, 0];
            shares[0].set_workers(1);
            let tick = |at: usize, workers: &mut [u32; 3], needed: &[u32; 3]| {
                workers[at] = needed[at].max(u32::from(at == 0)).min(shares[at].most());
                shares[at].set_workers(workers[at] as usize);
                shares[at].set_needed(needed[at]);
            };
            for (at, need) in steps {
                needed[at] = need;
                tick(at, &mut workers, &needed);
                proptest::prop_assert!(workers.iter().sum::<u32>() <= cores, "{workers:?}");
            }
            for _ in 0..4 {
                (0..3).for_each(|at| tick(at, &mut workers, &needed));
                proptest::prop_assert!(workers.iter().sum::<u32>() <= cores, "{workers:?}");
            }
            for at in 0..3 {
                proptest::prop_assert!(needed[at] == 0 || workers[at] > 0, "{workers:?} {needed:?}");
            }
        }
    }
}
