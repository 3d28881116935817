//! Reads a trace's text; the header says which form it has.

use thiserror::Error;

use super::rows::{self, Row};
use super::{Demand, Segment, Window, ledger, prometheus};

/// A row later than this many usual intervals after the one before left something out.
const GAP: f64 = 1.5;

/// Why a trace was not understood. Lines count from 1, the header included.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TraceError {
    #[error("line 1: the trace is empty; expected a header, one of {FORMS}")]
    Empty,
    #[error("line 1: the header \"{found}\" is not known; expected one of {FORMS}")]
    Header { found: String },
    #[error("line {line}: {found} columns; expected {expected}, as in the header")]
    Columns {
        line: usize,
        found: usize,
        expected: usize,
    },
    #[error("line {line}: {column} is \"{found}\"; expected {expected}")]
    Field {
        line: usize,
        column: String,
        found: String,
        expected: &'static str,
    },
    #[error("line {line}: its time is before that of the row above; expected rows in order")]
    Backwards { line: usize },
    #[error("line {line}: the trace ends here; expected two rows or more, over some time")]
    TooShort { line: usize },
    #[error("line {line}: found {found}; expected {expected}")]
    Json {
        line: usize,
        found: String,
        expected: &'static str,
    },
    #[error("no row has any requests, so there is nothing to replay")]
    Silent,
}

const FORMS: &str = "\"timestamp,cost\", \"timestamp,model,outcome,ms\", \"TIMESTAMP,ContextTokens,GeneratedTokens\", \
    \"timestamp_ms,input_length,output_length\", \"timestamp,value\", \
    \"t_s,total_rps,asym_idc,...\", the JSON of a Prometheus range query, or a ledger";

/// What a row of the trace says.
#[derive(Clone, Copy)]
enum Form {
    /// One request; times count as so many seconds each. How much work it is belongs to the
    /// scenario, so the other columns are checked to be numbers and then left.
    Request { unit_s: f64 },
    /// Requests from this row's time to the next one's.
    Count,
    /// The rate and index of dispersion from this row's time to the next one's.
    Rate,
}

/// Reads a trace in any of the forms that [`TraceError::Header`] lists.
pub fn parse(text: &str) -> Result<Demand, TraceError> {
    let demand = match text.trim_start().starts_with('{') {
        true if ledger::is_ledger(text) => ledger::read(text)?,
        true => prometheus::read(text)?,
        false => table(text)?,
    };
    match demand.requests() > 0.0 {
        true => Ok(demand),
        false => Err(TraceError::Silent),
    }
}

fn table(text: &str) -> Result<Demand, TraceError> {
    let mut lines = rows::lines(text);
    let (_, header) = lines.next().ok_or(TraceError::Empty)?;
    let columns: Vec<&str> = header.split(',').map(str::trim).collect();
    let form = form(&columns).ok_or_else(|| TraceError::Header {
        found: header.to_owned(),
    })?;
    // What the proxy answered by itself asked no model for anything.
    let is_demand = |line: &str| !matches!(line.split(',').nth(2), Some("refused" | "served"));
    let lines = lines.filter(|(_, line)| columns.get(2) != Some(&"outcome") || is_demand(line));
    let rows = rows::read(lines, &columns)?;
    match form {
        Form::Request { unit_s } => requests(rows, unit_s),
        Form::Count => counts(&rows),
        Form::Rate => rates(&rows),
    }
}

fn form(columns: &[&str]) -> Option<Form> {
    match columns {
        ["timestamp", "cost"] | ["TIMESTAMP", "ContextTokens", "GeneratedTokens"] => {
            Some(Form::Request { unit_s: 1.0 })
        }
        // The proxy's access log.
        ["timestamp", "model", "outcome", "ms"] => Some(Form::Request { unit_s: 1.0 }),
        ["timestamp_ms", "input_length", "output_length"] => Some(Form::Request { unit_s: 0.001 }),
        ["timestamp", "value"] => Some(Form::Count),
        ["t_s", "total_rps", "asym_idc", ..] => Some(Form::Rate),
        _ => None,
    }
}

/// One segment per gap between requests. The first request only marks the beginning. A log that is
/// written as answers end is not in the order of arrivals.
fn requests(mut rows: Vec<Row>, unit_s: f64) -> Result<Demand, TraceError> {
    rows.sort_by(|a, b| a.at.total_cmp(&b.at));
    let span = span(&rows)?;
    let segments = rows.iter().skip(1).map(|row| Segment {
        ends_s: (row.at - span.begin) * unit_s,
        requests: 1.0,
        dispersion: 1.0,
    });
    Ok(Demand::new(segments.collect()))
}

fn counts(rows: &[Row]) -> Result<Demand, TraceError> {
    rates_over_time(rows, |row, usual| Window {
        length_s: usual,
        per_s: Some(row.values[0] / usual),
        dispersion: 1.0,
    })
}

fn rates(rows: &[Row]) -> Result<Demand, TraceError> {
    rates_over_time(rows, |row, usual| {
        let collected = row.values.iter().any(|value| *value != 0.0);
        Window {
            length_s: usual,
            per_s: collected.then_some(row.values[0]),
            // Zero is written where there were too few requests to tell.
            dispersion: match row.values[1] {
                unknown if unknown <= 0.0 => 1.0,
                index => index,
            },
        }
    })
}

