//! `backtest`, `tune` and `replay` as commands: the files, the cores, the table and the report.

mod args;
mod gate;
mod inputs;
mod matrix;
mod pool;
mod replay;
mod report;
mod show;
mod split;
mod steady;
mod summary;
mod tune;

use std::io::Write;

use anyhow::Context;

pub use args::{BacktestArgs, ReplayArgs, TuneArgs};
pub use gate::Missed;
pub use inputs::BadTrace;
pub use replay::replay;
pub use tune::tune;

use gate::Gates;
use inputs::Inputs;
use matrix::{Effort, Field, Plan};
use summary::Summary;
use tidegate_process::Progress;

/// Runs the table that the command line asks for. A gate that is missed is the error [`Missed`].
pub fn backtest(args: &BacktestArgs) -> anyhow::Result<()> {
    let inputs = Inputs::read(args)?;
    let plan = Plan {
        policy: inputs.policy.clone(),
        name: inputs::stem(&args.policy),
        scenario: inputs.scenario.clone(),
        seeds: (1..=args.seeds).collect(),
        field: match args.rivals {
            true => Field::Rivals,
            false => Field::Alone,
        },
        effort: match args.quick {
            true => Effort::Quick,
            false => Effort::Full,
        },
    };
    let test_cases = plan.test_cases(&inputs.traces, &inputs.lead_times)?;
    let progress = Progress::new(plan.jobs(&test_cases), pool::RUNS);
    if !args.json {
        show::head(&plan, &test_cases)?;
    }
    let mut results = Vec::new();
    for batch in plan.batches(&test_cases) {
        let found = plan.run(batch, &progress);
        if !args.json {
            progress.clear();
            found
                .iter()
                .try_for_each(|result| show::result(&plan, result))?;
        }
        results.extend(found);
    }
    let steady = match (plan.field, args.json && args.report.is_none()) {
        (Field::Rivals, false) => steady::run(&plan, &inputs.lead_times),
        _ => Vec::new(),
    };
    progress.clear();
    let summary = Summary::of(&results, &steady).lines();
    match args.json {
        true => json(&results)?,
        false => show::tail(&summary)?,
    }
    if let Some(file) = &args.report {
        let page = report::page(&plan, &inputs, &results, &summary);
        let what = || format!("cannot write {}", file.display());
        std::fs::write(file, page).with_context(what)?;
    }
    Gates::of(args).check(&results)
}

/// All rows, as one array.
fn json(results: &[matrix::Judged]) -> anyhow::Result<()> {
    let rows: Vec<_> = results.iter().flat_map(matrix::Judged::rows).collect();
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &rows)?;
    writeln!(out)?;
    Ok(())
}
