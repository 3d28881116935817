//! A batch's lines are traces, of which the proxy's spans are a part.

use std::process::Command;

use tidegate_tests::{Collector, Harness, HarnessConfig, binary, eventually};

use crate::service::input;

#[tokio::test]
async fn a_line_is_a_trace_from_the_service_to_the_proxy() {
    const LINES: u32 = 3;
    let collector = Collector::start().await;
    let config = HarnessConfig::default();
    let harness = Harness::start_with(config, collector.environment()).await;
    let _worker = harness.timed_worker("w", &[]).await;
    let file = input(harness.dir.path(), LINES, 0);
    let mut run = Command::new(binary("tidegate-batch"));
    run.arg("run")
        .arg(file)
        .arg(harness.dir.path().join("out.jsonl"));
    run.args(["--proxy", &format!("http://{}", harness.listen)]);
    run.envs(collector.environment());
    let ended = tokio::task::spawn_blocking(move || run.output()).await;
    let ended = ended.expect("no panic").expect("it starts");
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    let lines = eventually("a span of each line", async || {
        let spans = collector.all().into_iter();
        let lines = spans.filter(|found| found.span.name == "batch line");
        let lines: Vec<_> = lines.collect();
        (lines.len() == LINES as usize).then_some(lines)
    })
    .await;
    for line in lines {
        assert_eq!(
            (line.daemon.as_str(), line.parent()),
            ("tidegate-batch", String::new())
        );
        let trace = line.trace();
        // The line, its request, and the proxy's three.
        let spans = collector.whole_trace(&trace, 5).await;
        let of = |parent: &str, name: &str| {
            let mut spans = spans.iter();
            let found = spans.find(|found| found.parent() == parent && found.span.name == name);
            found
                .unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
                .id()
        };
        let request = of(&line.id(), "POST");
        of(&of(&request, "POST /v1/embeddings"), "attempt");
        assert!(line.number("tidegate.batch.line").is_some());
    }
}
