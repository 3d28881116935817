//! The access log: a line for each request, however it ended, and a trace for backtests.

use std::path::Path;

use serde_json::json;
use tidegate_backtest::trace;
use tidegate_tests::{Harness, HarnessConfig, eventually};

/// The lines below the header, as columns.
fn lines(log: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines = text.lines().skip(1);
    let columns = |line: &str| line.split(',').map(str::to_owned).collect();
    lines.map(columns).collect()
}

#[tokio::test]
async fn every_request_has_a_line_and_the_log_is_a_trace() {
    let dir = tempfile::tempdir().expect("a directory for the test");
    let log = dir.path().join("access.csv");
    let harness = Harness::start(HarnessConfig {
        proxy: format!(
            "models = ['timed']\n[access]\nlog = '{}'\n[line]\nwaiting = 1",
            log.display()
        ),
    })
    .await;
    let client = harness.client();
    let hasty = [("x-request-timeout-ms", "100")];
    assert_eq!(client.post_with(&json!({}), &hasty).await.status, 504);
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move { client.timed(120).await })
    };
    eventually("it waits", async || {
        (harness.signal().await.models[0].waiting == 1).then_some(())
    })
    .await;
    assert_eq!(client.timed(1).await.status, 503, "the queue is full");
    let _worker = harness.timed_worker("w", &[]).await;
    let body = json!({"service_ms": 120, "input": "nobody may read this"});
    assert_eq!(client.post(&body).await.status, 200);
    assert_eq!(waiting.await.expect("it is answered").status, 200);

    let found = eventually("four lines are written", async || {
        Some(lines(&log)).filter(|lines| lines.len() == 4)
    })
    .await;
    let mut outcomes: Vec<&str> = found.iter().map(|line| line[2].as_str()).collect();
    outcomes.sort_unstable();
    assert_eq!(outcomes, ["answered", "answered", "expired", "shed"]);
    for line in &found {
        assert_eq!(line[1], "timed");
        let took_ms: u64 = line[3].parse().expect("milliseconds");
        let range = match line[2].as_str() {
            "answered" => 120..20_000,
            "expired" => 100..20_000,
            _ => 0..20_000,
        };
        assert!(range.contains(&took_ms), "{line:?}");
    }
    let text = std::fs::read_to_string(&log).expect("there is a log");
    assert!(!text.contains("nobody"), "no text of a request is logged");
    let demand = trace::parse(&text).expect("it is a trace");
    assert_eq!(demand.requests(), 3.0, "the first only marks the beginning");
}

#[tokio::test]
async fn a_full_log_is_put_aside_and_the_last_lines_survive_the_end() {
    let dir = tempfile::tempdir().expect("a directory for the test");
    let log = dir.path().join("access.csv");
    let mut harness = Harness::start(HarnessConfig {
        proxy: format!("[access]\nlog = '{}'\nbytes = 200", log.display()),
    })
    .await;
    let _worker = harness.timed_worker("w", &[]).await;
    for _ in 0..12 {
        harness.client().timed(1).await.timed();
    }
    harness.proxy.terminate();
    eventually("the proxy ends", async || harness.proxy.ended()).await;
    let aside = lines(&dir.path().join("access.csv.1"));
    let current = lines(&log);
    assert!(!aside.is_empty() && !current.is_empty());
    assert!(aside.len() + current.len() <= 12);
    let size = std::fs::metadata(&log).expect("there is a log").len();
    assert!(size < 300, "{size} bytes");
}

#[tokio::test]
async fn what_is_answered_without_a_worker_is_counted_and_logged_but_is_no_demand() {
    let dir = tempfile::tempdir().expect("a directory for the test");
    let log = dir.path().join("access.csv");
    let harness = Harness::start(HarnessConfig {
        proxy: format!("models = ['timed']\n[access]\nlog = '{}'", log.display()),
    })
    .await;
    let _worker = harness.timed_worker("w", &[]).await;
    for _ in 0..2 {
        harness.client().timed(1).await.timed();
    }
    assert_eq!(harness.client().get("/no/such/path").await.status, 404);
    assert_eq!(harness.client().get("/healthz").await.status, 200);
    let mut outcomes = eventually("four lines are written", async || {
        let found = lines(&log);
        let outcomes = found.iter().map(|line| line[2].clone());
        Some(outcomes.collect::<Vec<_>>()).filter(|outcomes| outcomes.len() == 4)
    })
    .await;
    outcomes.sort_unstable();
    assert_eq!(outcomes, ["answered", "answered", "refused", "served"]);
    let text = std::fs::read_to_string(&log).expect("there is a log");
    let demand = trace::parse(&text).expect("it is a trace");
    assert_eq!(
        demand.requests(),
        1.0,
        "the first of two marks the beginning"
    );
    let metrics = reqwest::get(format!("http://{}/metrics", harness.admin)).await;
    let metrics = metrics.expect("an answer").text().await.expect("text");
    for line in [
        r#"tidegate_answers_total{route="other",status="404"} 1"#,
        r#"tidegate_answers_total{route="GET /healthz",status="200"} 1"#,
        r#"tidegate_answers_total{route="POST /v1/embeddings",status="200"} 2"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}
