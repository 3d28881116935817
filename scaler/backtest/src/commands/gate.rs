//! Gates: what a policy must reach for the command to succeed, for use in CI.

use super::args::BacktestArgs;
use super::matrix::Judged;

/// A gate was missed; the command exits with 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Missed(String);

pub struct Gates {
    min_attainment: Option<f64>,
    max_instance_hours: Option<f64>,
}

impl Gates {
    pub fn of(args: &BacktestArgs) -> Gates {
        Gates {
            min_attainment: args.min_attainment,
            max_instance_hours: args.max_instance_hours,
        }
    }

    /// Holds every run of the tested policy against the gates; rivals are not held to them.
    pub fn check(&self, results: &[Judged]) -> anyhow::Result<()> {
        let ours = results.iter().flat_map(|result| &result.ours);
        let missed: Vec<String> = ours.flat_map(|run| self.missed(&run.row)).collect();
        match missed.is_empty() {
            true => Ok(()),
            false => Err(Missed(missed.join("\n")).into()),
        }
    }

    fn missed(&self, row: &crate::case::Row) -> Vec<String> {
        let place = format!("{} at {} s, seed {}", row.trace, row.lead_time_s, row.seed);
        let attainment = self.min_attainment.filter(|min| row.attainment < *min);
        let hours = (self.max_instance_hours).filter(|max| row.instance_hours > *max);
        let attainment = attainment.map(|min| {
            let found = row.attainment;
            format!("gate missed: {place}: attainment {found:.4}, expected {min} or more")
        });
        let hours = hours.map(|max| {
            let found = row.instance_hours;
            format!("gate missed: {place}: {found:.2} instance-hours, expected {max} or fewer")
        });
        attainment.into_iter().chain(hours).collect()
    }
}
