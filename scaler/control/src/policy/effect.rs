//! The effect of a policy in lines for people: with defaults, and with what each signal asks for at its
//! target.

use tidegate_config::Duration;

use super::behaviour::{Growth, Limit, Pace};
use super::{Metric, Policy, Select, SignalRule, Source, Statistic, Target};
use crate::{CostRules, Unit};

impl Policy {
    /// One line for each of its parts.
    pub fn effect(&self) -> Vec<String> {
        let fleet = &self.fleet;
        let mut lines = vec![format!(
            "a new worker: expected within {} of its launch (fleet.lead_time), or sooner once \
             launches have shown it; replaced after {} of silence",
            fleet.lead_time, fleet.silence
        )];
        lines.extend(self.signals.iter().map(|rule| self.signal(rule)));
        lines.extend(self.forecast.map(|rules| {
            let percent = 100.0 * rules.attainment;
            format!(
                "forecast: workers for {percent} % of requests within {}, for the load a lead time \
                 ahead; what waits is worked off within {}",
                self.slo.latency, rules.waiting_budget
            )
        }));
        lines.extend(
            self.formula
                .iter()
                .map(|_| "formula: its result".to_owned()),
        );
        lines.extend(self.schedules.iter().map(|rule| {
            format!(
                "{}: at least {} workers while it lasts",
                rule.name, rule.workers
            )
        }));
        lines.push(format!("growth: {}", pace(&self.out(), "least")));
        lines.push(format!("removal: {}", pace(&self.down(), "most")));
        lines.extend(self.cost.map(|cost| self.price(cost)));
        lines
    }

    fn signal(&self, rule: &SignalRule) -> String {
        let SignalRule {
            name,
            statistic,
            window,
            ..
        } = rule;
        let what = match (&rule.source, rule.metric) {
            (Source::Named(source), _) => format!("source {source}"),
            (Source::Proxy, metric) => words(metric).to_owned(),
        };
        let measured = match statistic {
            Statistic::Rate => format!("{what} over {window}"),
            statistic => format!("{statistic} of {what} over {window}"),
        };
        if !rule.asks() {
            return format!("{name}: {measured}, for the formula");
        }
        let target = rule.target(&self.slo);
        let max = self.fleet.max;
        match target {
            Target::PerWorker(each) => format!(
                "{name}: {measured}; a worker for each {each}, so all {max} from {} on",
                rounded(each * f64::from(max))
            ),
            Target::Value(value) => {
                let text = match rule.metric.unit() {
                    Unit::Seconds => Duration::from_millis((value * 1000.0) as u64).to_string(),
                    Unit::Count | Unit::PerSecond => rounded(value),
                };
                format!(
                    "{name}: {measured}; at {text} as many workers as serve, at twice that twice \
                     as many"
                )
            }
        }
    }

    fn price(&self, cost: CostRules) -> String {
        let (min, max) = (self.fleet.min, self.fleet.max);
        let most = cost.ceiling().map_or(max, |ceiling| ceiling.min(max));
        let budget = match most < max {
            true => " (cost.budget_per_hour)",
            false => "",
        };
        format!(
            "cost: {:.2} to {:.2} per hour, for {min} to {most} workers{budget}",
            cost.of(min),
            cost.of(most)
        )
    }
}

fn words(metric: Metric) -> &'static str {
    match metric {
        Metric::QueueLength => "requests in the queue",
        Metric::OldestWait => "the oldest request's wait",
        Metric::InFlight => "requests at workers",
        Metric::Concurrency => "requests in the queue and at workers",
        Metric::RequestRate => "arrivals per second",
        Metric::Latency => "latency",
        Metric::Value => "the value",
    }
}

fn pace(pace: &Pace, extreme: &str) -> String {
    if pace.select == Select::Disabled {
        return "none (select = \"disabled\")".to_owned();
    }
    let window = Duration::from(pace.stabilization);
    let when = match window.is_zero() {
        true => "at once".to_owned(),
        false => format!("to the {extreme} that was asked for over {window}"),
    };
    let limits: Vec<String> = pace.limits.iter().map(limit).collect();
    let limits = match (limits.as_slice(), pace.select) {
        ([], _) => String::new(),
        ([only], _) => format!(", by at most {only}"),
        (several, Select::Min) => format!(", by at most the smaller of {}", several.join(" and ")),
        (several, _) => format!(", by at most the larger of {}", several.join(" and ")),
    };
    let percent = rounded(100.0 * pace.tolerance);
    format!("{when}{limits}; within {percent} % of a target nothing is done")
}

fn limit(limit: &Limit) -> String {
    let per = Duration::from(limit.per);
    match limit.growth {
        Growth::Workers(1) => format!("1 worker in {per}"),
        Growth::Workers(workers) => format!("{workers} workers in {per}"),
        Growth::Percent(percent) => format!("{percent} % of the fleet in {per}"),
    }
}

/// With two digits after the point at most, and none that say nothing.
fn rounded(value: f64) -> String {
    ((value * 100.0).round() / 100.0).to_string()
}
