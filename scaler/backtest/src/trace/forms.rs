//! Tables: which form one has, by the names in its header, and the demand that its rows say.

use super::rows::{self, Columns, Record, Row, Table};
use super::{Demand, Segment, TraceError, Window, cloudwatch};

/// A row later than this many usual intervals after the one before left something out.
const GAP: f64 = 1.5;

/// What a row of a table says.
#[derive(Clone, Copy)]
enum Form {
    /// One request. How much work it is belongs to the scenario, so what else is said of it is
    /// checked to be a number and then left.
    Request,
    /// Requests from this row's time to the next one's.
    Count,
    /// The rate and index of dispersion from this row's time to the next one's.
    Rate,
    /// The rates of several series, which add up; one after the other if a column names them.
    Series { are_stacked: bool },
}

pub(super) fn read(table: &Table) -> Result<Demand, TraceError> {
    let (header, records) = table.records.split_first().ok_or(TraceError::Empty)?;
    let names = &header.fields;
    let Some((form, columns)) = form(names) else {
        let found = table.header.clone();
        let cloudwatch = cloudwatch::read(table);
        return cloudwatch.unwrap_or(Err(TraceError::Header { found }));
    };
    let is_log = names.iter().any(|name| name == "outcome");
    let demand = |record: &&Record| !is_log || is_demand(names, record);
    let records: Vec<Record> = records.iter().filter(demand).cloned().collect();
    let rows = rows::read(&records, &columns)?;
    match form {
        Form::Request => requests(rows),
        Form::Count => over_time(&rows::in_order(rows)?, table.interval, |row, length_s| {
            rate_of(row.values[0].map(|count| count / length_s), length_s)
        }),
        Form::Rate => rates(&rows, table.interval),
        Form::Series { are_stacked } => {
            let rows = match are_stacked {
                true => rows::of_several_series(rows),
                false => rows::in_order(rows)?,
            };
            over_time(&rows, table.interval, |row, length_s| {
                let sum = row.values.iter().copied().fold(None, rows::sum_of);
                rate_of(sum, length_s)
            })
        }
    }
}

/// What the proxy answered by itself asked no model for anything.
fn is_demand(names: &[String], record: &Record) -> bool {
    let at = names.iter().position(|name| name == "outcome");
    let outcome = at.and_then(|at| record.fields.get(at));
    !outcome.is_some_and(|outcome| matches!(outcome.as_str(), "refused" | "served"))
}

fn form(names: &[String]) -> Option<(Form, Columns<'_>)> {
    let at = |wanted: &str| (names.iter()).position(|name| name.eq_ignore_ascii_case(wanted));
    let all = |wanted: &[&str]| {
        wanted
            .iter()
            .map(|name| at(name))
            .collect::<Option<Vec<_>>>()
    };
    let columns = |time: usize, values: Vec<usize>| Columns {
        names,
        time,
        per_second: None,
        values,
        may_be_empty: false,
    };
    let of_requests: [&[&str]; 3] = [
        &["timestamp", "cost"],
        &["TIMESTAMP", "ContextTokens", "GeneratedTokens"],
        // The proxy's access log; its model and outcome are words.
        &["timestamp", "ms", "model", "outcome"],
    ];
    if let Some([time, value]) = all(&["timestamp", "value"]).as_deref() {
        return Some((Form::Count, columns(*time, vec![*value])));
    }
    for wanted in of_requests {
        if let Some([time, values @ ..]) = all(wanted).as_deref() {
            let numbers = values.iter().copied();
            let numbers = numbers.filter(|at| !matches!(names[*at].as_str(), "model" | "outcome"));
            return Some((Form::Request, columns(*time, numbers.collect())));
        }
    }
    let mooncake = all(&["timestamp_ms", "input_length", "output_length"]);
    if let Some([time, values @ ..]) = mooncake.as_deref() {
        let columns = Columns {
            per_second: Some(1000.0),
            ..columns(*time, values.to_vec())
        };
        return Some((Form::Request, columns));
    }
    if let [time, rate, index, ..] = names
        && (time.as_str(), rate.as_str(), index.as_str()) == ("t_s", "total_rps", "asym_idc")
    {
        let columns = Columns {
            per_second: Some(1.0),
            ..columns(0, (1..names.len()).collect())
        };
        return Some((Form::Rate, columns));
    }
    let time = at("Time")?;
    let others = (0..names.len()).filter(|at| *at != time && names[*at] != "Series");
    let others: Vec<usize> = others.collect();
    let are_stacked = at("Series").is_some();
    let columns = Columns {
        may_be_empty: true,
        ..columns(time, others.clone())
    };
    (!others.is_empty()).then_some((Form::Series { are_stacked }, columns))
}

/// One segment per gap between requests. The first request only marks the beginning. A log that is
/// written as answers end is not in the order of arrivals.
fn requests(mut rows: Vec<Row>) -> Result<Demand, TraceError> {
    rows.sort_by(|a, b| a.at.total_cmp(&b.at));
    let span = span(&rows)?;
    let segments = rows.iter().skip(1).map(|row| Segment {
        ends_s: row.at - span.begin,
        requests: 1.0,
        dispersion: 1.0,
    });
    Ok(Demand::new(segments.collect()).beginning_at(span.begin))
}

