//! The answer of Prometheus' `/api/v1/query_range` as a trace: requests per second over time.
//!
//! Several series are added up, so `rate(...)` by proxy does as well as its sum. A step without a
//! sample is a gap in what was collected.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::rows::Row;
use super::{Demand, TraceError, Window, forms};

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    kind: String,
    #[serde(default)]
    result: serde_json::Value,
}

#[derive(Deserialize)]
struct Series {
    values: Vec<(f64, String)>,
}

pub(super) fn read(text: &str) -> Result<Demand, TraceError> {
    let answer: Answer = serde_json::from_str(text).map_err(not_json)?;
    let data = match (answer.status.as_str(), answer.data) {
        ("success", Some(data)) => data,
        (status, _) => {
            let why = answer.error.unwrap_or_default();
            return Err(unusable(format!("status \"{status}\" {why}"), "success"));
        }
    };
    if data.kind != "matrix" {
        let found = format!("resultType \"{}\"", data.kind);
        return Err(unusable(found, "\"matrix\", as query_range answers"));
    }
    let series: Vec<Series> = serde_json::from_value(data.result).map_err(not_json)?;
    let rows = rows(&series)?;
    forms::over_time(&rows, None, |row, length_s| Window {
        length_s,
        per_s: row.values[0],
        dispersion: 1.0,
    })
}

/// One row per moment, all series added up.
fn rows(series: &[Series]) -> Result<Vec<Row>, TraceError> {
    let mut by_ms: BTreeMap<i64, f64> = BTreeMap::new();
    for (at, value) in series.iter().flat_map(|series| &series.values) {
        let rate = value.parse::<f64>().ok().filter(|rate| *rate >= 0.0);
        match (rate, value.as_str()) {
            (Some(rate), _) if rate.is_finite() => {
                *by_ms.entry((at * 1000.0).round() as i64).or_default() += rate;
            }
            (_, "NaN") => {}
            _ => {
                let found = format!("the value \"{value}\" at {at}");
                return Err(unusable(found, "requests per second, from 0 on"));
            }
        }
    }
    let row = |(ms, rate): (i64, f64)| Row {
        line: 1,
        at: ms as f64 / 1000.0,
        values: vec![Some(rate)],
    };
    Ok(by_ms.into_iter().map(row).collect())
}

fn unusable(found: String, expected: &'static str) -> TraceError {
    TraceError::Json {
        line: 1,
        found,
        expected,
    }
}

fn not_json(error: serde_json::Error) -> TraceError {
    TraceError::Json {
        line: error.line(),
        found: error.to_string(),
        expected: "the answer of Prometheus' /api/v1/query_range, what aws cloudwatch prints, or a ledger",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_added_up_and_steps_without_a_sample_are_gaps() {
        let text = r#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"proxy":"a"},"values":[[100,"1"],[115,"2"],[160,"5"],[175,"NaN"]]},
            {"metric":{"proxy":"b"},"values":[[100,"3.5"],[115,"4"],[160,"1"],[175,"2"]]}]}}"#;
        let demand = read(text).expect("it is a trace");
        let ends: Vec<f64> = demand.segments().iter().map(|s| s.ends_s).collect();
        assert_eq!(ends, [15.0, 30.0, 60.0, 75.0, 90.0]);
        assert_eq!(demand.first_rate(15.0), 4.5);
        let bridged = demand.cut(30.0, 60.0).mean_rate();
        assert_eq!(bridged, 6.0, "between 6 and 6");
    }

    #[test]
    fn a_byte_order_mark_is_passed_over() {
        let text = "\u{feff}{\"status\":\"success\",\"data\":{\"resultType\":\"matrix\",\"result\":[\
            {\"metric\":{},\"values\":[[1700000000,\"10\"],[1700000060,\"12\"]]}]}}";
        let demand = super::super::parse(text).expect("it is a trace");
        assert_eq!((demand.span_s(), demand.requests()), (120.0, 1320.0));
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        for (text, message) in [
            (
                r#"{"status":"error","error":"timed out"}"#,
                "line 1: found status \"error\" timed out; expected success",
            ),
            (
                r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
                "line 1: found resultType \"vector\"; expected \"matrix\", as query_range answers",
            ),
            (
                r#"{"status":"success","data":{"resultType":"matrix","result":[{"values":[[1,"x"]]}]}}"#,
                "line 1: found the value \"x\" at 1; expected requests per second, from 0 on",
            ),
        ] {
            assert_eq!(read(text).expect_err(text).to_string(), message);
        }
    }
}
