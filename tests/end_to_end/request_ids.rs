//! The id of a request: the client's if it is well formed, else the proxy's; the same in the answer, at the worker, in
//! the access log and in the logs of both.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidegate_backtest::trace;
use tidegate_tests::{Answer, Harness, HarnessConfig, Process, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A proxy with an access log, and where that is.
async fn logging() -> (Harness, PathBuf, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory for the test");
    let log = dir.path().join("access.csv");
    let harness = Harness::start(HarnessConfig {
        proxy: format!("models = ['timed']\n[access]\nlog = '{}'", log.display()),
    })
    .await;
    (harness, log, dir)
}

fn id(answer: &Answer) -> &str {
    let ids: Vec<_> = answer.headers.get_all("x-request-id").iter().collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    ids[0].to_str().expect("text")
}

fn is_made_here(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Waits until a line of the log ends with this column.
async fn is_logged(log: &Path, outcome: &str, column: &str) {
    eventually(&format!("{outcome} {column} is logged"), async || {
        let text = std::fs::read_to_string(log).ok()?;
        let mut lines = text.lines();
        let is_it = |line: &str| {
            line.contains(&format!(",{outcome},")) && line.ends_with(&format!(",{column}"))
        };
        lines.any(is_it).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_clients_id_is_kept_from_the_request_to_the_answer() {
    let (harness, log, _dir) = logging().await;
    let _worker = harness.timed_worker("w", &[]).await;
    let longest = "i".repeat(128);
    for (stated, column) in [
        ("order-17", "order-17"),
        (
            "Root=1-67891233-abcdef;Self=2",
            "Root=1-67891233-abcdef;Self=2",
        ),
        ("a,\"b\"", "\"a,\"\"b\"\"\""),
        (longest.as_str(), longest.as_str()),
    ] {
        let headers = [("x-request-id", stated)];
        let answer = harness.client().post_with(&json!({}), &headers).await;
        assert_eq!(id(&answer), stated);
        assert_eq!(answer.timed().headers["x-request-id"], stated);
        is_logged(&log, "answered", column).await;
    }
    let text = std::fs::read_to_string(&log).expect("there is a log");
    let demand = trace::parse(&text).expect("it is a trace, whatever clients name their requests");
    assert_eq!(demand.requests(), 3.0, "the first only marks the beginning");
}

#[tokio::test]
async fn an_id_that_is_missing_or_malformed_is_replaced() {
    let (harness, log, _dir) = logging().await;
    let _worker = harness.timed_worker("w", &[]).await;
    let (too_long, huge) = ("i".repeat(129), "i".repeat(10_000));
    let mut seen = std::collections::BTreeSet::new();
    for stated in [
        None,
        Some(""),
        Some("a b"),
        Some("caf\u{e9}"),
        Some("tab\tin it"),
        Some(too_long.as_str()),
        Some(huge.as_str()),
    ] {
        let headers: Vec<_> = stated.map(|id| ("x-request-id", id)).into_iter().collect();
        let answer = harness.client().post_with(&json!({}), &headers).await;
        let made = id(&answer);
        assert!(is_made_here(made), "{stated:?} became {made}");
        assert_eq!(answer.timed().headers["x-request-id"], made);
        is_logged(&log, "answered", made).await;
        assert!(seen.insert(made.to_owned()), "{made} is another request's");
    }
}

#[tokio::test]
async fn what_the_proxy_answers_itself_has_an_id_as_well() {
    let (harness, log, _dir) = logging().await;
    let client = harness.client();
    let hasty = [("x-request-id", "late"), ("x-request-timeout-ms", "50")];
    let late = client.post_with(&json!({}), &hasty).await;
    assert_eq!((late.status, id(&late)), (504, "late"));
    is_logged(&log, "expired", "late").await;
    let wrong = [("x-request-id", "wrong"), ("x-request-timeout-ms", "soon")];
    let wrong = client.post_with(&json!({}), &wrong).await;
    assert_eq!((wrong.status, id(&wrong)), (400, "wrong"));
    is_logged(&log, "refused", "wrong").await;
    for (path, status, outcome) in [
        ("/no/such/path", 404, "refused"),
        ("/v1/models", 200, "served"),
    ] {
        let answer = client.get(path).await;
        assert_eq!(answer.status, status);
        assert!(is_made_here(id(&answer)));
        is_logged(&log, outcome, id(&answer)).await;
    }
    // A head that cannot be read.
    let mut stream = TcpStream::connect(harness.listen)
        .await
        .expect("it listens");
    let head = b"GET / HTTP/1.1\r\nx-request-id: a\r\nbroken\r\n\r\n";
    stream.write_all(head).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let mut lines = answer.lines();
    let made = lines.find_map(|line| line.strip_prefix("x-request-id: "));
    let made = made.expect("an id");
    assert!(is_made_here(made), "{made}");
    is_logged(&log, "refused", made).await;
}

#[tokio::test]
async fn a_log_of_an_earlier_version_is_put_aside() {
    let dir = tempfile::tempdir().expect("a directory for the test");
    let log = dir.path().join("access.csv");
    let earlier = "timestamp,model,outcome,ms\n1700000001.500,timed,answered,90\n";
    std::fs::write(&log, earlier).expect("the log is written");
    let proxy = format!("[access]\nlog = '{}'", log.display());
    let harness = Harness::start(HarnessConfig { proxy }).await;
    let _worker = harness.timed_worker("w", &[]).await;
    let answer = harness.client().timed(1).await;
    is_logged(&log, "answered", id(&answer)).await;
    let aside = std::fs::read_to_string(dir.path().join("access.csv.1"));
    assert_eq!(aside.expect("the earlier log"), earlier);
}

/// The lines of a JSON log about this request.
fn lines(process: &Process, id: &str) -> Vec<Value> {
    let output = process.output();
    let lines = output
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines
        .filter(|line: &Value| line["request_id"] == id)
        .collect()
}

#[tokio::test]
async fn the_logs_of_proxy_and_worker_name_the_request() {
    let environment = [
        (
            "RUST_LOG",
            "info,tidegate_proxy=debug,tidegate_worker=debug",
        ),
        ("TIDEGATE_LOG_FORMAT", "json"),
    ];
    let environment = environment.map(|(name, value)| (name, value.to_owned()));
    let config = HarnessConfig::default();
    let harness = Harness::start_with(config, environment.to_vec()).await;
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/families/mpnet");
    let worker = harness.worker_with("w", &model, &["--threads", "1"]).await;
    for (stated, body, status) in [
        ("well", json!({"model": "mpnet", "input": "noon"}), 200),
        ("badly", json!({"model": "mpnet", "input": []}), 400),
    ] {
        let headers = [("x-request-id", stated)];
        let answer = harness.client().post_with(&body, &headers).await;
        assert_eq!((answer.status, id(&answer)), (status, stated));
        for process in [&harness.proxy, &worker] {
            let line = eventually("its line", async || lines(process, stated).pop()).await;
            assert_eq!(line["message"], "answered", "{line}");
            assert_eq!(line["status"], status, "{line}");
            assert!(line["ms"].is_u64(), "{line}");
        }
        assert_eq!(
            lines(&harness.proxy, stated)[0]["route"],
            "POST /v1/embeddings"
        );
    }
}
