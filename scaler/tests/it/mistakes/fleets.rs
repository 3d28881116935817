//! Where the fleet is, and the proxies.

use super::{mistake, mistake_in};

#[test]
fn the_table_of_the_fleets_kind() {
    mistake(
        "kind = \"process\"",
        "kind = \"container\"",
        "policy.toml:1: container: found nothing, expected a table, as fleet.kind is \"container\"",
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
        "up.toml:15: proxies.admin: found \"http://127.0.0.1:1\", expected nothing, as [up] runs \
         the proxy and makes the tokens",
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
