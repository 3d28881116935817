//! The rows of a trace: a time and numbers, found by the names of their columns.

use std::collections::BTreeMap;

use super::TraceError;
use super::timestamp;

/// What a table separates its fields by; the first of these that its header has.
const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];

/// One line of a table, with its number.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub line: usize,
    pub fields: Vec<String>,
    /// Whether a comma ends a field, so that one within a field parts thousands.
    pub by_commas: bool,
}

/// A table as it is written: its lines, and what it says of itself before them.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// As it is written.
    pub header: String,
    pub records: Vec<Record>,
    /// `# interval = 60s`: a row for each of these, and none where nothing came.
    pub interval: Option<f64>,
}

/// One row below the header.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub line: usize,
    /// Seconds.
    pub at: f64,
    /// The columns that were asked for, none negative; `None` where nothing was collected.
    pub values: Vec<Option<f64>>,
}

impl Row {
    pub fn value(&self, index: usize) -> f64 {
        self.values.get(index).copied().flatten().unwrap_or(0.0)
    }
}

/// Where a row's numbers are.
pub(super) struct Columns<'a> {
    pub names: &'a [String],
    pub time: usize,
    /// How many of a time's units are a second; by the size of the number when it is `None`.
    pub per_second: Option<f64>,
    pub values: Vec<usize>,
    /// A field without a number is one in which nothing was collected.
    pub may_be_empty: bool,
}

/// Splits text into records: quoted or not, by commas, semicolons or tabs.
pub(super) fn table(text: &str) -> Table {
    let text = text.trim_start_matches('\u{feff}');
    let is_kept = |(_, line): &(usize, &str)| !line.trim().is_empty() && !line.starts_with('#');
    let lines = text.lines().enumerate().filter(is_kept);
    let mut lines: Vec<(usize, &str)> = lines.map(|(index, line)| (index + 1, line)).collect();
    // Some programs say for spreadsheets how they separate.
    let said = lines
        .first()
        .and_then(|(_, line)| line.strip_prefix("sep="));
    let said = said.and_then(|rest| rest.bytes().next());
    if said.is_some() {
        lines.remove(0);
    }
    let header = lines.first().map_or("", |(_, line)| *line);
    let has = |delimiter: &&u8| header.as_bytes().contains(delimiter);
    let used = said.or(DELIMITERS.iter().find(has).copied());
    let kept: Vec<&str> = lines.iter().map(|(_, line)| *line).collect();
    let kept = kept.join("\n");
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .delimiter(used.unwrap_or(b','))
        .from_reader(kept.as_bytes());
    let records = reader.records().filter_map(Result::ok).map(|record| {
        let place = record
            .position()
            .map_or(1, |position| position.line() as usize);
        let line = lines
            .get(place.saturating_sub(1))
            .map_or(place, |(line, _)| *line);
        let fields = record.iter().map(str::to_owned).collect();
        Record {
            line,
            fields,
            by_commas: used.unwrap_or(b',') == b',',
        }
    });
    let is_line = |record: &Record| record.fields.iter().any(|field| !field.is_empty());
    Table {
        header: header.trim().to_owned(),
        records: records.filter(is_line).collect(),
        interval: text.lines().find_map(interval),
    }
}

/// `# interval = 60s`.
fn interval(line: &str) -> Option<f64> {
    let said = line.strip_prefix('#')?.trim().strip_prefix("interval")?;
    let span: tidegate_config::Duration = said.trim().strip_prefix('=')?.trim().parse().ok()?;
    Some(span.as_secs_f64()).filter(|seconds| *seconds > 0.0)
}

pub(super) fn read(records: &[Record], columns: &Columns) -> Result<Vec<Row>, TraceError> {
    let rows = records.iter().map(|record| row(record, columns));
    rows.collect()
}

