//! The traces that come with Tidegate are all read, and scaled to the same load.

use tidegate_backtest::sim::{Scenario, Workload};
use tidegate_backtest::trace;

const TRACES: [(&str, &str); 7] = [
    (
        "azure",
        include_str!("../../../../tests/traces/azure-llm-2023-conv.csv"),
    ),
    (
        "mooncake",
        include_str!("../../../../tests/traces/mooncake-fast25-synthetic.csv"),
    ),
    (
        "servegen-m-small",
        include_str!("../../../../tests/traces/servegen-m-small-rate-10min.csv"),
    ),
    (
        "servegen-mm-image",
        include_str!("../../../../tests/traces/servegen-mm-image-rate-10min.csv"),
    ),
    (
        "elb",
        include_str!("../../../../tests/traces/nab-elb_request_count_8c0756.csv"),
    ),
    (
        "grok",
        include_str!("../../../../tests/traces/nab-grok_asg_anomaly.csv"),
    ),
    (
        "aapl",
        include_str!("../../../../tests/traces/nab-Twitter_volume_AAPL.csv"),
    ),
];

#[test]
fn every_trace_is_read_and_keeps_twenty_workers_busy() {
    let scenario = Scenario::default();
    for (name, text) in TRACES {
        let demand = trace::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let demand = scenario.scale(&demand);
        assert!((demand.mean_rate() - 40.0).abs() < 1e-6, "{name}");
        let hour = demand.cut(0.0, demand.span_s().min(3600.0));
        let (mut count, mut busy_s) = (0_u64, 0.0);
        for request in Workload::new(&scenario, &hour, 1) {
            count += 1;
            busy_s += request.service.as_secs_f64();
        }
        let expected = hour.requests();
        let found = count as f64;
        assert!(
            (found / expected - 1.0).abs() < 0.05,
            "{name}: {found} of {expected}"
        );
        assert!(
            (busy_s / found - 2.0).abs() < 0.1,
            "{name}: {} s a request",
            busy_s / found
        );
    }
}
