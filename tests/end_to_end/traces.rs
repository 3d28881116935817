//! Traces: a request's spans in proxy and worker are one trace, with its client's id; a collector that
//! is away or hangs changes nothing for clients.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_tests::{
    Collector, Harness, HarnessConfig, Received, Up, eventually, trace_environment,
};
use tokio::net::TcpListener;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT: &str = "00f067aa0ba902b7";

/// Of spans of one trace, the one of this daemon with this name.
#[track_caller]
fn one<'a>(spans: &'a [Received], daemon: &str, name: &str) -> &'a Received {
    let is_it = |found: &&Received| found.daemon == daemon && found.span.name == name;
    let found: Vec<&Received> = spans.iter().filter(is_it).collect();
    assert_eq!(found.len(), 1, "{daemon} {name} in {spans:#?}");
    found[0]
}

#[tokio::test]
async fn a_request_is_one_trace_from_its_client_to_its_batch() {
    let collector = Collector::start().await;
    let config = HarnessConfig::default();
    let harness = Harness::start_with(config, collector.environment()).await;
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/families/mpnet");
    let _worker = harness.worker_with("w", &model, &["--threads", "1"]).await;
    let body = json!({"model": "mpnet", "input": ["noon", "midnight"]});
    let unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let sampled = format!("00-{TRACE}-{CLIENT}-01");
    for parent in [unsampled, &sampled] {
        let headers = [
            ("traceparent", parent),
            ("tracestate", "vendor=1"),
            ("x-request-id", "request-7"),
        ];
        let answer = harness.client().post_with(&body, &headers).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let spans = collector.whole_trace(TRACE, 7).await;
    let (proxy, worker) = ("tidegate-proxy", "tidegate-worker");
    let request = one(&spans, proxy, "POST /v1/embeddings");
    let attempt = one(&spans, proxy, "attempt");
    let served = one(&spans, worker, "embeddings");
    let tokenize = one(&spans, worker, "tokenize");
    let compute = one(&spans, worker, "compute");
    let parents = [
        (request, CLIENT.to_owned()),
        (one(&spans, proxy, "queue"), request.id()),
        (attempt, request.id()),
        (served, attempt.id()),
        (tokenize, served.id()),
        (one(&spans, worker, "queue"), served.id()),
        (compute, served.id()),
    ];
    for (span, parent) in parents {
        assert_eq!(span.parent(), parent, "{span:#?}");
        assert_eq!(span.service, span.daemon);
        assert_eq!(span.span.trace_state, "vendor=1");
        let (begin, end) = (span.span.start_time_unix_nano, span.span.end_time_unix_nano);
        assert!(0 < begin && begin <= end, "{span:#?}");
    }
    assert_eq!(
        request.text("http.route").as_deref(),
        Some("/v1/embeddings")
    );
    assert_eq!(
        request.text("gen_ai.request.model").as_deref(),
        Some("mpnet")
    );
    assert_eq!(
        attempt.text("tidegate.attempt.outcome").as_deref(),
        Some("answered")
    );
    for span in [request, attempt, served] {
        assert_eq!(span.number("http.response.status_code"), Some(200));
    }
    for span in [request, served] {
        assert_eq!(
            span.text("tidegate.request.id").as_deref(),
            Some("request-7")
        );
    }
    assert_eq!(compute.number("tidegate.batch.texts"), Some(2));
    let tokens = compute.number("gen_ai.usage.input_tokens");
    assert!(tokens.is_some_and(|tokens| tokens >= 2), "{compute:#?}");
    assert_eq!(tokenize.number("gen_ai.usage.input_tokens"), tokens);
    assert_eq!(collector.trace("0af7651916cd43dd8448eb211c80319c").len(), 0);
}

#[tokio::test]
async fn a_request_without_a_trace_begins_one_and_its_worker_is_told() {
    let collector = Collector::start().await;
    let config = HarnessConfig::default();
    let harness = Harness::start_with(config, collector.environment()).await;
    let _worker = harness.timed_worker("w", &[]).await;
    let answer = harness.client().timed(0).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let first = eventually("the request's span", async || {
        let spans = collector.all();
        spans
            .into_iter()
            .find(|found| found.span.name == "POST /v1/embeddings")
    })
    .await;
    assert_eq!(first.parent(), "");
    let trace = first.trace();
    // The worker was told of the attempt, and of an id by which it may log.
    let spans = collector.whole_trace(&trace, 3).await;
    let attempt = one(&spans, "tidegate-proxy", "attempt");
    let timed: tidegate_tests::Timed = serde_json::from_value(answer.body).expect("its answer");
    let told = &timed.headers["traceparent"];
    assert_eq!(*told, format!("00-{trace}-{}-01", attempt.id()));
    assert_eq!(timed.headers["x-request-id"], trace);
    assert_eq!(first.text("tidegate.request.id"), Some(trace));
}

#[tokio::test]
async fn a_collector_that_is_away_or_hangs_costs_clients_nothing() {
    const REQUESTS: u32 = 200;
    let hangs = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let away = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addresses = [&hangs, &away].map(|listener| listener.local_addr().expect("bound"));
    drop(away);
    for address in addresses {
        let mut environment = trace_environment(&format!("http://{address}"));
        environment.push(("OTEL_BSP_MAX_QUEUE_SIZE", "16".to_owned()));
        environment.push(("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8".to_owned()));
        // Whoever waited for the collector would wait for this long, request after request.
        environment.push(("OTEL_EXPORTER_OTLP_TIMEOUT", "2000".to_owned()));
        let harness = Harness::start_with(HarnessConfig::default(), environment).await;
        let _worker = harness.timed_worker("w", &[]).await;
        let began = Instant::now();
        for _ in 0..REQUESTS {
            assert_eq!(harness.client().timed(0).await.status, 200);
        }
        let took = began.elapsed();
        assert!(took < Duration::from_secs(2) * REQUESTS / 10, "{took:?}");
        eventually("the spans are counted as dropped", async || {
            let metrics = harness.metrics().await;
            let lines = metrics.lines();
            let name = "tidegate_trace_spans_dropped_total ";
            let dropped = lines.filter_map(|line| line.strip_prefix(name)).next();
            let dropped = dropped?.parse::<u32>().ok()?;
            // Three of each request, but for those that still wait.
            (dropped > 2 * REQUESTS).then_some(())
        })
        .await;
    }
    drop(hangs);
}

#[tokio::test]
async fn ticks_of_the_scaler_are_traces() {
    let collector = Collector::start().await;
    let policy = r#"
[fleet]
kind = "process"
min = 1
max = 1
[slo]
latency = "10s"
[[signal]]
name = "requests"
metric = "concurrency"
statistic = "max"
window = "5s"
target_per_worker = 8
"#;
    let _up = Up::start_with(policy, &collector.environment()).await;
    let tick = eventually("a tick with its parts", async || {
        let spans = collector.all();
        let mut ticks = spans
            .iter()
            .filter(|found| found.span.name == "scaler tick");
        ticks
            .find(|tick| {
                let parts = spans.iter().filter(|part| part.parent() == tick.id());
                parts.count() == 2
            })
            .cloned()
    })
    .await;
    assert_eq!(tick.daemon, "tidegate-scaler");
    assert!(tick.number("tidegate.workers.needed").is_some());
    assert!(
        tick.text("tidegate.reason")
            .is_some_and(|reason| !reason.is_empty())
    );
}