fn row(record: &Record, columns: &Columns) -> Result<Row, TraceError> {
    let (line, fields) = (record.line, &record.fields);
    if fields.len() != columns.names.len() {
        return Err(TraceError::Columns {
            line,
            found: fields.len(),
            expected: columns.names.len(),
        });
    }
    let wrong = |column: usize, expected| TraceError::Field {
        line,
        column: columns.names[column].clone(),
        found: fields[column].clone(),
        expected,
    };
    let time = &fields[columns.time];
    let at = match columns.per_second {
        Some(per_second) => timestamp::number(time).map(|number| number / per_second),
        None => timestamp::seconds(time),
    };
    let expected = "seconds, milliseconds or microseconds, or YYYY-MM-DD HH:MM:SS with or without \
                    a zone";
    let at = at.ok_or_else(|| wrong(columns.time, expected))?;
    let value = |column: &usize| {
        let field = fields[*column].as_str();
        if columns.may_be_empty && is_empty(field) {
            return Ok(None);
        }
        let parted = || match record.by_commas {
            true => timestamp::number(&without_commas(field)?),
            false => None,
        };
        let value = timestamp::number(field).or_else(parted);
        let value = value.filter(|value| *value >= 0.0);
        let value = value.ok_or_else(|| wrong(*column, "a number from 0 on"))?;
        Ok(Some(value))
    };
    let values = columns.values.iter().map(value);
    Ok(Row {
        line,
        at,
        values: values.collect::<Result<_, _>>()?,
    })
}

/// A number whose thousands are parted, as in "1,234,567.5"; where commas end fields it stands in
/// quotes, and its commas are no decimal ones.
fn without_commas(field: &str) -> Option<String> {
    let whole = field.split('.').next()?;
    let mut groups = whole.split(',');
    let first = groups.next()?.len();
    let are_thousands = (1..=3).contains(&first) && groups.all(|group| group.len() == 3);
    let is_number = |c: char| c.is_ascii_digit() || matches!(c, ',' | '.');
    (are_thousands && field.chars().all(is_number)).then(|| field.replace(',', ""))
}

fn is_empty(field: &str) -> bool {
    matches!(field, "" | "NaN" | "null" | "undefined" | "-")
}

/// Rows in order of time, those of equal times added up: they are parts of one count, by machine
/// or by model. Newest first is turned around; any other order is a mistake.
pub(super) fn in_order(mut rows: Vec<Row>) -> Result<Vec<Row>, TraceError> {
    let falls = |pair: &[Row]| pair[1].at < pair[0].at;
    if rows.windows(2).any(falls) && rows.windows(2).all(|pair| pair[1].at <= pair[0].at) {
        rows.reverse();
    }
    if let Some(at) = rows.windows(2).position(falls) {
        let line = rows[at + 1].line;
        return Err(TraceError::Backwards { line });
    }
    Ok(added_up(rows))
}

fn added_up(rows: Vec<Row>) -> Vec<Row> {
    let mut sums: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        match sums.last_mut().filter(|last| last.at == row.at) {
            Some(last) => {
                let pairs = last.values.iter_mut().zip(&row.values);
                pairs.for_each(|(sum, value)| *sum = sum_of(*sum, *value));
            }
            None => sums.push(row),
        }
    }
    sums
}

pub(super) fn sum_of(one: Option<f64>, two: Option<f64>) -> Option<f64> {
    match (one, two) {
        (None, None) => None,
        (one, two) => Some(one.unwrap_or(0.0) + two.unwrap_or(0.0)),
    }
}

/// Series that are given one after the other, each in order of time.
pub(super) fn of_several_series(rows: Vec<Row>) -> Vec<Row> {
    let mut by_time: BTreeMap<u64, Row> = BTreeMap::new();
    for row in rows {
        let key = (row.at * 1000.0).round() as u64;
        match by_time.get_mut(&key) {
            Some(sum) => {
                let pairs = sum.values.iter_mut().zip(&row.values);
                pairs.for_each(|(sum, value)| *sum = sum_of(*sum, *value));
            }
            None => drop(by_time.insert(key, row)),
        }
    }
    by_time.into_values().collect()
}
