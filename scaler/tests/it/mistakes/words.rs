//! What every policy is written in: its keys, words, numbers and syntax.

use super::mistake;

#[test]
fn keys() {
    mistake(
        "max = 4",
        "maximum = 4",
        "policy.toml:LINE: fleet.maximum: unknown key; expected one of kind, model, min, max, \
         lead_time, silence, mass_silence, drain_limit; did you mean \"max\"?",
    );
    mistake(
        "[scale_in]",
        "[scale_down]",
        "policy.toml:LINE: scale_down: unknown key; expected one of fleet, slo, signal, \
         forecast, formula, schedule, cost, source, cloudwatch, scale_out, scale_in, proxies, scaler, lease, process, container, asg, up; did you mean \"scale_in\"?",
    );
    mistake(
        "metric = \"concurrency\"",
        "",
        "policy.toml:20: signal[requests].metric: found nothing, expected one of queue_length, oldest_wait, \
         in_flight, concurrency, request_rate, latency",
    );
    mistake(
        "[slo]",
        "[[slo]]",
        "policy.toml:LINE: slo: found an array, expected a table",
    );
}

#[test]
fn words() {
    mistake(
        "kind = \"process\"",
        "kind = \"proces\"",
        "policy.toml:LINE: fleet.kind: found \"proces\"; expected one of process, container, asg; \
         did you mean \"process\"?",
    );
    mistake(
        "metric = \"oldest_wait\"",
        "metric = \"oldest-wait\"",
        "policy.toml:LINE: signal[oldest].metric: found \"oldest-wait\"; expected one of queue_length, \
         oldest_wait, in_flight, concurrency, request_rate, latency, value; \
         did you mean \"oldest_wait\"?",
    );
    mistake(
        "statistic = \"p95\"",
        "statistic = \"p9\"",
        "policy.toml:LINE: signal[latency].statistic: found \"p9\"; expected one of mean, max, p95, \
         p99, rate; did you mean \"p99\"?",
    );
    mistake(
        "statistic = \"mean\"",
        "statistic = \"rate\"",
        "policy.toml:LINE: signal[requests].statistic: found \"rate\", expected one of mean, max, p95, \
         p99 for this metric",
    );
    mistake(
        "on_missing = \"hold\"",
        "on_missing = \"keep\"",
        "policy.toml:LINE: signal[requests].on_missing: found \"keep\", expected \"hold\", \
         \"ignore\", a number of workers, or a value as in { value = 2.5 }",
    );
    mistake(
        "on_missing = \"hold\"",
        "on_missing = { value = -8.0 }",
        "policy.toml:LINE: signal[requests].on_missing: found -8.0, expected a value from 0 on",
    );
    mistake(
        "on_missing = \"hold\"",
        "on_missing = -1",
        "policy.toml:LINE: signal[requests].on_missing: found -1, expected \"hold\", \"ignore\", a \
         number of workers, or a value as in { value = 2.5 }",
    );
}

#[test]
fn numbers_and_durations() {
    mistake(
        "min = 1",
        "min = 9",
        "policy.toml:LINE: fleet.min: found 9, expected at most fleet.max, which is 4",
    );
    mistake(
        "max = 4",
        "max = 0",
        "policy.toml:LINE: fleet.max: found 0, expected 1 or more",
    );
    mistake(
        "max = 4",
        "max = 10001",
        "policy.toml:LINE: fleet.max: found 10001, expected at most 10000",
    );
    mistake(
        "timeout = \"800ms\"",
        "timeout = \"6s\"",
        "policy.toml:LINE: proxies.timeout: found \"6s\", expected at most \"5s\"",
    );
    mistake(
        "ledgers_kept = 4",
        "ledgers_kept = 101",
        "policy.toml:LINE: scaler.ledgers_kept: found 101, expected at most 100",
    );
    mistake(
        "min = 1",
        "min = -1",
        "policy.toml:LINE: fleet.min: found -1, expected a whole number, 0 or more",
    );
    mistake(
        "lead_time = \"60s\"",
        "lead_time = 60",
        "policy.toml:LINE: fleet.lead_time: found 60, expected a duration with its unit, such as \
         \"500ms\", \"30s\", \"5m\" or \"2h\"",
    );
    mistake(
        "drain_limit = \"2m\"",
        "drain_limit = \"500ms\"",
        "policy.toml:LINE: fleet.drain_limit: found \"500ms\", expected \"1s\" or more",
    );
    mistake(
        "window = \"60s\"",
        "window = \"1h\"",
        "policy.toml:LINE: signal[latency].window: found \"1h\", expected at most \"10m\"",
    );
    mistake(
        "tolerance = 0.1",
        "tolerance = 10",
        "policy.toml:LINE: scale_out.tolerance: found 10, expected 0.0 or more, below 1.0",
    );
    mistake(
        "stabilization = \"5m\"",
        "stabilization = \"5h\"",
        "policy.toml:LINE: scale_in.stabilization: found \"5h\", expected at most \"1h\"",
    );
    mistake(
        "ledger_bytes = 67108864",
        "ledger_bytes = 1000",
        "policy.toml:LINE: scaler.ledger_bytes: found 1000, expected 1048576 or more",
    );
}

#[test]
fn syntax() {
    mistake(
        "max = 4",
        "max = 4\nmin = 2",
        "policy.toml:9: not valid TOML at \"min\": duplicate key",
    );
    mistake(
        "[scale_out]",
        "[scale_out",
        "policy.toml:LINE: not valid TOML: unclosed table, expected `]`",
    );
}
