//! Sweeps: every policy at other targets, so that policies can be compared at equal hours.
//!
//! Ours is swept over the attainment that its forecast aims at and nothing else, a rival over its
//! target share at the window that tuning chose. Both on the half that is judged, by the first
//! seed.

use crate::rivals::{Rival, Setting, TARGETS};
use crate::sim::Outcome;
use tidegate_control::Policy;

use super::Effort;

/// Attainments that ours is swept over, beside its own.
const ATTAINMENTS: [f64; 12] = [
    0.3, 0.6, 0.8, 0.9, 0.95, 0.97, 0.98, 0.985, 0.995, 0.998, 0.999, 0.9999,
];

/// In a hurry, every so many-th target.
const QUICK_STEP: usize = 2;

/// One point of a sweep.
#[derive(Clone, Copy, Debug)]
pub struct Swept {
    /// `None` for ours.
    pub rival: Option<Rival>,
    /// The attainment or the share of a worker that was aimed at.
    pub target: f64,
    pub figures: Figures,
}

/// What policies are compared by at equal hours.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    pub hours: f64,
    /// Share of arrivals that were not answered in time and would have been by a free worker.
    pub violations: f64,
}

impl Figures {
    pub fn of(outcome: &Outcome) -> Figures {
        Figures {
            hours: outcome.instance_hours,
            violations: (outcome.best_attainment() - outcome.attainment()).max(0.0),
        }
    }
}

/// The attainments to try; none for a policy that does not forecast.
pub fn attainments(policy: &Policy, effort: Effort) -> Vec<f64> {
    match policy.forecast {
        Some(_) => thinned(&ATTAINMENTS, effort),
        None => Vec::new(),
    }
}

/// The same policy with another attainment in mind.
pub fn with_attainment(policy: &Policy, attainment: f64) -> Policy {
    let mut policy = policy.clone();
    if let Some(forecast) = &mut policy.forecast {
        forecast.attainment = attainment;
    }
    policy
}

/// A rival's setting with other targets.
pub fn around(setting: Setting, effort: Effort) -> Vec<Setting> {
    let targets = thinned(&TARGETS, effort).into_iter();
    targets
        .map(|target| Setting { target, ..setting })
        .filter(|other| *other != setting)
        .collect()
}

fn thinned(targets: &[f64], effort: Effort) -> Vec<f64> {
    let step = match effort {
        Effort::Full => 1,
        Effort::Quick => QUICK_STEP,
    };
    targets.iter().copied().step_by(step).collect()
}
