//! The rows of a trace: a time and numbers, checked against the header.

use super::TraceError;
use super::timestamp;

/// Columns that hold words; they are left as they are.
const WORDS: [&str; 2] = ["model", "outcome"];

/// One row below the header.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub line: usize,
    /// In the unit of the trace; seconds for calendar times.
    pub at: f64,
    /// The columns of numbers after the time, none negative.
    pub values: Vec<f64>,
}

/// Lines that are not blank, with their number. A byte-order mark is skipped.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let text = text.trim_start_matches('\u{feff}');
    let numbered = text.lines().enumerate();
    numbered
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty())
}

pub(super) fn read<'a>(
    lines: impl Iterator<Item = (usize, &'a str)>,
    columns: &[&str],
) -> Result<Vec<Row>, TraceError> {
    lines.map(|(line, text)| row(line, text, columns)).collect()
}

fn row(line: usize, text: &str, columns: &[&str]) -> Result<Row, TraceError> {
    let fields: Vec<&str> = text.split(',').map(str::trim).collect();
    if fields.len() != columns.len() {
        return Err(TraceError::Columns {
            line,
            found: fields.len(),
            expected: columns.len(),
        });
    }
    let wrong = |column: usize, expected| TraceError::Field {
        line,
        column: columns[column].to_owned(),
        found: fields[column].to_owned(),
        expected,
    };
    let at =
        timestamp::seconds(fields[0]).ok_or_else(|| wrong(0, "seconds or YYYY-MM-DD HH:MM:SS"))?;
    let numbers = fields.iter().enumerate().skip(1);
    let numbers = numbers.filter(|(column, _)| !WORDS.contains(&columns[*column]));
    let values = numbers.map(|(column, field)| {
        let value = field.parse::<f64>().ok();
        let value = value.filter(|value| value.is_finite() && *value >= 0.0);
        value.ok_or_else(|| wrong(column, "a number from 0 on"))
    });
    Ok(Row {
        line,
        at,
        values: values.collect::<Result<_, _>>()?,
    })
}
