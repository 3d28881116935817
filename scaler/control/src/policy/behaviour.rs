//! `[scale_out]` and `[scale_in]`: how fast the fleet may follow what the signals ask for.
//!
//! The keys mean what they mean in the `behavior` of Kubernetes' HorizontalPodAutoscaler v2.

use std::time::Duration as Span;

use serde::Deserialize;
use tidegate_config::{Duration, Problem};

use super::quoted;

const LONGEST_STABILIZATION: Duration = Duration::from_secs(3600);

/// One direction, as written; what is left out takes the direction's default.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// Growing: the least that was asked for over this span counts; shrinking: the most.
    stabilization: Option<Duration>,
    /// The signal may be off its target by this share before anything is done.
    tolerance: Option<f64>,
    /// At most this much change in a span of time; none means no limit.
    steps: Option<Vec<Step>>,
    /// Which of several steps counts.
    select: Select,
}

/// A limit: so many workers, or so many percent of the fleet, per span of time.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    #[serde(default)]
    workers: Option<u32>,
    #[serde(default)]
    percent: Option<u32>,
    per: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Select {
    /// The step that allows the largest change.
    #[default]
    Max,
    /// The step that allows the smallest change.
    Min,
    /// No change in this direction at all.
    Disabled,
}

impl Behaviour {
    pub fn check(&self) -> Result<(), Problem> {
        if let Some(window) = self.stabilization
            && window > LONGEST_STABILIZATION
        {
            let expected = format!("at most \"{LONGEST_STABILIZATION}\"");
            return Err(Problem::new("stabilization", quoted(window), expected));
        }
        if let Some(tolerance) = self.tolerance
            && !(0.0..1.0).contains(&tolerance)
        {
            return Err(Problem::new(
                "tolerance",
                tolerance,
                "0.0 or more, below 1.0",
            ));
        }
        let steps = self.steps.iter().flatten().enumerate();
        for (index, step) in steps {
            step.check()
                .map_err(|problem| problem.within_item("steps", index))?;
        }
        Ok(())
    }

    pub(crate) fn over(&self, default: Pace) -> Pace {
        Pace {
            stabilization: self.stabilization.map_or(default.stabilization, Span::from),
            is_window_written: self.stabilization.is_some(),
            are_limits_written: self.steps.is_some(),
            tolerance: self.tolerance.unwrap_or(default.tolerance),
            limits: match &self.steps {
                Some(steps) => steps.iter().map(Step::limit).collect(),
                None => default.limits,
            },
            select: self.select,
        }
    }
}

impl Step {
    fn check(&self) -> Result<(), Problem> {
        super::check_at_least_a_second("per", self.per)?;
        if self.per > LONGEST_STABILIZATION {
            let expected = format!("at most \"{LONGEST_STABILIZATION}\"");
            return Err(Problem::new("per", quoted(self.per), expected));
        }
        match (self.workers, self.percent) {
            (None, None) => Err(Problem::new("workers", "nothing", "workers or percent")),
            (Some(_), Some(_)) => Err(Problem::new(
                "percent",
                "both workers and percent",
                "one of them; write two steps",
            )),
            (Some(0), _) => Err(Problem::new("workers", 0, "1 or more")),
            (_, Some(0)) => Err(Problem::new("percent", 0, "1 or more")),
            _ => Ok(()),
        }
    }

    fn limit(&self) -> Limit {
        let growth = match (self.workers, self.percent) {
            (Some(workers), _) => Growth::Workers(workers),
            (None, percent) => Growth::Percent(percent.unwrap_or(100)),
        };
        let per = self.per.into();
        Limit { growth, per }
    }
}

/// One direction, complete.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pace {
    pub stabilization: Span,
    /// The policy names the window.
    pub is_window_written: bool,
    /// The policy names the steps.
    pub are_limits_written: bool,
    pub tolerance: f64,
    pub limits: Vec<Limit>,
    pub select: Select,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limit {
    pub growth: Growth,
    pub per: Span,
}

/// By how much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Growth {
    Workers(u32),
    Percent(u32),
}

impl Pace {
    /// At once; by four workers or the fleet's own size, whichever is more, in 15 s.
    pub fn out_default() -> Pace {
        let per = Span::from_secs(15);
        let limit = |growth| Limit { growth, per };
        Pace {
            stabilization: Span::ZERO,
            is_window_written: false,
            are_limits_written: false,
            tolerance: 0.1,
            limits: vec![limit(Growth::Workers(4)), limit(Growth::Percent(100))],
            select: Select::Max,
        }
    }

    /// After five minutes in which less was asked for all the time; then all at once.
    pub fn in_default() -> Pace {
        Pace {
            stabilization: Span::from_secs(300),
            is_window_written: false,
            are_limits_written: false,
            tolerance: 0.1,
            limits: Vec::new(),
            select: Select::Max,
        }
    }

    pub fn longest_period(&self) -> Span {
        let periods = self.limits.iter().map(|limit| limit.per);
        periods.fold(self.stabilization, Span::max)
    }
}
