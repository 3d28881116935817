//! `status`: the state of a running scaler's fleets in a few lines, from its own metrics.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tidegate_policy::Series;

use crate::explain::Form;
use crate::http;
use crate::sources::exposition::{self, Line};

const TIMEOUT: Duration = Duration::from_secs(5);

const PREFIX: &str = "tidegate_scaler_";

/// Asks the scaler at `address` and prints how its fleets stand.
///
/// # Errors
/// When it cannot be reached.
pub async fn status(address: SocketAddr, form: Form) -> anyhow::Result<()> {
    let get = async |path: &str| {
        let request = http::client().get(format!("http://{address}{path}"));
        request.timeout(TIMEOUT).send().await
    };
    let unreachable = || format!("the scaler at {address} cannot be reached");
    let page = get("/metrics").await.with_context(unreachable)?;
    if !page.status().is_success() {
        bail!("what listens at {address} answers with {}", page.status());
    }
    let page = page.text().await.with_context(unreachable)?;
    let is_at_work = get("/healthz").await.with_context(unreachable)?;
    let is_at_work = is_at_work.status().is_success();
    let standing = Standing::read(&page, is_at_work);
    let out = &mut io::stdout().lock();
    match form {
        Form::Table => standing.print(address, out)?,
        Form::Json => writeln!(out, "{:#}", standing.json())?,
    }
    Ok(())
}

struct Standing<'a> {
    page: &'a str,
    /// It has ticked lately.
    is_at_work: bool,
    /// By name; one without a name where there is only one.
    fleets: BTreeSet<String>,
}

