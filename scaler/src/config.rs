//! A policy file: what the law goes by, and where its inputs and its fleet are.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;
use tidegate_config::{Check, Duration, Problem};
use tidegate_control::{
    Behaviour, CostRules, FleetKind, FleetRules, ForecastRules, Formula, Policy, ScheduleRule,
    SignalRule, Slo, Source,
};

use crate::sources::SourceRule;

/// Where the scaler answers for its health unless told otherwise.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9091);

pub const DEFAULT_LEDGER: &str = "/var/lib/tidegate/ledger.jsonl";

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
    #[serde(default)]
    pub scale_out: Behaviour,
    #[serde(default)]
    pub scale_in: Behaviour,
    #[serde(default)]
    pub proxies: ProxyRules,
    #[serde(default)]
    pub scaler: ScalerRules,
    /// For `fleet.kind = "process"`.
    #[serde(default)]
    pub process: Option<ProcessRules>,
    /// For `tidegate-scaler up` alone.
    #[serde(default)]
    pub up: Option<UpRules>,
}

/// A tick takes as long as two calls to the slowest proxy.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Each that is put aside renames all the others.
const MOST_LEDGERS: u32 = 100;

/// What decisions call terms that have no table with a name.
const OWN_TERMS: [&str; 8] = [
    "forecast", "drain", "burst", "slow", "formula", "demand", "workers", "serving",
];

/// `[proxies]`: where signals come from and drain orders go to.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProxyRules {
    /// Base URLs of their admin ports.
    pub admin: Vec<String>,
    /// File with the `operator` token.
    pub token_file: Option<PathBuf>,
    /// For one call to one proxy.
    pub timeout: Duration,
    /// What a proxy said counts for this long, unless it says something newer.
    pub stale_after: Duration,
}

impl Default for ProxyRules {
    fn default() -> Self {
        ProxyRules {
            admin: Vec::new(),
            token_file: None,
            timeout: Duration::from_millis(800),
            stale_after: Duration::from_secs(5),
        }
    }
}

/// `[scaler]`: the scaler's own port and memory.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScalerRules {
    /// `/healthz` and `/metrics`.
    pub listen: SocketAddr,
    /// One JSON line a tick; a restarted scaler goes on from it. [`DEFAULT_LEDGER`] when absent;
    /// `up` then keeps it only while it runs.
    pub ledger: Option<PathBuf>,
    /// A ledger that is larger is put aside and a new one begun.
    pub ledger_bytes: u64,
    /// How many that were put aside are kept.
    pub ledgers_kept: u32,
}

impl Default for ScalerRules {
    fn default() -> Self {
        ScalerRules {
            listen: DEFAULT_LISTEN,
            ledger: None,
            ledger_bytes: 64 << 20,
            ledgers_kept: 4,
        }
    }
}

/// `[process]`: workers as processes on this machine.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessRules {
    /// What `tidegate-worker serve --model` takes.
    pub model: String,
    /// The model id that clients name; the directory's or file's stem when absent.
    #[serde(default)]
    pub name: Option<String>,
    /// The worker's binary; beside the scaler's own when absent.
    #[serde(default)]
    pub binary: Option<PathBuf>,
    /// The worker's config file.
    #[serde(default)]
    pub config: Option<PathBuf>,
    /// File with the `worker` token; `up` makes its own.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// Threads of each worker; an equal share of the cores when absent.
    #[serde(default)]
    pub threads: Option<u32>,
    /// Allow more workers than there are cores. They then share what there is.
    #[serde(default)]
    pub oversubscribe: bool,
    /// How long a worker that was told to stop may take before it is killed.
    #[serde(default = "default_stop_limit")]
    pub stop_limit: Duration,
    /// Directory for one log a worker, removed when the worker ended well or five others failed
    /// after it; the scaler's own standard error when absent.
    #[serde(default)]
    pub logs: Option<PathBuf>,
}

/// Longer than a worker's own deadline, which is 30 s by default: it shall end by itself.
fn default_stop_limit() -> Duration {
    Duration::from_secs(40)
}

