//! What is read of AWS and published there.

use std::fs;
use std::path::Path;
use tidegate_policy::PolicyFile;

use super::{home, mistake};

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
        let (_, said) = found.split_once(": source[jobs].").unwrap_or_default();
        assert_eq!(said, message, "{line}: {found}");
    }
}

#[test]
fn a_lease_that_is_over_before_a_call_may_be() {
    let text = fs::read_to_string(home("policy-aws.toml")).expect("the file can be read");
    let text = text.replace(
        "timeout = \"800ms\"            # for one call",
        "timeout = \"5s\" # for one call",
    );
    let parse = |duration: &str| {
        let lease = "[lease]\nkind = 'dynamodb'\ntable = 't'\nkey = 'k'\nduration = ";
        let text = format!("{text}\n{lease}'{duration}'\n");
        tidegate_config::parse::<PolicyFile>(&text, Path::new("p.toml"))
    };
    let found = parse("10s").expect_err("nothing would ever be done");
    let found = found.to_string();
    let expected = "lease.duration: found \"10s\", expected more than 10s, twice asg.timeout";
    assert!(found.ends_with(expected), "{found}");
    parse("11s").unwrap_or_else(|mistake| panic!("{mistake}"));
}
