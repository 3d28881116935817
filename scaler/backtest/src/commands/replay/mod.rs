//! `replay`: a recorded ledger under another policy.
//!
//! Without `--decisions` the recorded arrivals are simulated again, with the effects of the policy's own
//! decisions. With it, see [`decisions`].

mod decisions;
mod record;

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use tidegate_control::Policy;

use super::args::ReplayArgs;
use super::inputs;
use crate::case::{Case, Mode, Row};
use crate::sim::Scenario;
use crate::trace;
use record::Record;

const SEED: u64 = 1;

pub fn replay(args: &ReplayArgs) -> anyhow::Result<()> {
    let policy = inputs::policy(&args.policy)?;
    let record = Record::read(&args.ledger)?;
    match args.decisions {
        true => Ok(decisions::compare(&record, policy)?),
        false => simulate(args, &record, &policy),
    }
}

fn simulate(args: &ReplayArgs, record: &Record, policy: &Policy) -> anyhow::Result<()> {
    let ticks = record.ticks.iter();
    let seen = ticks.map(|(at, tick)| (*at, tick.observation.clone()));
    let demand = trace::recorded(seen).filter(|demand| demand.requests() > 0.0);
    let demand = demand.with_context(|| {
        let file = args.ledger.display();
        format!("{file}: its ticks counted no arrivals, so there is nothing to replay")
    })?;
    let scenario = match &args.scenario {
        Some(file) => inputs::scenario(file)?,
        None => record.scenario(policy),
    };
    let lead_time = args.lead_time.map_or(*scenario.lead_time, |time| *time);
    let scenario = scenario.with_lead_time(lead_time);
    let name = file_name(&args.ledger);
    let case = Case {
        trace: &name,
        scenario: &scenario,
        demand: &demand,
        seed: SEED,
        mode: Mode::Exact,
    };
    let outcome = case.run_policy(policy);
    let price = policy.cost.map(|cost| cost.price_per_hour);
    let ours = inputs::stem(&args.policy);
    let row = Row::new(&ours, &case, &outcome, case.lower_bound_hours()).priced(price);
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &[row])?;
        writeln!(out)?;
        return Ok(());
    }
    tell(&mut out, record, &scenario, &row)?;
    Ok(())
}

fn tell(
    out: &mut impl Write,
    record: &Record,
    scenario: &Scenario,
    row: &Row,
) -> std::io::Result<()> {
    let Scenario {
        slots,
        service,
        lead_time,
        slo,
        min_workers,
        max_workers,
        ..
    } = scenario;
    let service_s = service.mean_s();
    writeln!(
        out,
        "The arrivals of {:.2} h are simulated again on {min_workers} to {max_workers} workers of \
         {slots} slots; service takes {service_s:.2} s in the mean, a launch {lead_time}. Service \
         times are drawn, not recorded.",
        record.span_s() / 3600.0,
    )?;
    let (in_time, hours) = (record.in_time(**slo), record.worker_hours());
    match in_time {
        Some(share) => writeln!(
            out,
            "recorded:  {:6.2} % within {slo}, {hours:.2} worker-hours",
            share * 100.0
        )?,
        None => writeln!(out, "recorded:  {hours:.2} worker-hours")?,
    }
    writeln!(
        out,
        "simulated: {:6.2} % within {slo}, {:.2} worker-hours, p99 {:.0} ms, {:.1} reversals an \
         hour, {} killed",
        row.attainment * 100.0,
        row.instance_hours,
        row.p99_ms,
        row.reversals_per_hour,
        row.killed_in_flight,
    )
}

fn file_name(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
