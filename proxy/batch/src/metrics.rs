//! What is counted: names, meanings, and the lines of `/metrics`.

use metrics::{counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

use crate::answer::Kind;

const LINES: &str = "tidegate_batch_lines_total";
const TOKENS: &str = "tidegate_batch_tokens_total";
const RETRIES: &str = "tidegate_batch_retries_total";
const WAITING: &str = "tidegate_batch_lines_waiting";
const IN_FLIGHT: &str = "tidegate_batch_lines_in_flight";
const OLDEST: &str = "tidegate_batch_oldest_seconds";
const BATCHES: &str = "tidegate_batch_unfinished";
const HELD: &str = "tidegate_batch_held";
const NO_ROOM: &str = "tidegate_batch_disk_full";
const WAITING_TOKENS: &str = "tidegate_batch_tokens_waiting";

/// What there is to do, as the gauges have it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Backlog {
    pub batches: u64,
    /// Lines without an answer.
    pub lines: u64,
    /// Their tokens, estimated from the bytes of their bodies.
    pub tokens: u64,
    /// Age of the oldest batch that has not ended.
    pub oldest_seconds: u64,
}

/// Takes in what is counted from now on.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new().install_recorder()?;
    describe_counter!(LINES, "Lines answered, by `kind`: output or error.");
    describe_counter!(TOKENS, "Tokens used, as the answers report them.");
    describe_counter!(RETRIES, "Retries of lines.");
    describe_gauge!(
        WAITING,
        "Lines of unfinished batches that have no answer yet."
    );
    describe_gauge!(
        WAITING_TOKENS,
        "Tokens of those lines, estimated: a token is four bytes."
    );
    describe_gauge!(IN_FLIGHT, "Lines at the proxy now.");
    describe_gauge!(OLDEST, "Age of the oldest unfinished batch; 0 without one.");
    describe_gauge!(BATCHES, "Batches that have not ended.");
    describe_gauge!(HELD, "1 while the proxy accepts no lines.");
    describe_gauge!(
        NO_ROOM,
        "1 while answers cannot be written because the disk is full."
    );
    gauge!(NO_ROOM).set(0.0);
    Ok(handle)
}

pub fn answered(kind: Kind, tokens: u64) {
    let kind = match kind {
        Kind::Output => "output",
        Kind::Error => "error",
    };
    counter!(LINES, "kind" => kind).increment(1);
    counter!(TOKENS).increment(tokens);
}

pub fn retried() {
    counter!(RETRIES).increment(1);
}

pub fn disk_full(is_full: bool) {
    gauge!(NO_ROOM).set(f64::from(u8::from(is_full)));
}

pub fn at_the_proxy(in_flight: usize, is_held: bool) {
    gauge!(IN_FLIGHT).set(in_flight as f64);
    gauge!(HELD).set(f64::from(u8::from(is_held)));
}

pub fn backlog(backlog: &Backlog) {
    gauge!(WAITING).set(backlog.lines as f64);
    gauge!(WAITING_TOKENS).set(backlog.tokens as f64);
    gauge!(OLDEST).set(backlog.oldest_seconds as f64);
    gauge!(BATCHES).set(backlog.batches as f64);
}