/// `[up]`: the proxy that `tidegate-scaler up` runs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpRules {
    /// Where clients are served.
    pub listen: SocketAddr,
    /// The proxy's admin port.
    pub admin: SocketAddr,
    /// The proxy's config file.
    pub proxy_config: PathBuf,
    /// The proxy's binary; beside the scaler's own when absent.
    #[serde(default)]
    pub proxy_binary: Option<PathBuf>,
}

impl ProcessRules {
    /// The model id that clients name.
    pub fn model_name(&self) -> String {
        let stem = || {
            let path = self.model.trim_end_matches('/');
            let last = path.rsplit('/').next().unwrap_or(path);
            match path.starts_with("hf://") {
                true => last.split('@').next().unwrap_or(last).to_owned(),
                false => last.to_owned(),
            }
        };
        self.name.clone().unwrap_or_else(stem)
    }
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

    /// What asks for workers besides the signals.
    fn check_terms(&self) -> Result<(), Problem> {
        if let Some(forecast) = &self.forecast {
            let checked = forecast.check();
            checked.map_err(|problem| problem.within("forecast"))?;
        }
        if let Some(cost) = &self.cost {
            let checked = cost.check(&self.fleet);
            checked.map_err(|problem| problem.within("cost"))?;
        }
        let mut names: Vec<&str> = self.signal.iter().map(|rule| rule.name.as_str()).collect();
        for (index, rule) in self.schedule.iter().enumerate() {
            let within = |problem: Problem| problem.within_item("schedule", index);
            rule.check(&self.fleet).map_err(within)?;
            if names.contains(&rule.name.as_str()) || OWN_TERMS.contains(&rule.name.as_str()) {
                let found = format!("\"{}\" again", rule.name);
                let problem = Problem::new("name", found, "a name that no other term has");
                return Err(within(problem));
            }
            names.push(&rule.name);
        }
        self.formula().transpose().map(drop)
    }

    fn check_sources(&self) -> Result<(), Problem> {
        for (index, rule) in self.source.iter().enumerate() {
            let within = |problem: Problem| problem.within_item("source", index);
            rule.check().map_err(within)?;
            if self.source[..index]
                .iter()
                .any(|other| other.name == rule.name)
            {
                let found = format!("\"{}\" again", rule.name);
                let problem = Problem::new("name", found, "a name of its own for each source");
                return Err(within(problem));
            }
        }
        let known: Vec<&str> = self.source.iter().map(|rule| rule.name.as_str()).collect();
        for (index, rule) in self.signal.iter().enumerate() {
            if let Source::Named(name) = &rule.source
                && !known.contains(&name.as_str())
            {
                let hint = tidegate_config::nearest(name, &known)
                    .map_or(String::new(), |word| format!("; did you mean \"{word}\"?"));
                let expected = format!("\"proxy\" or the name of a [[source]]{hint}");
                let problem = Problem::new("source", quoted(name), expected);
                return Err(problem.within_item("signal", index));
            }
        }
        Ok(())
    }

    fn check_signals(&self) -> Result<(), Problem> {
        if self.signal.is_empty() && self.forecast.is_none() && self.formula.is_none() {
            let expected = "at least one [[signal]], or a [forecast] table";
            return Err(Problem::new("signal", "none", expected));
        }
        let formula = self.formula().transpose()?;
        let named = |name: &str| {
            formula
                .iter()
                .any(|rule| rule.signals().any(|own| own == name))
        };
        for (index, rule) in self.signal.iter().enumerate() {
            rule.check(named(&rule.name))
                .map_err(|problem| problem.within_item("signal", index))?;
            let earlier = &self.signal[..index];
            if OWN_TERMS.contains(&rule.name.as_str()) {
                let problem = Problem::new("name", quoted(&rule.name), "a name that no term has");
                return Err(problem.within_item("signal", index));
            }
            if earlier.iter().any(|other| other.name == rule.name) {
                let found = format!("\"{}\" again", rule.name);
                let problem = Problem::new("name", found, "a name of its own for each signal");
                return Err(problem.within_item("signal", index));
            }
        }
        Ok(())
    }

