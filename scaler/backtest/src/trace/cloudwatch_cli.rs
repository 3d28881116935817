//! The JSON that `aws cloudwatch get-metric-statistics` and `get-metric-data` print, as a trace: a count of
//! requests for each period.
//!
//! The periods come in any order. One without events is left out, and how long one is is not said: it is
//! the least time between two of them. Several results add up.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::rows::Row;
use super::{Demand, TraceError, Window, forms, timestamp};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    datapoints: Option<Vec<Datapoint>>,
    metric_data_results: Option<Vec<Results>>,
    /// There is more than was printed.
    next_token: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Datapoint {
    timestamp: Value,
    sum: Option<f64>,
    sample_count: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Results {
    timestamps: Vec<Value>,
    values: Vec<f64>,
}

/// Whether a text that is JSON may be one of these.
pub(super) fn is_one(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Keys {
        #[serde(rename = "Datapoints")]
        datapoints: Option<serde::de::IgnoredAny>,
        #[serde(rename = "MetricDataResults")]
        results: Option<serde::de::IgnoredAny>,
    }
    let keys: Option<Keys> = serde_json::from_str(text).ok();
    keys.is_some_and(|keys| keys.datapoints.is_some() || keys.results.is_some())
}

pub(super) fn read(text: &str) -> Result<Demand, TraceError> {
    let answer: Answer = serde_json::from_str(text).map_err(|error| TraceError::Json {
        line: error.line(),
        found: error.to_string(),
        expected: "what `aws cloudwatch get-metric-statistics` or `get-metric-data` prints",
    })?;
    if answer.next_token.is_some_and(|token| !token.is_null()) {
        return Err(unusable("a NextToken", "all pages in one answer"));
    }
    let mut by_ms: BTreeMap<i64, f64> = BTreeMap::new();
    for point in answer.datapoints.into_iter().flatten() {
        let count = point.sum.or(point.sample_count).ok_or_else(|| {
            let expected = "Sum or SampleCount, which count requests";
            unusable("a datapoint without a count", expected)
        })?;
        *by_ms.entry(ms(&point.timestamp)?).or_default() += checked(count)?;
    }
    for results in answer.metric_data_results.into_iter().flatten() {
        if results.timestamps.len() != results.values.len() {
            return Err(unusable(
                "another number of Values",
                "one for each of Timestamps",
            ));
        }
        for (at, count) in results.timestamps.iter().zip(results.values) {
            *by_ms.entry(ms(at)?).or_default() += checked(count)?;
        }
    }
    let period = period_s(&by_ms);
    let row = |(ms, count): (i64, f64)| Row {
        line: 1,
        at: ms as f64 / 1000.0,
        values: vec![Some(count)],
    };
    let rows: Vec<Row> = by_ms.into_iter().map(row).collect();
    forms::over_time(&rows, period, |row, length_s| Window {
        length_s,
        per_s: row.values[0].map(|count| count / length_s),
        dispersion: 1.0,
    })
}

fn period_s(by_ms: &BTreeMap<i64, f64>) -> Option<f64> {
    let later = by_ms.keys().skip(1);
    let least = by_ms.keys().zip(later).map(|(from, to)| to - from).min();
    least.map(|ms| ms as f64 / 1000.0)
}

/// Milliseconds of a time, which is text or, as some settings of the command line have it, a number.
fn ms(at: &Value) -> Result<i64, TraceError> {
    let seconds = match at {
        Value::String(text) => timestamp::seconds(text),
        other => other.as_f64(),
    };
    let seconds = seconds.ok_or_else(|| unusable(&format!("the time {at}"), "a time"))?;
    Ok((seconds * 1000.0).round() as i64)
}

fn checked(count: f64) -> Result<f64, TraceError> {
    match count.is_finite() && count >= 0.0 {
        true => Ok(count),
        false => Err(unusable(&format!("the count {count}"), "a count from 0 on")),
    }
}

fn unusable(found: &str, expected: &'static str) -> TraceError {
    TraceError::Json {
        line: 1,
        found: found.to_owned(),
        expected,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Segment, parse};

    fn shape(text: &str) -> Vec<(f64, f64)> {
        let demand = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let pair = |segment: &Segment| (segment.ends_s, segment.requests);
        demand.segments().iter().map(pair).collect()
    }

    /// A minute without requests is left out.
    const MINUTES: [(f64, f64); 4] = [(60.0, 60.0), (120.0, 120.0), (180.0, 0.0), (240.0, 90.0)];

    #[test]
    fn periods_are_read_in_any_order_and_one_that_is_left_out_is_silent() {
        let statistics = r#"{"Label": "RequestCount", "Datapoints": [
            {"Timestamp": "2023-11-16T18:16:00+00:00", "Sum": 120.0, "Unit": "Count"},
            {"Timestamp": "2023-11-16T18:18:00+00:00", "Sum": 90.0, "Unit": "Count"},
            {"Timestamp": "2023-11-16T18:15:00+00:00", "Sum": 60.0, "Unit": "Count"}]}"#;
        assert_eq!(shape(statistics), MINUTES);
        let data = r#"{"MetricDataResults": [
            {"Id": "a", "Label": "a", "StatusCode": "Complete", "Values": [40.0, 100.0, 60.0],
             "Timestamps": ["2023-11-16T18:18:00Z", "2023-11-16T18:16:00Z", "2023-11-16T18:15:00Z"]},
            {"Id": "b", "Label": "b", "StatusCode": "Complete", "Values": [50.0, 20.0],
             "Timestamps": ["2023-11-16T18:18:00Z", "2023-11-16T18:16:00Z"]}], "Messages": []}"#;
        assert_eq!(shape(data), MINUTES);
        let numbers = r#"{"MetricDataResults": [{"Id": "a", "Values": [60, 120, 90],
             "Timestamps": [1700158500, 1700158560, 1700158680]}]}"#;
        assert_eq!(shape(numbers), MINUTES);
    }

    #[test]
    fn what_is_no_count_or_not_all_is_refused() {
        for (text, message) in [
            (
                r#"{"Datapoints": [{"Timestamp": "2023-11-16T18:16:00Z", "Average": 1.0}]}"#,
                "line 1: found a datapoint without a count; expected Sum or SampleCount, which count requests",
            ),
            (
                r#"{"MetricDataResults": [], "NextToken": "x"}"#,
                "line 1: found a NextToken; expected all pages in one answer",
            ),
            (
                r#"{"MetricDataResults": [{"Timestamps": ["noon"], "Values": [1]}]}"#,
                "line 1: found the time \"noon\"; expected a time",
            ),
            (
                r#"{"Datapoints": []}"#,
                "line 1: the trace ends here; expected two rows or more, over some time",
            ),
        ] {
            assert_eq!(parse(text).expect_err(text).to_string(), message);
        }
    }
}
