//! Measurements through the real binaries: `make bench`. Exits with 2 when a promise is missed.

mod batches;
mod departures;
mod encoders;
mod overhead;
mod peers;

use std::process::ExitCode;

const PARTS: [&str; 5] = ["encoders", "overhead", "peers", "departures", "batches"];

/// All parts, or those that are named.
#[tokio::main]
async fn main() -> ExitCode {
    let named: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = named.iter().find(|part| !PARTS.contains(&part.as_str())) {
        eprintln!(
            "{unknown}: expected nothing, or some of {}",
            PARTS.join(", ")
        );
        return ExitCode::from(2);
    }
    let wanted = |part: &str| named.is_empty() || named.iter().any(|named| named == part);
    let mut held = true;
    if wanted("encoders") {
        held &= encoders::measure().await;
    }
    if wanted("overhead") {
        overhead::measure().await;
    }
    if wanted("peers") {
        held &= peers::measure().await;
    }
    if wanted("departures") {
        held &= departures::measure().await;
    }
    if wanted("batches") {
        held &= batches::measure().await;
    }
    match held {
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