/// A window for each row, and one in which nothing was collected where rows are left out.
pub(super) fn rates_over_time(
    rows: &[Row],
    window: impl Fn(&Row, f64) -> Window,
) -> Result<Demand, TraceError> {
    let usual = span(rows)?.usual_interval;
    let mut windows = Vec::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        let length = rows.get(index + 1).map_or(usual, |next| next.at - row.at);
        if length > GAP * usual {
            windows.push(window(row, usual));
            windows.push(Window {
                length_s: length - usual,
                per_s: None,
                dispersion: 1.0,
            });
        } else if length > 0.0 {
            windows.push(window(row, length));
        }
    }
    Ok(Demand::from_windows(&windows))
}

struct Span {
    begin: f64,
    /// The median time from a row to the next.
    usual_interval: f64,
}

fn span(rows: &[Row]) -> Result<Span, TraceError> {
    let too_short = || TraceError::TooShort {
        line: rows.last().map_or(1, |row| row.line),
    };
    let (first, last) = rows.first().zip(rows.last()).ok_or_else(too_short)?;
    if last.at <= first.at {
        return Err(too_short());
    }
    let mut intervals: Vec<f64> = rows
        .windows(2)
        .map(|pair| pair[1].at - pair[0].at)
        .collect();
    if let Some(index) = intervals.iter().position(|interval| *interval < 0.0) {
        let line = rows[index + 1].line;
        return Err(TraceError::Backwards { line });
    }
    intervals.retain(|interval| *interval > 0.0);
    intervals.sort_by(f64::total_cmp);
    Ok(Span {
        begin: first.at,
        usual_interval: intervals[intervals.len() / 2],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> Vec<(f64, f64)> {
        let demand = parse(text).expect("it is a trace");
        let pair = |segment: &Segment| (segment.ends_s, segment.requests);
        demand.segments().iter().map(pair).collect()
    }

    #[test]
    fn every_form_of_header_is_read() {
        let requests = [(0.5, 1.0), (0.5, 1.0), (2.0, 1.0)];
        assert_eq!(
            shape("timestamp,cost\n10,1\n10.5,2\n10.5,1\n12,9\n"),
            requests
        );
        let azure = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n\
            2023-11-16 18:15:46.5,374,44\r\n2023-11-16 18:15:48.0,396,109\r\n";
        assert_eq!(shape(azure), [(1.5, 1.0)]);
        let mooncake = "timestamp_ms,input_length,output_length\n0,4,6\n1500,3,1\n";
        assert_eq!(shape(mooncake), [(1.5, 1.0)]);
        let log = "timestamp,model,outcome,ms\n\
            1700000001.500,mini-lm,answered,90\n1700000000.250,mini-lm,shed,0\n";
        assert_eq!(shape(log), [(1.25, 1.0)], "in the order of arrivals");
        let counts = "timestamp,value\n2014-04-10 00:04:00,94.0\n2014-04-10 00:09:00,56\n";
        assert_eq!(shape(counts), [(300.0, 94.0), (600.0, 56.0)]);
    }

    #[test]
    fn windows_without_collection_are_missing_and_windows_without_requests_are_not() {
        let rates = "t_s,total_rps,asym_idc,active_clients\n0,2,5,1\n10,0,0,0\n20,4,3,1\n";
        assert_eq!(shape(rates), [(10.0, 20.0), (20.0, 30.0), (30.0, 40.0)]);
        let counts = "timestamp,value\n0,10\n10,0\n20,40\n50,30\n60,30\n";
        let expected = [(10.0, 10.0), (20.0, 0.0), (30.0, 40.0), (50.0, 70.0)];
        assert_eq!(shape(counts)[..4], expected);
    }

    #[test]
    fn mistakes_name_the_line_and_what_was_expected() {
        let cases = [
            (
                "",
                "line 1: the trace is empty; expected a header, one of \"timestamp,cost\"",
            ),
            (
                "time,rps\n1,2\n",
                "line 1: the header \"time,rps\" is not known; expected one of",
            ),
            (
                "timestamp,value\n1,2,3\n",
                "line 2: 3 columns; expected 2, as in the header",
            ),
            (
                "timestamp,cost\n1,2\n\n2,many\n",
                "line 4: cost is \"many\"; expected a number from 0 on",
            ),
            (
                "timestamp,cost\nnoon,2\n",
                "line 2: timestamp is \"noon\"; expected seconds or YYYY-MM-DD HH:MM:SS",
            ),
            (
                "timestamp,value\n1,2\n0,2\n5,1\n",
                "line 3: its time is before that of the row above",
            ),
            (
                "timestamp,cost\n1,2\n",
                "line 2: the trace ends here; expected two rows or more",
            ),
            ("timestamp,value\n1,0\n2,0\n", "no row has any requests"),
        ];
        for (text, message) in cases {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.starts_with(message), "{text:?}: {error}");
        }
    }
}
