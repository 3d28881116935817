//! What asks for workers. Each term looks at the same tick and asks for a number; the largest wins.

use crate::decision::{Ask, Basis};
use crate::forecast::Forecaster;
use crate::{Formula, Measure, OnMissing, Policy, SignalRule, Source, Target, Time, Window};

/// Guards a quotient that is a whole number but for its last bits.
const ROUNDING: f64 = 1e-9;

/// The present, as terms see it.
pub(crate) struct Scene<'a> {
    pub now: Time,
    pub policy: &'a Policy,
    pub window: &'a Window,
    pub forecaster: Option<&'a Forecaster>,
    /// Workers that serve.
    pub serving: u32,
    /// Workers that serve or will soon.
    pub counted: u32,
}

/// What every term asks for, in the policy's order.
pub(crate) fn asks(scene: &Scene) -> Vec<Ask> {
    let signals = scene.policy.signals.iter();
    let signals = signals.filter(|rule| rule.asks());
    let mut asks: Vec<Ask> = signals.map(|rule| signal(scene, rule)).collect();
    asks.extend(scene.forecaster.map(Forecaster::asks).into_iter().flatten());
    asks.extend(
        scene
            .policy
            .formula
            .as_ref()
            .map(|rule| formula(scene, rule)),
    );
    asks.extend(demand(scene));
    asks
}

/// What the user's formula comes to. It holds while a signal is not known that it names, unless
/// that signal has a rule for it.
fn formula(scene: &Scene, rule: &Formula) -> Ask {
    let value = |name: &str| {
        let mut signals = scene.policy.signals.iter();
        let rule = signals.find(|signal| signal.name == name)?;
        match rule.measure(scene) {
            Measure::Value(value) => Some(value),
            Measure::Idle => Some(0.0),
            Measure::Missing => rule.on_missing.value(),
        }
    };
    let fleet = [f64::from(scene.counted), f64::from(scene.serving)];
    let (workers, basis) = match rule.signals().any(|name| value(name).is_none()) {
        true => (None, Basis::Missing),
        false => match rule.workers(|name| value(name).unwrap_or(0.0), fleet) {
            Ok(value) => {
                let workers = (value - ROUNDING).ceil().max(0.0) as u32;
                let is_named =
                    |signal: &&SignalRule| rule.signals().any(|name| signal.name == name);
                let mut signals = scene.policy.signals.iter().filter(is_named);
                match signals.any(|signal| signal.is_lower_bound(scene)) {
                    true => at_least(scene, workers, Basis::Formula { value }),
                    false => (Some(workers), Basis::Formula { value }),
                }
            }
            Err(why) => (None, Basis::Failed { why }),
        },
    };
    Ask {
        term: "formula".to_owned(),
        workers,
        basis,
    }
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

/// What a value asks for that is known to be too small: more than there is, or nothing that is
/// known.
fn at_least(scene: &Scene, workers: u32, basis: Basis) -> (Option<u32>, Basis) {
    match workers > scene.counted {
        true => (Some(workers), basis),
        false => (None, Basis::Missing),
    }
}

impl SignalRule {
    fn is_lower_bound(&self, scene: &Scene) -> bool {
        match &self.source {
            Source::Proxy => false,
            Source::Named(name) => scene.window.is_lower_bound(name),
        }
    }

    fn measure(&self, scene: &Scene) -> Measure {
        let (window, span) = (scene.window, self.window.into());
        match &self.source {
            Source::Proxy => window.measure(scene.now, self.metric, self.statistic, span),
            Source::Named(name) => window.measure_source(scene.now, name, self.statistic, span),
        }
    }
}

fn signal(scene: &Scene, rule: &SignalRule) -> Ask {
    let target = rule.target(&scene.policy.slo);
    let measure = match (rule.measure(scene), rule.on_missing) {
        (Measure::Missing, OnMissing::Value(value)) => Measure::Value(value),
        (measure, _) => measure,
    };
    let (workers, basis) = match measure {
        Measure::Value(value) => {
            let basis = Basis::Measured {
                statistic: rule.statistic,
                value: rule.quantity(value),
                window: rule.window,
                target,
            };
            let workers = wanted(scene, value, target);
            match rule.is_lower_bound(scene) {
                true => at_least(scene, workers, basis),
                false => (Some(workers), basis),
            }
        }
        Measure::Idle => (Some(0), Basis::Idle),
        Measure::Missing => match rule.on_missing {
            OnMissing::Hold | OnMissing::Value(_) => (None, Basis::Missing),
            OnMissing::Ignore => (Some(0), Basis::Fallback),
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
