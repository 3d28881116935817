//! Every file in configs/ is valid, and every mistake in a policy has its message.

use std::fs;
use std::path::{Path, PathBuf};

use tidegate_scaler::config::PolicyFile;

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs")
}

/// Files in configs/ that other daemons read.
const OF_OTHERS: [&str; 4] = ["Cargo.toml", "proxy.toml", "scenario.toml", "worker.toml"];

#[test]
fn every_policy_in_configs_is_valid() {
    let mut policies = 0;
    for entry in fs::read_dir(configs()).expect("configs/ is there") {
        let file = entry.expect("it can be listed").path();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if file.extension().is_some_and(|e| e == "toml") && !OF_OTHERS.contains(&&*name) {
            let policy = tidegate_config::load::<PolicyFile>(&file);
            policy.unwrap_or_else(|mistake| panic!("{mistake}"));
            policies += 1;
        }
    }
    assert!(policies >= 2);
}

/// The policy is one by signals alone, without the tables that came later.
fn home(file: &str) -> PathBuf {
    match file {
        "policy.toml" => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/policy.toml"),
        _ => configs().join(file),
    }
}

#[test]
fn a_policy_by_signals_alone_is_valid() {
    let policy = tidegate_config::load::<PolicyFile>(&home("policy.toml"));
    policy.unwrap_or_else(|mistake| panic!("{mistake}"));
}

/// Replaces a piece of such a policy and compares the message that it gets.
#[track_caller]
fn mistake(piece: &str, instead: &str, message: &str) {
    mistake_in("policy.toml", piece, instead, message);
}

#[track_caller]
fn mistake_in(file: &str, piece: &str, instead: &str, message: &str) {
    let text = fs::read_to_string(home(file)).expect("the file can be read");
    assert!(text.contains(piece), "{piece:?} is not in {file}");
    let text = text.replacen(piece, instead, 1);
    let line = 1 + text[..text.find(instead).unwrap_or(0)]
        .matches('\n')
        .count();
    let found = tidegate_config::parse::<PolicyFile>(&text, Path::new(file));
    let found = found.expect_err("the text is refused").to_string();
    assert_eq!(found, message.replace("LINE", &line.to_string()));
}

