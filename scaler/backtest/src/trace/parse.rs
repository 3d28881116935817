//! Reads a trace's text; the header says which form it has.

use std::io::Read;

use thiserror::Error;

use super::{Demand, cloudwatch_cli, forms, ledger, prometheus, rows};

/// A packed trace that is longer than this is not read.
const LARGEST_BYTES: u64 = 2 << 30;

/// What a file in gzip begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

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
    #[error(
        "line {line}: its time is before that of the row above; expected rows in order, oldest or \
         newest first"
    )]
    Backwards { line: usize },
    #[error("line {line}: the trace ends here; expected two rows or more, over some time")]
    TooShort { line: usize },
    #[error("line {line}: found {found}; expected {expected}")]
    Json {
        line: usize,
        found: String,
        expected: &'static str,
    },
    #[error("it is compressed by gzip and cannot be decompressed: {0}")]
    Gzip(String),
    #[error("no row has any requests, so there is nothing to replay")]
    Silent,
}

const FORMS: &str = "\"timestamp,cost\", \"timestamp,model,outcome,ms\", \"TIMESTAMP,ContextTokens,GeneratedTokens\", \
    \"timestamp_ms,input_length,output_length\", \"timestamp,value\", \
    \"t_s,total_rps,asym_idc,...\", \"Time,...\" as Grafana writes it, what CloudWatch's console \
    writes, the JSON of aws cloudwatch get-metric-statistics or get-metric-data, the JSON of a Prometheus range query, \
    or a ledger";

/// Reads a trace as it is in a file: in any of the forms that [`TraceError::Header`] lists, packed
/// by gzip or not.
pub fn parse_file(bytes: &[u8]) -> Result<Demand, TraceError> {
    if !bytes.starts_with(&GZIP) {
        return parse(&String::from_utf8_lossy(bytes));
    }
    let mut text = Vec::new();
    let reader = flate2::read::MultiGzDecoder::new(bytes);
    let read = reader.take(LARGEST_BYTES + 1).read_to_end(&mut text);
    read.map_err(|error| TraceError::Gzip(error.to_string()))?;
    match text.len() as u64 > LARGEST_BYTES {
        true => Err(TraceError::Gzip(format!("more than {LARGEST_BYTES} bytes"))),
        false => parse(&String::from_utf8_lossy(&text)),
    }
}

/// As [`parse_file`], for text.
pub fn parse(text: &str) -> Result<Demand, TraceError> {
    let text = text.trim_start_matches('\u{feff}');
    let demand = match text.trim_start().starts_with('{') {
        true if ledger::is_ledger(text) => ledger::read(text)?,
        true if cloudwatch_cli::is_one(text) => cloudwatch_cli::read(text)?,
        true => prometheus::read(text)?,
        false => table(text)?,
    };
    match demand.requests() > 0.0 {
        true => Ok(demand),
        false => Err(TraceError::Silent),
    }
}

fn table(text: &str) -> Result<Demand, TraceError> {
    forms::read(&rows::table(text))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_packed_trace_is_read_and_one_that_is_cut_off_is_told() {
        let text = "timestamp,value\n0,60\n60,120\n";
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(text.as_bytes()).expect("it is packed");
        let packed = packed.finish().expect("it is packed");
        assert_eq!(parse_file(&packed), parse(text));
        let cut = parse_file(&packed[..packed.len() / 2]).expect_err("half of it");
        assert!(
            cut.to_string()
                .starts_with("it is compressed by gzip and cannot"),
            "{cut}"
        );
    }
}
