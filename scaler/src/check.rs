//! `check`: whether policies are valid, what they do, and which of their demands cannot be met.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tidegate_control::Tally;
use tidegate_policy::{DEFAULT_LEDGER, PolicyFile};

use crate::explain::each_line;
use crate::ledger::Entry;

/// Fewer services say little about the slowest one in a hundred.
const FEWEST_SERVICES: u64 = 1000;

/// Tells what a policy that is valid comes to.
///
/// # Errors
/// When it cannot be written.
pub fn tell(file: &Path, policy: &PolicyFile, out: &mut dyn Write) -> io::Result<()> {
    let mut terms: Vec<_> = policy
        .signal
        .iter()
        .map(|rule| rule.name.as_str())
        .collect();
    terms.extend(policy.forecast.map(|_| "forecast"));
    terms.extend(policy.formula.iter().map(|_| "formula"));
    terms.extend(policy.schedule.iter().map(|rule| rule.name.as_str()));
    let (min, max) = (policy.fleet.min, policy.fleet.max);
    let (file, names) = (file.display(), terms.join(", "));
    writeln!(out, "{file} is valid: {min} to {max} workers by {names}")?;
    for line in policy.policy().effect() {
        writeln!(out, "  {line}")?;
    }
    let ledger = policy.scaler.ledger.as_deref();
    let recorded = services(ledger.unwrap_or(Path::new(DEFAULT_LEDGER)));
    if let Some(warning) = recorded.and_then(|services| unmet(policy, &services)) {
        writeln!(out, "  warning: {warning}")?;
    }
    for (key, file) in absent(policy) {
        let file = file.display();
        writeln!(
            out,
            "  note: {key} is \"{file}\", which is not on this machine"
        )?;
    }
    Ok(())
}

/// The files that a policy names and this machine does not have. A policy may be checked elsewhere
/// than it is used, so this is no mistake. Paths within a worker's container are not looked for.
fn absent(policy: &PolicyFile) -> Vec<(String, PathBuf)> {
    let mut named: Vec<(String, Option<PathBuf>)> = Vec::new();
    let mut name = |key: &str, file: Option<&Path>| {
        named.push((key.to_owned(), file.map(Path::to_owned)));
    };
    name("proxies.token_file", policy.proxies.token_file.as_deref());
    if let Some(process) = &policy.process {
        let model = Path::new(&process.model);
        let is_remote = process.model.contains("://");
        name("process.model", (!is_remote).then_some(model));
        name("process.token_file", process.token_file.as_deref());
        name("process.config", process.config.as_deref());
        name("process.binary", process.binary.as_deref());
    }
    if let Some(container) = &policy.container {
        name("container.socket", Some(container.socket.as_path()));
    }
    if let Some(up) = &policy.up {
        name("up.proxy_config", Some(up.proxy_config.as_path()));
        name("up.proxy_binary", up.proxy_binary.as_deref());
        let batch = up.batch.as_ref();
        name("up.batch.config", batch.map(|batch| batch.config.as_path()));
    }
    for source in &policy.source {
        let key = |key: &str| format!("source[{}].{key}", source.name);
        name(&key("ca_file"), source.ca_file.as_deref());
        name(&key("bearer_file"), source.bearer_file.as_deref());
        let basic = source.basic.as_ref();
        name(
            &key("basic.password_file"),
            basic.map(|basic| basic.password_file.as_path()),
        );
    }
    let named = named.into_iter();
    let files = named.filter_map(|(key, file)| Some((key, file?)));
    files.filter(|(_, file)| !file.exists()).collect()
}

/// The services that a ledger has recorded; `None` where there is none, or too few.
fn services(ledger: &Path) -> Option<Tally> {
    let mut services = Tally::default();
    let lines = each_line(ledger, |line| {
        if let Entry::Tick(tick) = &line.entry {
            let seen = tick.observation.proxies.iter();
            let seen = seen.filter_map(|proxy| proxy.seen.as_ref());
            seen.for_each(|seen| services.add(&seen.service));
        }
        Ok(())
    });
    lines.ok()?;
    (services.count() >= FEWEST_SERVICES).then_some(services)
}

