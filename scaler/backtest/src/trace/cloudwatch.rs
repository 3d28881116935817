//! What CloudWatch's console downloads as CSV: some lines about each graph, then a line for each
//! period with one value of each.
//!
//! The lines that come first are not described anywhere, so only those are looked at that say what
//! the values are: `Statistic` and `Period`. A count has no value for a period without events.

use super::rows::{self, Columns, Record, Table};
use super::{Demand, TraceError, Window, forms, timestamp};

/// The lines about graphs are no more than these.
const MOST_LINES: usize = 40;

/// What one of those lines begins with at least.
const KNOWN: [&str; 5] = ["label", "full label", "id", "statistic", "period"];

/// Statistics that count events.
const COUNTS: [&str; 2] = ["sum", "samplecount"];

/// `None` when the table is none of CloudWatch's.
pub(super) fn read(table: &Table) -> Option<Result<Demand, TraceError>> {
    let is_row = |record: &Record| {
        let first = record.fields.first();
        first.is_some_and(|first| timestamp::seconds(first).is_some())
    };
    let begin = table.records.iter().take(MOST_LINES).position(is_row)?;
    let (about, records) = table.records.split_at(begin);
    let is_known = |record: &Record| key(record).is_some_and(|key| KNOWN.contains(&key.as_str()));
    about
        .iter()
        .any(is_known)
        .then(|| values(about, records, table.interval))
}

fn key(record: &Record) -> Option<String> {
    record.fields.first().map(|key| key.to_lowercase())
}

fn values(
    about: &[Record],
    records: &[Record],
    interval: Option<f64>,
) -> Result<Demand, TraceError> {
    let line_of = |name: &str| {
        about
            .iter()
            .find(|record| key(record).as_deref() == Some(name))
    };
    if let Some(record) = line_of("statistic") {
        let is_count = |field: &&String| COUNTS.contains(&field.to_lowercase().as_str());
        if let Some(field) = record.fields.iter().skip(1).find(|field| !is_count(field)) {
            return Err(TraceError::Field {
                line: record.line,
                column: record.fields[0].clone(),
                found: field.clone(),
                expected: "Sum or SampleCount, which count requests",
            });
        }
    }
    let period = line_of("period").and_then(|record| period(record.fields.get(1)?));
    let count = records.iter().map(|record| record.fields.len()).max();
    let names: Vec<String> = (0..count.unwrap_or(0))
        .map(|at| format!("column {at}"))
        .collect();
    let columns = Columns {
        names: &names,
        time: 0,
        per_second: None,
        values: (1..names.len()).collect(),
        may_be_empty: true,
    };
    let rows = rows::in_order(rows::read(records, &columns)?)?;
    forms::over_time(&rows, interval.or(period), |row, length_s| {
        let count = row.values.iter().copied().fold(None, rows::sum_of);
        Window {
            length_s,
            per_s: count.map(|count| count / length_s),
            dispersion: 1.0,
        }
    })
}

/// `60`, `60 seconds` or `5 minutes`.
fn period(text: &str) -> Option<f64> {
    let mut words = text.split_whitespace();
    let number = words.next()?.parse::<f64>().ok()?;
    let unit = match words.next().unwrap_or("s").to_lowercase().chars().next()? {
        's' => 1.0,
        'm' => 60.0,
        'h' => 3600.0,
        'd' => 86_400.0,
        _ => return None,
    };
    Some(number * unit).filter(|seconds| *seconds > 0.0)
}

#[cfg(test)]
mod tests {
    use super::super::{Segment, parse};

    fn shape(text: &str) -> Vec<(f64, f64)> {
        let demand = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let pair = |segment: &Segment| (segment.ends_s, segment.requests);
        demand.segments().iter().map(pair).collect()
    }

    #[test]
    fn counts_of_periods_add_up_and_a_period_without_one_is_silent() {
        let text = "Full label,RequestCount,RequestCount\nID,m1,m2\nStatistic,Sum,Sum\n\
            Period,60,60\n2023/11/16 18:15:00,30,30\n2023/11/16 18:16:00,120,\n\
            2023/11/16 18:19:00,60,\n";
        let expected = [(60.0, 60.0), (120.0, 120.0), (240.0, 0.0), (300.0, 60.0)];
        assert_eq!(shape(text), expected);
        let newest_first = "\"Label\",\"a\"\n\"2023/11/16 18:16:00\",\"120\"\n\
            \"2023/11/16 18:15:00\",\"60\"\n";
        assert_eq!(shape(newest_first), [(60.0, 60.0), (120.0, 120.0)]);
    }

    #[test]
    fn an_average_is_no_count() {
        let text = "Label,a\nStatistic,Average\n2023/11/16 18:15:00,1\n2023/11/16 18:16:00,1\n";
        let error = parse(text).expect_err("an average").to_string();
        let expected = "line 2: Statistic is \"Average\"; expected Sum or SampleCount, which count \
                        requests";
        assert_eq!(error, expected);
    }
}