    fn check_fleet(&self) -> Result<(), Problem> {
        self.fleet
            .check()
            .map_err(|problem| problem.within("fleet"))?;
        match (self.fleet.kind, &self.process) {
            (FleetKind::Process, None) => {
                let expected = "a table, as fleet.kind is \"process\"";
                Err(Problem::new("process", "nothing", expected))
            }
            (FleetKind::Process, Some(process)) if process.threads == Some(0) => {
                Err(Problem::new("process.threads", 0, "1 or more"))
            }
            _ => Ok(()),
        }
    }

    /// `up` runs the proxy itself; without it, proxies and tokens must be named.
    fn check_ends(&self) -> Result<(), Problem> {
        let (proxies, process) = (&self.proxies, self.process.as_ref());
        let token = process.and_then(|process| process.token_file.as_ref());
        if self.up.is_some() {
            let made = "nothing, as [up] runs the proxy and makes the tokens";
            return match (proxies.admin.first(), &proxies.token_file, token) {
                (Some(url), _, _) => Err(Problem::new("proxies.admin", quoted(url), made)),
                (_, Some(file), _) => {
                    let found = quoted(file.display());
                    Err(Problem::new("proxies.token_file", found, made))
                }
                (_, _, Some(file)) => {
                    let found = quoted(file.display());
                    Err(Problem::new("process.token_file", found, made))
                }
                _ => Ok(()),
            };
        }
        if proxies.admin.is_empty() {
            let expected = "the admin URLs of the proxies, or an [up] table";
            return Err(Problem::new("proxies.admin", "nothing", expected));
        }
        if proxies.token_file.is_none() {
            let expected = "the file with the operator token";
            return Err(Problem::new("proxies.token_file", "nothing", expected));
        }
        if process.is_some() && token.is_none() {
            let expected = "the file with the worker token";
            return Err(Problem::new("process.token_file", "nothing", expected));
        }
        check_urls(&proxies.admin)
    }
}

fn check_urls(urls: &[String]) -> Result<(), Problem> {
    for (index, url) in urls.iter().enumerate() {
        let host = url.strip_prefix("http://").unwrap_or_default();
        if host.is_empty() || host.contains(['/', '?', '#', ' ', '@']) {
            let expected = "a base URL such as \"http://10.0.0.5:9090\"";
            return Err(Problem::new("proxies.admin", quoted(url), expected));
        }
        if urls[..index].contains(url) {
            let found = format!("{} again", quoted(url));
            return Err(Problem::new("proxies.admin", found, "each proxy once"));
        }
    }
    Ok(())
}

fn quoted(value: impl std::fmt::Display) -> String {
    format!("\"{value}\"")
}

impl Check for PolicyFile {
    fn check(&self) -> Result<(), Problem> {
        self.check_fleet()?;
        self.check_signals()?;
        self.check_terms()?;
        self.check_sources()?;
        for (key, behaviour) in [("scale_out", &self.scale_out), ("scale_in", &self.scale_in)] {
            behaviour.check().map_err(|problem| problem.within(key))?;
        }
        if self.slo.latency.is_zero() {
            return Err(Problem::new("slo.latency", "\"0s\"", "more than 0"));
        }
        for (key, duration) in [
            ("proxies.timeout", self.proxies.timeout),
            ("proxies.stale_after", self.proxies.stale_after),
        ] {
            if duration.is_zero() {
                return Err(Problem::new(key, "\"0s\"", "more than 0"));
            }
        }
        if self.proxies.timeout > LONGEST_TIMEOUT {
            let (found, expected) = (
                quoted(self.proxies.timeout),
                format!("at most \"{LONGEST_TIMEOUT}\""),
            );
            return Err(Problem::new("proxies.timeout", found, expected));
        }
        if self.scaler.ledgers_kept > MOST_LEDGERS {
            let expected = format!("at most {MOST_LEDGERS}");
            let found = self.scaler.ledgers_kept;
            return Err(Problem::new("scaler.ledgers_kept", found, expected));
        }
        if self.scaler.ledger_bytes < 1 << 20 {
            let expected = "1048576 or more";
            let found = self.scaler.ledger_bytes;
            return Err(Problem::new("scaler.ledger_bytes", found, expected));
        }
        self.check_ends()
    }
}
