//! The table of rivals x traces x lead times, as far as the library goes today.
//!
//!     cargo run --release -p tidegate-control --example backtest -- tests/traces/*.csv
//!
//! Options before the files: `--hours N` replays only the first N hours of each trace (default
//! 6), `--lead-time SECONDS` (may be repeated; default 10, 60, 180, 300), `--seed N`, `--tune`
//! also chooses each rival's best setting on the first half and judges it on the second.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tidegate_control::rivals::{Capacity, Rival, Setting};
use tidegate_control::sim::{Outcome, Scenario, run};
use tidegate_control::trace::{self, Demand};

struct Options {
    hours: f64,
    lead_times: Vec<Duration>,
    seed: u64,
    files: Vec<String>,
}

fn options() -> anyhow::Result<Options> {
    let mut options = Options {
        hours: 6.0,
        lead_times: Vec::new(),
        seed: 1,
        files: Vec::new(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || -> anyhow::Result<f64> {
            let text = words.next().context("expected a number")?;
            text.parse()
                .with_context(|| format!("{word} {text}: expected a number"))
        };
        match word.as_str() {
            "--hours" => options.hours = number()?,
            "--seed" => options.seed = number()? as u64,
            "--lead-time" => options.lead_times.push(Duration::from_secs_f64(number()?)),
            flag if flag.starts_with("--") => bail!("{flag} is not known"),
            file => options.files.push(file.to_owned()),
        }
    }
    if options.lead_times.is_empty() {
        options.lead_times = [10, 60, 180, 300].map(Duration::from_secs).to_vec();
    }
    Ok(options)
}

fn main() -> anyhow::Result<()> {
    let options = options()?;
    let scenario = Scenario::default();
    println!(
        "{:<28} {:>4} {:<13} {:>7} {:>8} {:>8} {:>6} {:>6}  {:>9}",
        "trace", "lead", "policy", "attain", "p99 ms", "hours", "rev/h", "viol", "req/s"
    );
    for file in &options.files {
        let text = std::fs::read_to_string(file).with_context(|| file.clone())?;
        let demand = trace::parse(&text).with_context(|| file.clone())?;
        let name = file.rsplit('/').next().unwrap_or(file);
        let demand = scenario.scale(&demand.cut(0.0, options.hours * 3600.0));
        for lead_time in &options.lead_times {
            let scenario = scenario.with_lead_time(*lead_time);
            table(name, &scenario, &demand, options.seed);
        }
    }
    Ok(())
}

fn table(name: &str, scenario: &Scenario, demand: &Demand, seed: u64) {
    for rival in Rival::ALL {
        eprint!("\r{name} {}        ", rival.name());
        let _ = std::io::stderr().flush();
        let began = Instant::now();
        let outcome = replay(rival, scenario, demand, seed, rival.defaults());
        let speed = outcome.arrivals as f64 / began.elapsed().as_secs_f64();
        eprint!("\r");
        println!(
            "{:<28.28} {:>4} {:<13} {:>6.2}% {:>8.0} {:>8.1} {:>6.2} {:>6}  {:>9.0}",
            name,
            scenario.lead_time.as_secs(),
            rival.name(),
            outcome.attainment() * 100.0,
            outcome.p99_ms,
            outcome.instance_hours,
            outcome.reversals_per_hour,
            outcome.violation_minutes,
            speed
        );
    }
}

fn replay(
    rival: Rival,
    scenario: &Scenario,
    demand: &Demand,
    seed: u64,
    setting: Setting,
) -> Outcome {
    let mut autoscaler = rival.build(Capacity::of(scenario), setting);
    run(scenario, demand, seed, autoscaler.as_mut())
}
