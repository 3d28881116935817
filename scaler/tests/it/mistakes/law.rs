//! What the law goes by: targets, steps, terms.

use super::mistake;

#[test]
fn targets() {
    mistake(
        "target_per_worker = 24",
        "target_per_worker = 0",
        "policy.toml:LINE: signal[requests].target_per_worker: found 0, expected more than 0",
    );
    mistake(
        "target_per_worker = 24",
        "target_per_worker = 24\ntarget_value = 3",
        "policy.toml:26: signal[requests].target_value: found both targets, expected either \
         target_per_worker or target_value",
    );
    mistake(
        "target_value = \"1s\"",
        "target_value = 1",
        "policy.toml:LINE: signal[oldest].target_value: found 1, expected a duration with its unit, \
         such as \"2s\", as this metric is a time",
    );
    mistake(
        "target_value = \"1s\"",
        "target_value = \"1 s\"",
        "policy.toml:LINE: signal[oldest].target_value: found \"1 s\", expected a duration with its \
         unit, such as \"500ms\", \"30s\", \"5m\" or \"2h\"",
    );
    mistake(
        "target_value = \"1s\"",
        "target_per_worker = 3",
        "policy.toml:LINE: signal[oldest].target_per_worker: found 3, expected target_value instead: \
         a time is not shared out among workers",
    );
    mistake(
        "target_value = \"1s\"",
        "",
        "policy.toml:28: signal[oldest].target_per_worker: found no target, expected \
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
        "policy.toml:45: schedule[day].workers: found 5, expected 1 to fleet.max, which is 4",
    );
    mistake(
        "[scale_out]",
        &schedule("cron", "'0 8 * *'"),
        "policy.toml:43: schedule[day].cron: found \"0 8 * *\", expected five fields, such as \
         \"0 8 * * MON-FRI\"",
    );
    mistake(
        "[scale_out]",
        &schedule("zone", "'Europe/Berln'"),
        "policy.toml:46: schedule[day].zone: found \"Europe/Berln\", expected a zone of the IANA \
         database, such as \"Europe/Berlin\"",
    );
    mistake(
        "metric = \"concurrency\"",
        "source = \"shop\"",
        "policy.toml:LINE: signal[requests].source: found \"shop\", expected \"proxy\" or the name of a \
         [[source]]",
    );
}
