//! What asks for workers. Each term looks at the same tick and asks for a number; the largest wins.

use crate::decision::{Ask, Basis};
use crate::{Measure, OnMissing, Policy, SignalRule, Target, Time, Window};

/// Guards a quotient that is a whole number but for its last bits.
const ROUNDING: f64 = 1e-9;

/// The present, as terms see it.
pub(crate) struct Scene<'a> {
    pub now: Time,
    pub policy: &'a Policy,
    pub window: &'a Window,
    /// Workers that serve.
    pub serving: u32,
    /// Workers that serve or will soon.
    pub counted: u32,
}

/// What every term asks for, in the policy's order.
pub(crate) fn asks(scene: &Scene) -> Vec<Ask> {
    let signals = scene.policy.signals.iter();
    let mut asks: Vec<Ask> = signals.map(|rule| signal(scene, rule)).collect();
    asks.extend(demand(scene));
    asks
}

/// One worker while anything waits, runs or has just come, however little it is.
fn demand(scene: &Scene) -> Option<Ask> {
    let requests = scene.window.demand();
    (requests > 0).then(|| Ask {
        term: "demand".to_owned(),
        workers: Some(1),
        basis: Basis::Demand { requests },
    })
}

fn signal(scene: &Scene, rule: &SignalRule) -> Ask {
    let measure = scene
        .window
        .measure(scene.now, rule.metric, rule.statistic, rule.window.into());
    let target = rule.target(&scene.policy.slo);
    let (workers, basis) = match measure {
        Measure::Value(value) => {
            let basis = Basis::Measured {
                statistic: rule.statistic,
                value: rule.quantity(value),
                window: rule.window,
                target,
            };
            (Some(wanted(scene, value, target)), basis)
        }
        Measure::Idle => (Some(0), Basis::Idle),
        Measure::Missing => match rule.on_missing {
            OnMissing::Hold => (None, Basis::Missing),
            OnMissing::Workers(workers) => (Some(workers), Basis::Fallback),
        },
    };
    Ask {
        term: rule.name.clone(),
        workers,
        basis,
    }
}

/// Workers for a value, as HorizontalPodAutoscaler v2 computes them: `AverageValue` for a target
/// per worker, `Value` otherwise. The latter scales the workers that serve, since those that boot
/// have had no part in the value yet.
fn wanted(scene: &Scene, value: f64, target: Target) -> u32 {
    let (ratio, workers) = match target {
        Target::PerWorker(target) => (value / (target * f64::from(scene.counted)), value / target),
        Target::Value(target) => {
            let base = f64::from(scene.serving.max(1));
            (value / target, value / target * base)
        }
    };
    match is_tolerated(scene.policy, ratio) {
        true => scene.counted,
        false => (workers - ROUNDING).ceil().max(0.0) as u32,
    }
}

fn is_tolerated(policy: &Policy, ratio: f64) -> bool {
    let (above, below) = (policy.scale_out.tolerance, policy.scale_in.tolerance);
    ratio <= 1.0 + above + ROUNDING && ratio >= 1.0 - below - ROUNDING
}
