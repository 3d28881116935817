//! Outcomes of launches: how long they took to serve, and how likely a running launch will be in time.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::{Fleet, Stage, Time, Worker};

/// Launches that are remembered.
const MEMORY: usize = 64;

/// Before this many launches the policy's lead time is believed.
const FEWEST: usize = 5;

/// Of launches, the share that is ready within the lead time that is planned with.
const PLANNED: f64 = 0.9;

/// Launches that the policy's word is worth: so many, ready at even distances up to its lead time.
const PRIOR_WEIGHT: f64 = 10.0;

/// The policy's lead time is that of 99 in 100 launches.
const PRIOR_SHARE: f64 = 0.99;

/// On the policy's word alone no launch is given up before its lead time is over.
const LAST_MOMENT: f64 = 0.02;

/// Follows each launch from when it is first seen to its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Boots {
    /// Looked up for each worker at each tick; never read in its own order.
    booting: HashMap<String, Time>,
    /// Seconds from launch to ready; infinite for those that never were.
    took: VecDeque<f64>,
}

impl Boots {
    pub fn push(&mut self, now: Time, fleet: &Fleet) {
        let mut before = std::mem::take(&mut self.booting);
        for (from, to) in &fleet.renamed {
            if let Some(launched) = before.remove(from) {
                before.insert(to.clone(), launched);
            }
        }
        for worker in &fleet.workers {
            if worker.stage == Stage::Booting {
                self.booting.insert(worker.id.clone(), worker.launched);
                before.remove(&worker.id);
            } else if !before.is_empty()
                && let Some(launched) = before.remove(&worker.id)
                && let Stage::Serving { .. } = worker.stage
            {
                self.note(now.since(launched).as_secs_f64());
            }
        }
        (0..before.len()).for_each(|_| self.note(f64::INFINITY));
    }

    /// How long the last launches took, in seconds; nothing for those that never served.
    pub fn took(&self) -> Vec<Option<f64>> {
        let took = self.took.iter();
        took.map(|took| took.is_finite().then_some(*took)).collect()
    }

    /// Goes on with the launches that an earlier run has seen.
    pub fn take_up(&mut self, took: &[Option<f64>]) {
        self.took.clear();
        let took = took.iter().map(|took| took.unwrap_or(f64::INFINITY));
        took.for_each(|took| self.note(took));
    }

    /// Within this time most launches serve; never more than the policy says.
    pub fn lead_time(&self, policy: Duration) -> Duration {
        if self.took.len() < FEWEST {
            return policy;
        }
        let mut took: Vec<f64> = self.took.iter().copied().collect();
        took.sort_by(f64::total_cmp);
        let rank = (PLANNED * took.len() as f64).ceil() as usize;
        let seconds = took.get(rank.saturating_sub(1)).copied();
        let seconds = seconds.unwrap_or(f64::INFINITY).max(1.0);
        Duration::try_from_secs_f64(seconds).map_or(policy, |lead| lead.min(policy))
    }

    /// How many of the booting workers are rather not to be counted on: the sum of their chances
    /// to miss the lead time, rounded down but for the last quarter.
    pub fn doubtful<'a>(
        &self,
        now: Time,
        lead_time: Duration,
        booting: impl Iterator<Item = &'a Worker>,
    ) -> u32 {
        let misses = booting.map(|worker| {
            let age = now.since(worker.launched).as_secs_f64();
            1.0 - self.chance(age, lead_time.as_secs_f64())
        });
        (misses.sum::<f64>() + 0.25) as u32
    }

    /// That a launch of this age is ready within the lead time.
    fn chance(&self, age: f64, lead_time: f64) -> f64 {
        let later = self.took.iter().filter(|took| **took > age);
        let (mut in_time, mut all) = (0.0, 0.0);
        for took in later {
            all += 1.0;
            in_time += f64::from(u8::from(*took <= lead_time));
        }
        let left = PRIOR_WEIGHT * PRIOR_SHARE * (1.0 - age / lead_time).max(LAST_MOMENT);
        let never = PRIOR_WEIGHT * (1.0 - PRIOR_SHARE);
        (in_time + left) / (all + left + never)
    }

    fn note(&mut self, seconds: f64) {
        self.took.push_back(seconds);
        if self.took.len() > MEMORY {
            self.took.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Duration = Duration::from_secs(60);

    fn fleet(stage: Stage) -> Fleet {
        let worker = Worker {
            id: "w".to_owned(),
            launched: Time::default(),
            stage,
        };
        Fleet {
            workers: vec![worker],
            ..Fleet::default()
        }
    }

    fn seconds(seconds: u64) -> Time {
        Time::default() + Duration::from_secs(seconds)
    }

    /// Launches that serve after so many seconds each; 0 for one that vanishes.
    fn learned(launches: &[u64]) -> Boots {
        let mut boots = Boots::default();
        for took in launches {
            boots.push(seconds(0), &fleet(Stage::Booting));
            let heard = seconds(*took);
            match took {
                0 => boots.push(seconds(30), &Fleet::default()),
                _ => boots.push(heard, &fleet(Stage::Serving { heard })),
            }
        }
        boots
    }

    #[test]
    fn the_lead_time_is_learned_and_never_beyond_the_policys() {
        assert_eq!(learned(&[4, 4]).lead_time(POLICY), POLICY);
        assert_eq!(learned(&[4; 9]).lead_time(POLICY).as_secs(), 4);
        assert_eq!(learned(&[90; 9]).lead_time(POLICY), POLICY);
        assert_eq!(learned(&[4, 0, 4, 0, 4, 0]).lead_time(POLICY), POLICY);
    }

    #[test]
    fn a_launch_that_gets_its_own_name_is_the_same_launch() {
        let mut boots = Boots::default();
        boots.push(seconds(0), &fleet(Stage::Booting));
        let mut named = fleet(Stage::Booting);
        named.workers[0].id = "i-1".to_owned();
        named.renamed = vec![("w".to_owned(), "i-1".to_owned())];
        boots.push(seconds(10), &named);
        assert!(boots.took.is_empty(), "{:?}", boots.took);
        named.renamed.clear();
        let heard = seconds(30);
        named.workers[0].stage = Stage::Serving { heard };
        boots.push(heard, &named);
        assert_eq!(boots.took, [30.0]);
    }

    #[test]
    fn a_launch_counts_by_its_chance_to_be_ready_in_time() {
        let booting = fleet(Stage::Booting);
        let doubtful =
            |boots: &Boots, age: u64| boots.doubtful(seconds(age), POLICY, booting.workers.iter());
        let sound = learned(&[20; 20]);
        assert_eq!((doubtful(&sound, 0), doubtful(&sound, 10)), (0, 0));
        let failing = learned(&[0; 20]);
        assert_eq!(doubtful(&failing, 30), 1);
        let twenty: Vec<&Worker> = std::iter::repeat_n(&booting.workers[0], 20).collect();
        let half = learned(&[20, 0].repeat(10));
        let of_twenty = half.doubtful(seconds(0), POLICY, twenty.into_iter());
        assert!((5..=10).contains(&of_twenty), "{of_twenty}");
    }
}