impl<'a> Standing<'a> {
    fn read(page: &'a str, is_at_work: bool) -> Standing<'a> {
        let mut standing = Standing {
            page,
            is_at_work,
            fleets: BTreeSet::new(),
        };
        let workers = standing.lines("workers");
        standing.fleets = workers.iter().map(|line| label(line, "fleet")).collect();
        standing
    }

    fn lines(&self, name: &str) -> Vec<Line> {
        let wanted = Series {
            name: format!("{PREFIX}{name}"),
            ..Series::default()
        };
        let found = exposition::samples(self.page, &wanted);
        found.map(|found| found.lines).unwrap_or_default()
    }

    /// What a fleet's metric says for each of its other label's values. What is not known is left
    /// out.
    fn by(&self, fleet: &str, name: &str, other: &str) -> Vec<(String, f64)> {
        let lines = self.lines(name).into_iter();
        let ours = lines.filter(|line| label(line, "fleet") == fleet && !line.value.is_nan());
        ours.map(|line| (label(&line, other), line.value)).collect()
    }

    fn one(&self, fleet: &str, name: &str) -> Option<f64> {
        self.by(fleet, name, "").first().map(|(_, value)| *value)
    }

    fn is(&self, fleet: &str, name: &str) -> bool {
        self.one(fleet, name) == Some(1.0)
    }

    fn print(&self, address: SocketAddr, out: &mut dyn Write) -> io::Result<()> {
        let state = match (self.is_at_work, self.fleets.is_empty()) {
            (false, _) => "has not ticked for 10 s",
            (true, true) => "has decided nothing yet",
            (true, false) => "runs",
        };
        writeln!(out, "the scaler at {address} {state}")?;
        self.fleets
            .iter()
            .try_for_each(|fleet| self.print_fleet(fleet, out))
    }

    fn print_fleet(&self, fleet: &str, out: &mut dyn Write) -> io::Result<()> {
        if !fleet.is_empty() {
            writeln!(out, "{fleet}:")?;
        }
        let workers = self.by(fleet, "workers", "stage").into_iter();
        let workers = workers.filter(|(_, count)| *count > 0.0);
        let workers: Vec<String> = workers
            .map(|(stage, count)| format!("{count} {stage}"))
            .collect();
        let workers = match workers.is_empty() {
            true => "none".to_owned(),
            false => workers.join(", "),
        };
        let needed = self.one(fleet, "needed_workers").unwrap_or_default();
        write!(out, "  workers: {workers}; needed: {needed}")?;
        match self.one(fleet, "cost_per_hour") {
            Some(cost) => writeln!(out, "; cost: {cost:.2} per hour")?,
            None => writeln!(out)?,
        }
        for (term, asked) in self.by(fleet, "asked_workers", "signal") {
            let values = self.by(fleet, "signal_value", "signal");
            let value = values.iter().find(|(name, _)| *name == term);
            let value = value.map_or(String::new(), |(_, value)| format!(" (value {value:.2})"));
            writeln!(out, "  {term} asks for {asked}{value}")?;
        }
        for (name, text) in [
            ("by_hand", "the size is set by hand"),
            (
                "mass_silence",
                "most workers are silent together, and none is replaced",
            ),
            (
                "capacity_unavailable",
                "AWS lacks the capacity that the group asked for",
            ),
        ] {
            if self.is(fleet, name) {
                writeln!(out, "  {text}")?;
            }
        }
        if self.one(fleet, "leader") == Some(0.0) {
            writeln!(out, "  another scaler holds the lease; this one watches")?;
        }
        self.print_silent(fleet, out)
    }

    fn print_silent(&self, fleet: &str, out: &mut dyn Write) -> io::Result<()> {
        for (name, other, text) in [
            (
                "proxy_up",
                "proxy",
                "gives no signal, so no worker is removed",
            ),
            ("source_up", "source", "gives no value"),
        ] {
            let silent = self.by(fleet, name, other).into_iter();
            for (who, _) in silent.filter(|(_, up)| *up == 0.0) {
                writeln!(out, "  {other} {who} {text}")?;
            }
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let object = |fleet: &String, name: &str, other: &str| {
            let pairs = self.by(fleet, name, other).into_iter();
            let pairs = pairs.map(|(key, value)| (key, Value::from(value)));
            Value::Object(pairs.collect())
        };
        let fleet = |fleet: &String| {
            json!({
                "fleet": fleet,
                "workers": object(fleet, "workers", "stage"),
                "needed": self.one(fleet, "needed_workers"),
                "asked": object(fleet, "asked_workers", "signal"),
                "values": object(fleet, "signal_value", "signal"),
                "cost_per_hour": self.one(fleet, "cost_per_hour"),
                "leads": self.is(fleet, "leader"),
                "by_hand": self.is(fleet, "by_hand"),
                "proxies": object(fleet, "proxy_up", "proxy"),
                "sources": object(fleet, "source_up", "source"),
            })
        };
        json!({
            "at_work": self.is_at_work,
            "fleets": self.fleets.iter().map(fleet).collect::<Vec<_>>(),
        })
    }
}

fn label(line: &Line, name: &str) -> String {
    line.series.labels.get(name).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# TYPE tidegate_scaler_workers gauge
tidegate_scaler_workers{stage=\"serving\"} 3
tidegate_scaler_workers{stage=\"booting\"} 1
tidegate_scaler_workers{stage=\"leaving\"} 0
tidegate_scaler_needed_workers 4
tidegate_scaler_asked_workers{signal=\"requests\"} 4
tidegate_scaler_asked_workers{signal=\"orders\"} NaN
tidegate_scaler_signal_value{signal=\"requests\"} 80
tidegate_scaler_cost_per_hour 0.8
tidegate_scaler_leader 1
tidegate_scaler_by_hand 1
tidegate_scaler_proxy_up{proxy=\"http://10.0.0.5:9090\"} 0
";

    #[test]
    fn a_fleet_is_told_in_a_few_lines() {
        let address = SocketAddr::from(([127, 0, 0, 1], 9091));
        let mut out = Vec::new();
        let standing = Standing::read(PAGE, true);
        standing.print(address, &mut out).expect("it is written");
        let expected = "the scaler at 127.0.0.1:9091 runs
  workers: 3 serving, 1 booting; needed: 4; cost: 0.80 per hour
  requests asks for 4 (value 80.00)
  the size is set by hand
  proxy http://10.0.0.5:9090 gives no signal, so no worker is removed
";
        assert_eq!(String::from_utf8_lossy(&out), expected);
        let json = standing.json();
        assert_eq!(json["fleets"][0]["workers"]["serving"], 3.0);
        assert_eq!(json["fleets"][0]["leads"], true);
    }
}