#[test]
fn keys() {
    mistake(
        "max = 4",
        "maximum = 4",
        "policy.toml:LINE: fleet.maximum: unknown key; expected one of kind, model, min, max, \
         lead_time, silence, drain_limit; did you mean \"max\"?",
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
        "policy.toml:20: signal[0].metric: found nothing, expected one of queue_length, oldest_wait, \
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
        "policy.toml:LINE: signal[1].metric: found \"oldest-wait\"; expected one of queue_length, \
         oldest_wait, in_flight, concurrency, request_rate, latency, value; \
         did you mean \"oldest_wait\"?",
    );
    mistake(
        "statistic = \"p95\"",
        "statistic = \"p99\"",
        "policy.toml:LINE: signal[2].statistic: found \"p99\"; expected one of mean, max, p95, \
         rate; did you mean \"p95\"?",
    );
    mistake(
        "statistic = \"mean\"",
        "statistic = \"rate\"",
        "policy.toml:LINE: signal[0].statistic: found \"rate\", expected one of mean, max, p95 \
         for this metric",
    );
    mistake(
        "on_missing = \"hold\"",
        "on_missing = \"keep\"",
        "policy.toml:LINE: signal[0].on_missing: found \"keep\", expected \"hold\", \
         \"ignore\", a number of workers, or a value as in { value = 2.5 }",
    );
    mistake(
        "on_missing = \"hold\"",
        "on_missing = -1",
        "policy.toml:LINE: signal[0].on_missing: found -1, expected \"hold\", \"ignore\", a \
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
        "policy.toml:LINE: signal[2].window: found \"1h\", expected at most \"10m\"",
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
fn targets() {
    mistake(
        "target_per_worker = 24",
        "target_per_worker = 0",
        "policy.toml:LINE: signal[0].target_per_worker: found 0, expected more than 0",
    );
    mistake(
        "target_per_worker = 24",
        "target_per_worker = 24\ntarget_value = 3",
        "policy.toml:26: signal[0].target_value: found both targets, expected either \
         target_per_worker or target_value",
    );
    mistake(
        "target_value = \"1s\"",
        "target_value = 1",
        "policy.toml:LINE: signal[1].target_value: found 1, expected a duration with its unit, \
         such as \"2s\", as this metric is a time",
    );
    mistake(
        "target_value = \"1s\"",
        "target_value = \"1 s\"",
        "policy.toml:LINE: signal[1].target_value: found \"1 s\", expected a duration with its \
         unit, such as \"500ms\", \"30s\", \"5m\" or \"2h\"",
    );
    mistake(
        "target_value = \"1s\"",
        "target_per_worker = 3",
        "policy.toml:LINE: signal[1].target_per_worker: found 3, expected target_value instead: \
         a time is not shared out among workers",
    );
    mistake(
        "target_value = \"1s\"",
        "",
        "policy.toml:28: signal[1].target_per_worker: found no target, expected \
         target_per_worker or target_value",
    );
    mistake(
        "name = \"oldest\"",
        "name = \"requests\"",
        "policy.toml:29: signal[1].name: found \"requests\" again, expected a name of its own \
         for each signal",
    );
}

#[test]
fn steps() {
    mistake(
        "{ percent = 50, per = \"60s\" }",
        "{ per = \"60s\" }",
        "policy.toml:LINE: scale_in.steps[0].workers: found nothing, expected workers or percent",
    );
    mistake(
        "{ workers = 4, per = \"15s\" }",
        "{ workers = 4, percent = 4, per = \"15s\" }",
        "policy.toml:LINE: scale_out.steps[0].percent: found both workers and percent, expected \
         one of them; write two steps",
    );
    mistake(
        "{ percent = 50, per = \"60s\" }",
        "{ percent = 50 }",
        "policy.toml:LINE: scale_in.steps[0].per: missing key",
    );
    mistake(
        "tolerance = 0.1",
        "select = \"maximum\"",
        "policy.toml:LINE: scale_out.select: found \"maximum\"; expected one of max, min, \
         disabled; did you mean \"max\"?",
    );
}

#[test]
fn ends() {
    mistake(
        "admin = [\"http://127.0.0.1:9090\"]",
        "admin = [\"127.0.0.1:9090\"]",
        "policy.toml:LINE: proxies.admin: found \"127.0.0.1:9090\", expected a base URL such as \
         \"http://10.0.0.5:9090\"",
    );
    mistake(
        "admin = [\"http://127.0.0.1:9090\"]",
        "",
        "policy.toml:51: proxies.admin: found nothing, expected the admin URLs of the proxies, \
         or an [up] table",
    );
    mistake(
        "token_file = \"/etc/tidegate/operator.token\"",
        "",
        "policy.toml:51: proxies.token_file: found nothing, expected the file with the operator \
         token",
    );
    mistake(
        "listen = \"127.0.0.1:9091\"",
        "listen = \"localhost\"",
        "policy.toml:LINE: scaler.listen: found \"localhost\": invalid socket address syntax",
    );
    mistake(
        "[process]",
        "[proces]",
        "policy.toml:LINE: proces: unknown key; expected one of fleet, slo, signal, forecast, \
         formula, schedule, cost, source, cloudwatch, scale_out, scale_in, proxies, scaler, lease, process, container, asg, up; did you mean \"process\"?",
    );
    mistake_in(
        "up.toml",
        "[process]",
        "[proxies]\nadmin = [\"http://127.0.0.1:1\"]\n\n[process]",
        "up.toml:10: proxies.admin: found \"http://127.0.0.1:1\", expected nothing, as [up] runs \
         the proxy and makes the tokens",
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

#[test]
fn terms_beside_signals() {
    let formula = |text: &str| format!("formula = '{text}'\n[fleet]");
    mistake(
        "[fleet]",
        &formula("max(requests / 8.0, oldst)"),
        "policy.toml:LINE: formula: found \"oldst\" at position 21, expected one of requests, \
         oldest, latency, workers, serving; did you mean \"oldest\"?",
    );
    let table = |text: &str| format!("{text}\n[scale_out]");
    mistake(
        "[scale_out]",
        &table("[forecast]\nattainment = 1.0"),
        "policy.toml:42: forecast.attainment: found 1, expected 0.5 to 0.9999, such as 0.99",
    );
    mistake(
        "[scale_out]",
        &table("[cost]\nprice_per_hour = 2.0\nbudget_per_hour = 1.0"),
        "policy.toml:43: cost.budget_per_hour: found 1, expected 2 or more, the price of \
         fleet.min workers",
    );
    let schedule = |key: &str, value: &str| {
        let text = "[[schedule]]\nname = 'day'\ncron = '0 8 * * 1-5'\nfor = '8h'\nworkers = 2";
        let (before, _) = text.split_once(&format!("{key} =")).unwrap_or((text, ""));
        let after = text.lines().skip(before.lines().count() + 1);
        let after: Vec<&str> = after.collect();
        format!(
            "{}\n{key} = {value}\n{}\n[scale_out]",
            before.trim_end(),
            after.join("\n")
        )
    };
    mistake(
        "[scale_out]",
        &schedule("workers", "5"),
        "policy.toml:45: schedule[0].workers: found 5, expected 1 to fleet.max, which is 4",
    );
    mistake(
        "[scale_out]",
        &schedule("cron", "'0 8 * *'"),
        "policy.toml:43: schedule[0].cron: found \"0 8 * *\", expected five fields, such as \
         \"0 8 * * MON-FRI\"",
    );
    mistake(
        "[scale_out]",
        &schedule("zone", "'Europe/Berln'"),
        "policy.toml:46: schedule[0].zone: found \"Europe/Berln\", expected a zone of the IANA \
         database, such as \"Europe/Berlin\"",
    );
    mistake(
        "metric = \"concurrency\"",
        "source = \"shop\"",
        "policy.toml:LINE: signal[0].source: found \"shop\", expected \"proxy\" or the name of a \
         [[source]]",
    );
}

#[test]
fn containers() {
    let mistake = |piece, instead, message| {
        mistake_in("policy-compose.toml", piece, instead, message);
    };
    mistake(
        "[container]",
        "[containers]",
        "policy-compose.toml:LINE: containers: unknown key; expected one of fleet, slo, signal, \
         forecast, formula, schedule, cost, source, cloudwatch, scale_out, scale_in, proxies, scaler, lease, \
         process, container, asg, up; did you mean \"container\"?",
    );
    mistake(
        "cpus = 1.0",
        "cpus = 0.0",
        "policy-compose.toml:LINE: container.cpus: found 0, expected 0.01 or more",
    );
    mistake(
        "memory_bytes = 536870912",
        "memory_bytes = 512",
        "policy-compose.toml:LINE: container.memory_bytes: found 512, expected 33554432 or more",
    );
    mistake(
        "timeout = \"5s\"",
        "timeout = \"2m\"",
        "policy-compose.toml:LINE: container.timeout: found \"2m\", expected at most \"30s\"",
    );
    mistake(
        "from = \"tidegate-models\"",
        "from = \"./models\"",
        "policy-compose.toml:LINE: container.mounts[0].from: found \"./models\", expected a path \
         from \"/\" on, or the name of a volume",
    );
    mistake(
        "token_file = \"/run/worker/token\"",
        "token_file = \"worker.token\"",
        "policy-compose.toml:LINE: container.token_file: found \"worker.token\", expected a path in \
         the worker's container, from \"/\" on",
    );
    mistake(
        "name_prefix = \"tidegate-worker\"",
        "name_prefix = \"the workers\"",
        "policy-compose.toml:LINE: container.name_prefix: found \"the workers\", expected a letter or \
         digit, then letters, digits, \"_\", \".\" and \"-\"",
    );
}

#[test]
fn the_table_of_the_fleets_kind() {
    mistake(
        "kind = \"process\"",
        "kind = \"container\"",
        "policy.toml:1: container: found nothing, expected a table, as fleet.kind is \"container\"",
    );
}

#[test]
fn metrics_for_cloudwatch() {
    for (line, message) in [
        (
            "namespace = 'AWS/Mine'",
            "namespace: found \"AWS/Mine\", expected 1 to 255 letters, digits and .-_/#: that do \
             not begin with \"AWS/\"",
        ),
        (
            "interval = '10m'",
            "interval: found \"10m\", expected 1s to 5m",
        ),
        (
            "dimensions = { State = 'x' }",
            "dimensions: found \"State\", expected a name other than State, Change, Outcome",
        ),
        (
            "emf = 'metrics.json'",
            "emf: found \"metrics.json\", expected \"stdout\" or the absolute path of a file",
        ),
        ("backlog = 0", "backlog: found 0, expected 1 to 1440"),
        (
            "endpoint_url = 'localhost'",
            "endpoint_url: found \"localhost\", expected a base URL such as \
             \"http://127.0.0.1:5000\"",
        ),
    ] {
        mistake(
            "[scaler]",
            &format!("[cloudwatch]\n{line}\n[scaler]"),
            &format!("policy.toml:58: cloudwatch.{message}"),
        );
    }
}

#[test]
fn sources_on_aws() {
    for (line, message) in [
        (
            "cloudwatch = { namespace = 'Shop', metric = 'Orders' }",
            "cloudwatch.metric: found something else than these, expected namespace, metric and \
             statistic, or an expression alone",
        ),
        (
            "cloudwatch = { expression = 'SELECT 1', period = '90s' }",
            "cloudwatch.period: found \"90s\", expected 1s, 5s, 10s, 30s, or whole minutes up to 30m",
        ),
        (
            "cloudwatch = { expression = 'SELECT 1', period = '1m' }",
            "fresh_for: found \"1m\", expected at least twice the period, which is 1m: CloudWatch \
             gives whole periods, and late",
        ),
        (
            "sqs = { queue = 'a/b' }",
            "sqs.queue: found \"a/b\", expected a queue's name or URL",
        ),
        (
            "sqs = { queue = 'jobs' }\npointer = '/a'",
            "query: found none or several of them, expected one of query, pointer, metric, \
             cloudwatch and sqs",
        ),
        (
            "sqs = { queue = 'jobs' }\nurl = 'http://127.0.0.1:1'",
            "url: found \"http://127.0.0.1:1\", expected nothing: another address of AWS is the \
             endpoint_url of its table",
        ),
    ] {
        let text = fs::read_to_string(home("policy.toml")).expect("the file can be read");
        let text = format!("{text}\n[[source]]\nname = 'jobs'\n{line}\nfresh_for = '60s'\n");
        let found = tidegate_config::parse::<PolicyFile>(&text, Path::new("policy.toml"));
        let found = found.expect_err(line).to_string();
        let (_, said) = found.split_once(": source[0].").unwrap_or_default();
        assert_eq!(said, message, "{line}: {found}");
    }
}

#[test]
fn an_auto_scaling_group() {
    mistake_in(
        "policy-aws.toml",
        "[asg]\ngroup = \"tidegate-workers\"",
        "[asg]\ngroup = \"\"",
        "policy-aws.toml:15: asg.group: found \"\", expected a name of 1 to 255 characters",
    );
    mistake_in(
        "policy-aws.toml",
        "timeout = \"800ms\"            # for one call",
        "timeout = \"30s\" # for one call",
        "policy-aws.toml:LINE: asg.timeout: found \"30s\", expected more than 0 and at most \"5s\"",
    );
    mistake_in(
        "policy-aws.toml",
        "describe_every = \"10s\"",
        "describe_every = \"100ms\"",
        "policy-aws.toml:LINE: asg.describe_every: found \"100ms\", expected \"2s\" to \"1m\"",
    );
    mistake_in(
        "policy-aws.toml",
        "terminate_hook = \"tidegate-drained\"",
        "terminate_hook = \"tidegate-ready\"",
        "policy-aws.toml:LINE: asg.terminate_hook: found \"tidegate-ready\", expected another hook \
         than launch_hook",
    );
    mistake_in(
        "policy-aws.toml",
        "region = \"eu-central-1\"",
        "region = \"Frankfurt\"",
        "policy-aws.toml:LINE: asg.region: found \"Frankfurt\", expected a region such as \
         \"eu-central-1\"",
    );
    mistake_in(
        "policy-aws.toml",
        "kind = \"asg\"",
        "kind = \"process\"",
        "policy-aws.toml:1: process: found nothing, expected a table, as fleet.kind is \"process\"",
    );
}
