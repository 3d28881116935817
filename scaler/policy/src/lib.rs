//! A policy file: what the law goes by, and where its inputs and its fleet are.

mod asg;
mod aws;
mod check;
mod cloudwatch;
mod container;
mod lease;
mod process;
mod proxies;
mod scaler;
mod source;
mod up;

use serde::Deserialize;
use tidegate_config::Problem;
use tidegate_control::{
    Behaviour, CostRules, FleetRules, ForecastRules, Formula, Policy, ScheduleRule, SignalRule, Slo,
};

pub use asg::AsgRules;
pub use aws::AwsEndpoint;
pub use cloudwatch::{CloudWatchRules, EmfTarget, OWN_DIMENSIONS};
pub use container::{ContainerRules, Mount};
pub use lease::{LeaseKind, LeaseRules};
pub use process::ProcessRules;
pub use proxies::ProxyRules;
pub use scaler::{DEFAULT_LEDGER, DEFAULT_LISTEN, ScalerRules};
pub use source::{
    BLANKS, BasicRule, FallbackRule, MetricRule, QueueRule, QueueValue, Series, SignRule,
    SourceRule,
};
pub use up::{BatchServiceRules, UpRules};

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    pub fleet: FleetRules,
    pub slo: Slo,
    #[serde(default)]
    pub signal: Vec<SignalRule>,
    /// Staffing for the demand a lead time from now.
    #[serde(default)]
    pub forecast: Option<ForecastRules>,
    /// CEL over the signals' names: a number of workers.
    #[serde(default)]
    pub formula: Option<String>,
    #[serde(default)]
    pub schedule: Vec<ScheduleRule>,
    #[serde(default)]
    pub cost: Option<CostRules>,
    /// Where signals beside the proxies' come from.
    #[serde(default)]
    pub source: Vec<SourceRule>,
    /// Where the scaler's numbers are published.
    #[serde(default)]
    pub cloudwatch: Option<CloudWatchRules>,
    #[serde(default)]
    pub scale_out: Behaviour,
    #[serde(default)]
    pub scale_in: Behaviour,
    #[serde(default)]
    pub proxies: ProxyRules,
    #[serde(default)]
    pub scaler: ScalerRules,
    /// For several scalers of one fleet.
    #[serde(default)]
    pub lease: Option<LeaseRules>,
    /// For `fleet.kind = "process"`.
    #[serde(default)]
    pub process: Option<ProcessRules>,
    /// For `fleet.kind = "container"`.
    #[serde(default)]
    pub container: Option<ContainerRules>,
    /// For `fleet.kind = "asg"`.
    #[serde(default)]
    pub asg: Option<AsgRules>,
    /// For `tidegate-scaler up` alone.
    #[serde(default)]
    pub up: Option<UpRules>,
}

impl PolicyFile {
    /// What of it the law goes by.
    pub fn policy(&self) -> Policy {
        let mut policy = Policy::new(
            self.fleet.clone(),
            self.slo,
            self.proxies.stale_after,
            self.signal.clone(),
            &self.scale_out,
            &self.scale_in,
        );
        policy.forecast = self.forecast;
        policy.schedules.clone_from(&self.schedule);
        policy.formula = self.formula().and_then(Result::ok);
        policy.cost = self.cost;
        policy
    }

    fn formula(&self) -> Option<Result<Formula, Problem>> {
        let text = self.formula.as_deref()?;
        let names: Vec<&str> = self.signal.iter().map(|rule| rule.name.as_str()).collect();
        Some(Formula::new(text, &names))
    }
}

/// The id by which clients name a model: `name`, or the stem of where it lies.
pub fn model_name(model: &str, name: Option<&str>) -> String {
    let stem = || {
        let path = model.trim_end_matches('/');
        let last = path.rsplit('/').next().unwrap_or(path);
        let without = |end: char| last.split(end).next().unwrap_or(last);
        match path.split_once("://") {
            Some(("hf", _)) => without('@'),
            Some(("s3", _)) => {
                let file = without('#');
                file.rsplit_once('.').map_or(file, |(stem, _)| stem)
            }
            // The kinds of files that a worker serves; of a directory the whole name counts.
            _ => (last.strip_suffix(".safetensors"))
                .or_else(|| last.strip_suffix(".gguf"))
                .unwrap_or(last),
        }
    };
    name.unwrap_or_else(stem).to_owned()
}

fn quoted(value: impl std::fmt::Display) -> String {
    format!("\"{value}\"")
}

#[cfg(test)]
mod tests {
    use super::model_name;

    #[test]
    fn a_model_has_the_name_that_a_worker_started_by_hand_gives_it() {
        for (model, expected) in [
            ("models/all-MiniLM-L6-v2/", "all-MiniLM-L6-v2"),
            ("mini.int8.safetensors", "mini.int8"),
            ("/models/smol.gguf", "smol"),
            ("hf://org/name@main", "name"),
            (
                "s3://bucket/v1/mini.int8.safetensors#sha256=00",
                "mini.int8",
            ),
        ] {
            assert_eq!(model_name(model, None), expected, "{model}");
        }
        assert_eq!(model_name("mini.gguf", Some("mini")), "mini");
    }
}
