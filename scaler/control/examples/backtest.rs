//! The table rivals x traces x lead times, with progress, until the subcommand is there.
//!
//!     cargo run --release -p tidegate-control --example backtest -- [OPTION...] TRACE...
//!
//! Options: `--from H` and `--hours H` cut a stretch out of each trace (default 0 and 6),
//! `--lead-time S` may be repeated (default 10, 60, 180, 300), `--seed N`, `--only NAME` shows one
//! policy, `--tune` chooses each rival's best setting on the first half and judges all on the
//! second, `--oracle` adds the schedule made with hindsight, `--json` prints rows as JSON lines.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use tidegate_control::backtest::{Case, LEAD_TIMES, Predictive, Row, tune};
use tidegate_control::bound::oracle;
use tidegate_control::rivals::Rival;
use tidegate_control::sim::{Outcome, Scenario};
use tidegate_control::staffing::StaffingRules;
use tidegate_control::trace::{self, Demand};

#[derive(Default)]
struct Options {
    from_h: f64,
    hours: f64,
    lead_times: Vec<Duration>,
    seed: u64,
    only: Option<String>,
    tune: bool,
    oracle: bool,
    json: bool,
    wait_s: f64,
    hold: f64,
    files: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let options = options()?;
    let scenario = Scenario::default();
    for file in &options.files {
        let text = std::fs::read_to_string(file).with_context(|| file.clone())?;
        let demand = trace::parse(&text).with_context(|| file.clone())?;
        let from_s = options.from_h * 3600.0;
        let to_s = (from_s + options.hours * 3600.0).min(demand.span_s());
        let demand = scenario.scale(&demand.cut(from_s, to_s));
        let name = file.rsplit('/').next().unwrap_or(file);
        for lead_time in &options.lead_times {
            let scenario = scenario.with_lead_time(*lead_time);
            table(&options, name, &scenario, &demand)?;
        }
    }
    Ok(())
}

fn options() -> anyhow::Result<Options> {
    let mut options = Options {
        hours: 6.0,
        seed: 1,
        wait_s: 0.08,
        hold: 0.7,
        ..Options::default()
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut text = || {
            words
                .next()
                .with_context(|| format!("{word} needs a value"))
        };
        match word.as_str() {
            "--from" => options.from_h = text()?.parse()?,
            "--hours" => options.hours = text()?.parse()?,
            "--seed" => options.seed = text()?.parse()?,
            "--wait" => options.wait_s = text()?.parse()?,
            "--hold" => options.hold = text()?.parse()?,
            "--only" => options.only = Some(text()?),
            "--lead-time" => options
                .lead_times
                .push(Duration::from_secs(text()?.parse()?)),
            "--tune" => options.tune = true,
            "--oracle" => options.oracle = true,
            "--json" => options.json = true,
            flag if flag.starts_with("--") => bail!("{flag} is not an option"),
            _ => options.files.push(word),
        }
    }
    if options.lead_times.is_empty() {
        options.lead_times = LEAD_TIMES.to_vec();
    }
    Ok(options)
}

impl Options {
    fn rules(&self, scenario: &Scenario) -> StaffingRules {
        StaffingRules {
            slots: scenario.slots,
            lead_time: scenario.lead_time.mul_f64(1.0 + scenario.lead_spread),
            wait_s: self.wait_s,
            hold: self.hold,
            service_s: scenario.service.mean_s(),
        }
    }
}

fn table(
    options: &Options,
    name: &str,
    scenario: &Scenario,
    demand: &Demand,
) -> anyhow::Result<()> {
    let (first, second) = demand.halves();
    let case = |demand| Case {
        trace: name,
        scenario,
        demand,
        seed: options.seed,
    };
    let judged = case(if options.tune { &second } else { demand });
    let bound = judged.lower_bound_hours();
    let wanted = |policy: &str| options.only.as_deref().is_none_or(|only| only == policy);
    let show = |policy: &str, outcome: &Outcome| {
        print_row(options, &Row::new(policy, &judged, outcome, bound))
    };
    for rival in Rival::ALL.into_iter().filter(|rival| wanted(rival.name())) {
        progress(&judged, rival.name());
        show(rival.name(), &judged.run_rival(rival, rival.defaults()))?;
        if options.tune {
            progress(&judged, &format!("tuning {}", rival.name()));
            let setting = tune(rival, &case(&first));
            show(
                &format!("{}-tuned", rival.name()),
                &judged.run_rival(rival, setting),
            )?;
        }
    }
    if wanted("forecast") {
        progress(&judged, "forecast");
        show(
            "forecast",
            &judged.run(&mut Predictive::new(options.rules(scenario))),
        )?;
    }
    if options.oracle && wanted("oracle") {
        progress(&judged, "oracle");
        show("oracle", &oracle(scenario, judged.demand, options.seed))?;
    }
    Ok(())
}

fn progress(case: &Case<'_>, doing: &str) {
    eprint!(
        "\r\x1b[K{} at {}: {doing}\r",
        case.trace, case.scenario.lead_time
    );
}

fn print_row(options: &Options, row: &Row) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if options.json {
        writeln!(out, "{}", serde_json::to_string(row)?)?;
        return Ok(());
    }
    let above = (row.instance_hours / row.lower_bound_hours - 1.0) * 100.0;
    writeln!(
        out,
        "{:<26.26} {:>4} s {:<18} {:>6.2} % {:>6.0} ms {:>7.1} h {:>+6.1} % {:>6.1} rev/h {:>4} min",
        row.trace,
        row.lead_time_s,
        row.policy,
        row.attainment * 100.0,
        row.p99_ms,
        row.instance_hours,
        above,
        row.reversals_per_hour,
        row.violation_minutes,
    )?;
    Ok(())
}
