//! Pages as they are met: what is read out of them, and what is said of those that have no number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::{any, get};
use serde_json::{Value, json};
use tidegate_control::Time;
use tidegate_scaler::aws::connect;
use tidegate_scaler::sources::{Known, Sources};

use super::{nobody, rule_with, serve};
use crate::stage::eventually_async;

/// A server whose only page this is.
async fn page(text: &'static str) -> String {
    serve(Router::new().fallback(move || async move { text })).await
}

/// What a source comes to that has this page.
async fn asked(text: &'static str, way: &str, place: &str) -> Result<f64, String> {
    let rule = rule_with(&page(text).await, json!({ way: place }));
    rule.check().expect("a rule that can be");
    let sample = connect(&rule).ask().await;
    sample
        .map(|sample| sample.value)
        .map_err(|fault| fault.to_string())
}

#[tokio::test]
async fn values_are_found_however_the_page_is_written() {
    let both = r#"jobs{a="1",b="2"}"#;
    for (text, way, place, expected) in [
        ("jobs\t5\n", "metric", "jobs", 5.0),
        ("  jobs 5\n", "metric", "jobs", 5.0),
        ("jobs{a=\"1\",b=\"2\",} 5\n", "metric", both, 5.0),
        ("jobs{b=\"2\",a=\"1\"} 5\n", "metric", both, 5.0),
        ("jobs{ a=\"1\", b=\"2\" } 5\n", "metric", both, 5.0),
        ("17", "pointer", "", 17.0),
        ("\u{feff}{\"v\": 3}", "pointer", "/v", 3.0),
    ] {
        assert_eq!(asked(text, way, place).await, Ok(expected), "{text}");
    }
}

#[tokio::test]
async fn a_refusal_says_its_reason() {
    let refusal = r#"{"status":"error","error":"1:10: parse error: unclosed left parenthesis"}"#;
    let routes = Router::new()
        .route(
            "/moved",
            get(|| async { (StatusCode::FOUND, [(header::LOCATION, "/login")]) }),
        )
        .route(
            "/api/v1/query",
            any(move || async move { (StatusCode::BAD_REQUEST, refusal) }),
        );
    let url = serve(routes).await;
    let fault = async |url: String, keys: Value| {
        let fault = connect(&rule_with(&url, keys)).ask().await;
        fault.expect_err("no number").to_string()
    };
    let query = json!({ "query": "sum(depth" });
    assert_eq!(
        fault(url.clone(), query).await,
        "it answers with 400: 1:10: parse error: unclosed left parenthesis"
    );
    let pointer = json!({ "pointer": "/v" });
    assert_eq!(
        fault(format!("{url}/moved"), pointer.clone()).await,
        "it answers with 302 and redirects to \"/login\": redirects are not followed, so set url to that address"
    );
    assert_eq!(
        fault(nobody().await, pointer.clone()).await,
        "it cannot be reached: connection refused"
    );
    let nowhere = "http://no-such-host.invalid/".to_owned();
    let keys = json!({ "pointer": "/v", "timeout": "20s" });
    let said = fault(nowhere, keys).await;
    assert!(
        said.starts_with("it cannot be reached: no such host ("),
        "{said}"
    );
}

/// What is known of a source for as long as it takes to be asked twice.
async fn known_of(text: &'static str, keys: Value) -> Known {
    let sources = Sources::start(&[rule_with(&page(text).await, keys)], connect);
    tokio::time::sleep(Duration::from_millis(1300)).await;
    sources.known()
}

#[tokio::test]
async fn what_cannot_be_is_not_known() {
    let below = known_of("{\"depth\": -1}", json!({ "pointer": "/depth" })).await;
    assert_eq!(below, Known::default());
    let old = known_of("jobs 5 1600000000000\n", json!({ "metric": "jobs" })).await;
    assert_eq!(old, Known::default());
    let nan = known_of("jobs NaN\n", json!({ "metric": "jobs" })).await;
    assert_eq!(nan, Known::default());
}

#[tokio::test]
async fn a_value_that_says_when_it_was_true_counts_from_then_on() {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let now = Time::from_ms(now.as_millis() as u64);
    let text = format!("jobs 5 {}\n", now.as_ms() - 20_000);
    let url = page(Box::leak(text.into_boxed_str())).await;
    let rule = rule_with(&url, json!({ "metric": "jobs", "fresh_for": "60s" }));
    let sample = connect(&rule).ask().await.expect("a value");
    assert_eq!(sample.value, 5.0);
    assert!((20..25).contains(&sample.age.as_secs()), "{sample:?}");
}

#[tokio::test]
async fn an_answer_with_warnings_is_a_lower_bound() {
    let text = r#"{"status":"success","warnings":["partial"],
        "data":{"resultType":"vector","result":[{"metric":{},"value":[1,"3"]}]}}"#;
    let known = known_of(text, json!({ "query": "sum(depth)" })).await;
    assert_eq!(known.values.get("s"), Some(&3.0));
    assert!(known.lower_bounds.contains("s"));
}

#[tokio::test]
async fn a_counter_is_a_rate() {
    let count = Arc::new(AtomicU64::new(75_234_100));
    let page = move || {
        let now = count.fetch_add(30, Ordering::Relaxed);
        async move { format!("# TYPE jobs_total counter\njobs_total {now}\n") }
    };
    let url = serve(Router::new().fallback(page)).await;
    let gauge = rule_with(&url, json!({ "metric": "jobs_total" }));
    let said = gauge.check().expect_err("it is a counter");
    assert!(format!("{said:?}").contains("rate = true"), "{said:?}");
    let keys = json!({ "metric": "jobs_total", "rate": true, "fresh_for": "5s" });
    let rule = rule_with(&url, keys);
    assert_eq!(rule.check(), Ok(()));
    let sources = Sources::start(&[rule], connect);
    let known = async || sources.known().values.get("s").copied();
    let rate = eventually_async("a rate", known).await;
    assert!((20.0..40.0).contains(&rate), "{rate}");
}
