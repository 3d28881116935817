//! Measurements through the real binaries: `make bench`. Exits with 2 when a promise is missed.

mod departures;
mod encoders;
mod overhead;

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let encoders = encoders::measure().await;
    overhead::measure().await;
    match departures::measure().await && encoders {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(2),
    }
}

/// The value at quantile `q` of some measured milliseconds.
fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let rank = (q * values.len() as f64).ceil() as usize;
    values[rank.clamp(1, values.len()) - 1]
}