/// What is promised and cannot be kept, however many workers there are.
fn unmet(policy: &PolicyFile, services: &Tally) -> Option<String> {
    let forecast = policy.forecast?;
    let latency = policy.slo.latency;
    let within = services.count_within_ms(latency.as_secs_f64() * 1000.0);
    let within = within as f64 / services.count() as f64;
    (within < forecast.attainment).then(|| {
        format!(
            "forecast.attainment is {}, but of {} services in the ledger only {:.2} % take less \
             than slo.latency, {latency}, by themselves: no number of workers keeps it",
            forecast.attainment,
            services.count(),
            100.0 * within
        )
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const POLICY: &str = "[fleet]\nkind = 'process'\nmin = 1\nmax = 4\nlead_time = '60s'\n\
        [slo]\nlatency = '2s'\n[[signal]]\nname = 'requests'\nmetric = 'concurrency'\n\
        statistic = 'mean'\nwindow = '20s'\ntarget_per_worker = 24\n[[signal]]\n\
        name = 'tail'\nmetric = 'latency'\nstatistic = 'p99'\nwindow = '60s'\n[forecast]\n\
        [cost]\nprice_per_hour = 0.2\nbudget_per_hour = 0.6\n[proxies]\n\
        admin = ['http://127.0.0.1:9090']\ntoken_file = '/nowhere/t'\n[process]\n\
        model = '/nowhere/m'\ntoken_file = '/nowhere/t'\n[scaler]\nledger = '/nowhere'\n";

    fn policy() -> PolicyFile {
        tidegate_config::parse(POLICY, Path::new("p.toml")).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn a_policy_is_printed_with_its_defaults_and_what_signals_ask_at_their_targets() {
        let mut printed = Vec::new();
        tell(Path::new("p.toml"), &policy(), &mut printed).expect("it is written");
        let expected = "\
p.toml is valid: 1 to 4 workers by requests, tail, forecast
  a new worker: expected within 60s of its launch (fleet.lead_time), or sooner once launches have \
shown it; replaced after 30s of silence
  requests: mean of requests in the queue and at workers over 20s; a worker for each 24, so all 4 \
from 96 on
  tail: p99 of latency over 60s; at 2s as many workers as serve, at twice that twice as many
  forecast: workers for 99 % of requests within 2s, for the load a lead time ahead; what waits is \
worked off within 20s
  growth: at once; within 10 % of a target nothing is done
  removal: to the most that was asked for over 45s; within 10 % of a target nothing is done
  cost: 0.20 to 0.60 per hour, for 1 to 3 workers (cost.budget_per_hour)
  note: proxies.token_file is \"/nowhere/t\", which is not on this machine
  note: process.model is \"/nowhere/m\", which is not on this machine
  note: process.token_file is \"/nowhere/t\", which is not on this machine
";
        let expected = expected
            .replace("60s of", "1m of")
            .replace("over 60s", "over 1m");
        assert_eq!(String::from_utf8_lossy(&printed), expected);
    }

    #[test]
    fn a_promise_that_services_alone_break_is_warned_of() {
        let mut histogram = tidegate_protocol::Histogram::default();
        (0..2000).for_each(|at| {
            let seconds = if at % 50 == 0 { 5 } else { 1 };
            histogram.record(Duration::from_secs(seconds));
        });
        let services = Tally::from(&histogram);
        let warning = unmet(&policy(), &services).expect("it cannot be kept");
        assert!(
            warning.contains("of 2000 services in the ledger only 98.00 %"),
            "{warning}"
        );
        let mut slower = policy();
        slower.slo.latency = tidegate_config::Duration::from_secs(10);
        assert_eq!(unmet(&slower, &services), None);
    }
}
