//! The scaler's own ledger as a trace: the arrivals that its ticks counted.
//!
//! Read as the scaler itself reads it: a torn line and lines of a later version are left out.

use serde::Deserialize;

use super::{Demand, TraceError, Window};
use tidegate_control::{Observation, Time};

/// Lines of a later version are not read.
const VERSION: u32 = 1;

/// Counts are those that were recorded, so chance shall add little to them.
const DISPERSION: f64 = 0.1;

#[derive(Deserialize)]
struct Line {
    version: u32,
    at: Time,
    #[serde(default)]
    observation: Option<Observation>,
}

/// Whether the text begins as a ledger does.
pub(super) fn is_ledger(text: &str) -> bool {
    let first = text.trim_start().lines().next().unwrap_or_default();
    serde_json::from_str::<Line>(first).is_ok()
}

pub(super) fn read(text: &str) -> Result<Demand, TraceError> {
    let ticks = text.lines().filter_map(|text| {
        let line: Line = serde_json::from_str(text).ok()?;
        let observation = line.observation.filter(|_| line.version <= VERSION)?;
        Some((line.at, observation))
    });
    recorded(ticks).ok_or(TraceError::TooShort {
        line: text.lines().count(),
    })
}

/// The demand that ticks recorded, in order of time; `None` where they span no time.
pub fn recorded(ticks: impl IntoIterator<Item = (Time, Observation)>) -> Option<Demand> {
    let mut windows: Vec<Window> = Vec::new();
    let (mut from, mut arrivals, mut known) = (None, 0, true);
    let mut first = None;
    for (at, seen) in ticks {
        let begin = *from.get_or_insert(at);
        first.get_or_insert(at);
        let proxies = || seen.proxies.iter().filter_map(|proxy| proxy.seen.as_ref());
        arrivals += proxies().map(|seen| seen.arrivals).sum::<u64>();
        known &= proxies().all(|seen| seen.counted);
        let length_s = at.since(begin).as_secs_f64();
        // A proxy that did not answer counts at its next answer what came in the meantime.
        if !seen.is_complete() || length_s <= 0.0 {
            continue;
        }
        windows.push(Window {
            length_s,
            per_s: known.then_some(arrivals as f64 / length_s),
            dispersion: DISPERSION,
        });
        (from, arrivals, known) = (Some(at), 0, true);
    }
    let began_s = first.map_or(0.0, |first: Time| first.as_ms() as f64 / 1000.0);
    (!windows.is_empty()).then(|| Demand::from_windows(&windows).beginning_at(began_s))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(second: u64, proxies: &str) -> String {
        let at = second * 1000;
        format!(
            r#"{{"version":1,"at":{at},"kind":"tick","observation":{{"proxies":[{proxies}]}}}}"#
        )
    }

    fn proxy(source: &str, arrivals: u64) -> String {
        format!(
            r#"{{"source":"{source}","seen":{{"epoch":"1","counted":true,"arrivals":{arrivals},
            "latency":{{"buckets":{{}},"sum_ms":0}},"waiting":0,"in_flight":0,
            "oldest_waiting_ms":null,"oldest_running_ms":null,"workers":[]}}}}"#
        )
        .replace('\n', " ")
    }

    #[test]
    fn arrivals_are_those_that_the_ticks_counted() {
        let silent = r#"{"source":"b"}"#;
        let lines = [
            tick(100, &proxy("a", 9)),
            tick(101, &format!("{},{}", proxy("a", 4), proxy("b", 1))),
            r#"{"version":1,"at":101000,"kind":"outcome","launched":["w-1"]}"#.to_owned(),
            tick(102, &format!("{},{silent}", proxy("a", 2))),
            tick(103, &format!("{},{}", proxy("a", 2), proxy("b", 6))),
            tick(104, "")[..30].to_owned(),
        ];
        let text = lines.join("\n");
        assert!(is_ledger(&text));
        let demand = read(&text).expect("it is a ledger");
        let found: Vec<_> = (demand.segments().iter())
            .map(|segment| (segment.ends_s, segment.requests))
            .collect();
        assert_eq!(found, [(1.0, 14.0), (3.0, 10.0)]);
    }
}
