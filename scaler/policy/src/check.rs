//! What a policy file may not say, found before anything of it is used.

use tidegate_config::{Check, Problem};
use tidegate_control::{FleetKind, Formula, Source};

use super::CloudWatchRules;
use super::{LeaseKind, LeaseRules, PolicyFile, quoted};

/// What decisions call terms that have no table with a name.
const OWN_TERMS: [&str; 8] = [
    "forecast", "drain", "burst", "slow", "formula", "demand", "workers", "serving",
];

impl Check for PolicyFile {
    fn check(&self) -> Result<(), Problem> {
        self.problems().into_iter().next().map_or(Ok(()), Err)
    }

    fn problems(&self) -> Vec<Problem> {
        let tables = [self.check_fleet(), self.check_signals(), self.check_terms()];
        let mut problems: Vec<Problem> = tables.into_iter().filter_map(Result::err).collect();
        let signals = (1..self.signal.len()).filter_map(|at| self.check_signal(at).err());
        problems.extend(signals);
        problems.extend((0..self.source.len()).filter_map(|at| self.check_source(at).err()));
        let cloudwatch = self.cloudwatch.as_ref();
        let slo = match self.slo.latency.is_zero() {
            true => Err(Problem::new("slo.latency", "\"0s\"", "more than 0")),
            false => Ok(()),
        };
        let lease = self.lease.as_ref();
        let within = |key: &'static str| move |problem: Problem| problem.within(key);
        let tables = [
            self.check_named_sources(),
            (cloudwatch.map_or(Ok(()), CloudWatchRules::check)).map_err(within("cloudwatch")),
            self.scale_out.check().map_err(within("scale_out")),
            self.scale_in.check().map_err(within("scale_in")),
            slo,
            self.proxies.check().map_err(within("proxies")),
            self.scaler.check().map_err(within("scaler")),
            (lease.map_or(Ok(()), LeaseRules::check)).map_err(within("lease")),
            self.check_lease_outlasts_calls(),
            self.check_ends(),
        ];
        problems.extend(tables.into_iter().filter_map(Result::err));
        let mut distinct: Vec<Problem> = Vec::new();
        for problem in problems {
            if !distinct.contains(&problem) {
                distinct.push(problem);
            }
        }
        distinct
    }
}

impl PolicyFile {
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

    fn check_source(&self, index: usize) -> Result<(), Problem> {
        let within = |problem: Problem| problem.within_item("source", index);
        let rule = &self.source[index];
        rule.check().map_err(within)?;
        let earlier = &self.source[..index];
        match earlier.iter().any(|other| other.name == rule.name) {
            true => {
                let found = format!("\"{}\" again", rule.name);
                let problem = Problem::new("name", found, "a name of its own for each source");
                Err(within(problem))
            }
            false => Ok(()),
        }
    }

    /// Every source that a signal names is there.
    fn check_named_sources(&self) -> Result<(), Problem> {
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

    /// That something asks for workers, and the first signal.
    fn check_signals(&self) -> Result<(), Problem> {
        if self.signal.is_empty() && self.forecast.is_none() && self.formula.is_none() {
            let expected = "at least one [[signal]], or a [forecast] table";
            return Err(Problem::new("signal", "none", expected));
        }
        match self.signal.is_empty() {
            true => Ok(()),
            false => self.check_signal(0),
        }
    }

    fn check_signal(&self, index: usize) -> Result<(), Problem> {
        let formula = self.formula().transpose()?;
        let within = |problem: Problem| problem.within_item("signal", index);
        let rule = &self.signal[index];
        let names = |formula: &Formula| formula.signals().any(|own| own == rule.name);
        let is_named = formula.as_ref().is_some_and(names);
        rule.check(is_named).map_err(within)?;
        if OWN_TERMS.contains(&rule.name.as_str()) {
            let problem = Problem::new("name", quoted(&rule.name), "a name that no term has");
            return Err(within(problem));
        }
        let earlier = &self.signal[..index];
        match earlier.iter().any(|other| other.name == rule.name) {
            true => {
                let found = format!("\"{}\" again", rule.name);
                let problem = Problem::new("name", found, "a name of its own for each signal");
                Err(within(problem))
            }
            false => Ok(()),
        }
    }

    fn check_fleet(&self) -> Result<(), Problem> {
        self.fleet
            .check()
            .map_err(|problem| problem.within("fleet"))?;
        if let Some(process) = &self.process {
            let checked = process.check();
            checked.map_err(|problem| problem.within("process"))?;
        }
        if let Some(container) = &self.container {
            let checked = container.check();
            checked.map_err(|problem| problem.within("container"))?;
        }
        if let Some(asg) = &self.asg {
            asg.check().map_err(|problem| problem.within("asg"))?;
        }
        let (kind, is_there) = match self.fleet.kind {
            FleetKind::Process => ("process", self.process.is_some()),
            FleetKind::Container => ("container", self.container.is_some()),
            FleetKind::Asg => ("asg", self.asg.is_some()),
        };
        if !is_there {
            let expected = format!("a table, as fleet.kind is \"{kind}\"");
            return Err(Problem::new(kind, "nothing", expected));
        }
        if self.up.is_some() && self.fleet.kind != FleetKind::Process {
            let expected = "\"process\", as [up] runs workers on this machine";
            return Err(Problem::new("fleet.kind", quoted(kind), expected));
        }
        Ok(())
    }

    /// A scaler whose lease is shorter than a call may take would never act.
    fn check_lease_outlasts_calls(&self) -> Result<(), Problem> {
        let container = self.container.as_ref().map(|rules| rules.timeout);
        let asg = self.asg.as_ref().map(|rules| rules.timeout);
        let timeout = container
            .map(|timeout| ("container.timeout", timeout))
            .or(asg.map(|timeout| ("asg.timeout", timeout)));
        let (Some(lease), Some((key, timeout))) = (&self.lease, timeout) else {
            return Ok(());
        };
        let longest = *timeout * 2;
        if lease.kind == LeaseKind::File || *lease.duration > longest {
            return Ok(());
        }
        let expected = format!("more than {longest:?}, twice {key}");
        Err(Problem::new(
            "lease.duration",
            quoted(lease.duration),
            expected,
        ))
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
        Ok(())
    }
}