fn rates(rows: &[Row], interval: Option<f64>) -> Result<Demand, TraceError> {
    over_time(rows, interval, |row, length_s| {
        let collected = (0..row.values.len()).any(|index| row.value(index) != 0.0);
        Window {
            length_s,
            per_s: collected.then_some(row.value(0)),
            // Zero is written where there were too few requests to tell.
            dispersion: match row.value(1) {
                unknown if unknown <= 0.0 => 1.0,
                index => index,
            },
        }
    })
}

fn rate_of(per_s: Option<f64>, length_s: f64) -> Window {
    Window {
        length_s,
        per_s,
        dispersion: 1.0,
    }
}

/// A window for each row. Where rows are left out, nothing was collected; unless there is known to
/// be a row for each `interval` in which something came, so that there was silence.
pub(super) fn over_time(
    rows: &[Row],
    interval: Option<f64>,
    window: impl Fn(&Row, f64) -> Window,
) -> Result<Demand, TraceError> {
    let usual = interval.unwrap_or(span(rows)?.usual_interval);
    let nothing = interval.map(|_| 0.0);
    let of_row = |row: &Row, length_s: f64| {
        let window = window(row, length_s);
        let per_s = window.per_s.or(nothing);
        Window { per_s, ..window }
    };
    let mut windows = Vec::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        let length = rows.get(index + 1).map_or(usual, |next| next.at - row.at);
        if length > GAP * usual {
            windows.push(of_row(row, usual));
            windows.push(rate_of(nothing, length - usual));
        } else if length > 0.0 {
            windows.push(of_row(row, length));
        }
    }
    let begin = rows.first().map_or(0.0, |first| first.at);
    Ok(Demand::from_windows(&windows).beginning_at(begin))
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
    use super::super::parse;
    use super::*;

    fn shape(text: &str) -> Vec<(f64, f64)> {
        let demand = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
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
        let log = "timestamp,model,outcome,ms\n1700000001.500,mini-lm,answered,90\n\
            1700000001.000,mini-lm,refused,0\n1700000000.250,mini-lm,shed,0\n";
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

    /// Three minutes, each with its count.
    const MINUTES: [(f64, f64); 3] = [(60.0, 60.0), (120.0, 120.0), (180.0, 90.0)];

    #[test]
    fn counts_are_read_however_they_are_written() {
        for text in [
            "timestamp,value\n1700000000,60\n1700000060,120\n1700000120,90\n",
            // Several machines' counts of one minute.
            "timestamp,value\n0,20\n0,40\n60,120\n120,30\n120,30\n120,30\n",
            // Milliseconds and microseconds since 1970.
            "timestamp,value\n1700000000000,60\n1700000060000,120\n1700000120000,90\n",
            "timestamp,value\n1700000000000000,60\n1700000060000000,120\n1700000120000000,90\n",
            // Newest first.
            "timestamp,value\n1700000120,90\n1700000060,120\n1700000000,60\n",
            // Quoted, with other columns, behind a byte order mark, by semicolons and by tabs.
            "\u{feff}\"timestamp\",\"host\",\"value\"\n\"0\",\"a, b\",\"60\"\n60,c,120\n120,,90\n",
            "timestamp;value\n0;60\n60;120\n120;90\n",
            "timestamp\tvalue\n0\t60\n60\t120\n120\t90\n",
            // With zones, summer time's end among them.
            "timestamp,value\n2023-10-29T02:59:00+02:00,60\n2023-10-29T02:00:00+01:00,120\n\
             2023-10-29T01:01:00Z,90\n",
        ] {
            assert_eq!(shape(text), MINUTES, "{text}");
        }
    }

    #[test]
    fn rows_that_are_left_out_are_silence_where_the_file_says_its_interval() {
        let rows = "timestamp,value\n0,60\n60,60\n120,60\n240,60\n";
        assert_eq!(shape(rows)[3], (240.0, 60.0), "on the line between the two");
        let said = format!("# interval = 60s\n{rows}");
        assert_eq!(shape(&said)[3], (240.0, 0.0));
        assert_eq!(shape(&said)[4], (300.0, 60.0));
    }

    #[test]
    fn what_grafana_writes_is_the_rate_of_all_series() {
        let expected = [(60.0, 60.0), (120.0, 120.0), (180.0, 180.0)];
        for text in [
            "\"Time\",\"a\",\"b\"\n2023-11-16 18:15:00,0.5,0.5\n2023-11-16 18:16:00,2,\n\
             2023-11-16 18:17:00,1,2\n",
            "sep=,\nTime,a\n1700158500000,1\n1700158560000,2\n1700158620000,3\n",
            "Series;Time;Value\na;2023-11-16T18:15:00Z;1\na;2023-11-16T18:16:00Z;1\n\
             b;2023-11-16T18:16:00Z;1\nb;2023-11-16T18:17:00Z;3\n",
        ] {
            assert_eq!(shape(text), expected, "{text}");
        }
        let gap = "Time,a\n0,1\n60,\n120,3\n";
        assert_eq!(shape(gap)[1], (120.0, 120.0), "not collected");
    }

    #[test]
    fn mistakes_name_the_line_and_what_was_expected() {
        let cases = [
            (
                "",
                "line 1: the trace is empty; expected a header, one of \"timestamp,cost\"",
            ),
            (
                "when,rps\n1,2\n",
                "line 1: the header \"when,rps\" is not known; expected one of",
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
                "line 2: timestamp is \"noon\"; expected seconds, milliseconds or microseconds, or",
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
