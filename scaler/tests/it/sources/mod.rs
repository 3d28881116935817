//! Sources beside the proxies, asked over HTTP.

mod access;
mod pages;
mod signed;

use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use serde_json::{Value, json};
use tidegate_policy::SourceRule;
use tidegate_scaler::aws::connect;
use tidegate_scaler::sources::{SourceFault, Sources};

use crate::stage::eventually_async;

/// A server with one page of each kind, and one that never ends.
async fn server() -> String {
    let prometheus = |body: String| async move {
        assert_eq!(body, "query=sum%28rate%28orders_total%5B1m%5D%29%29");
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"12.5"]}]}}"#
    };
    let routes = Router::new()
        .route("/api/v1/query", post(prometheus))
        .route("/status", get(|| async { r#"{"queue":{"depth":7}}"# }))
        .route("/metrics", get(|| async { "jobs 3\n" }))
        .route("/large", get(|| async { "x".repeat(5 << 20) }))
        .route("/slow", get(std::future::pending::<String>));
    serve(routes).await
}

async fn serve(routes: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move { axum::serve(listener, routes).await });
    format!("http://{address}")
}

/// A source that is asked each second, with these keys as well.
fn rule_with(url: &str, keys: Value) -> SourceRule {
    let mut rule = json!({
        "name": "s", "url": url, "every": "1s", "timeout": "300ms", "fresh_for": "1s",
    });
    let keys = keys.as_object().expect("keys and values").clone();
    rule.as_object_mut().expect("a table").extend(keys);
    serde_json::from_value(rule).expect("a rule")
}

fn rule(url: &str, way: (&str, &str)) -> SourceRule {
    rule_with(url, json!({ way.0: way.1 }))
}

/// An address at which nobody listens.
async fn nobody() -> String {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let gone = gone.expect("a free port").local_addr();
    format!("http://{}", gone.expect("its address"))
}

#[tokio::test]
async fn each_kind_of_source_gives_its_number() {
    let url = server().await;
    for (path, way, expected) in [
        ("", ("query", "sum(rate(orders_total[1m]))"), 12.5),
        ("/status", ("pointer", "/queue/depth"), 7.0),
        ("/metrics", ("metric", "jobs"), 3.0),
    ] {
        let rule = rule(&format!("{url}{path}"), way);
        assert!(rule.check().is_ok());
        let value = connect(&rule).ask().await;
        assert_eq!(value.expect(path).value, expected);
    }
}

#[test]
fn a_place_that_is_none_is_refused() {
    let check = |way: (&str, &str)| {
        let checked = rule("http://127.0.0.1:1", way).check();
        checked.map_err(|problem| format!("{problem:?}"))
    };
    for pointer in ["", "/", "/a/0", "/a~0b~1c", "/a b"] {
        assert_eq!(check(("pointer", pointer)), Ok(()), "{pointer}");
    }
    // RFC 6901, section 3.
    for pointer in ["a", "/a~", "/a~2", "/~~0", "#/a"] {
        let said = check(("pointer", pointer)).expect_err(pointer);
        assert!(said.contains("~0"), "{said}");
    }
    for query in ["", " \n"] {
        let said = check(("query", query)).expect_err("no query");
        assert!(said.contains("an instant query"), "{said}");
    }
}

#[tokio::test]
async fn answers_are_bounded_in_size_and_time() {
    let url = server().await;
    let fault = async |path: &str| {
        let rule = rule(&format!("{url}{path}"), ("pointer", "/a"));
        connect(&rule).ask().await.expect_err(path)
    };
    assert!(matches!(fault("/large").await, SourceFault::Large));
    assert!(matches!(fault("/slow").await, SourceFault::Slow(_)));
    let absent = fault("/nothing").await;
    assert!(matches!(absent, SourceFault::Status { status: 404, .. }));
    assert!(matches!(fault("/metrics").await, SourceFault::NotJson(_)));
}

#[tokio::test]
async fn a_value_is_known_while_it_is_fresh() {
    let url = server().await;
    let sources = Sources::start(
        &[rule(&format!("{url}/status"), ("pointer", "/queue/depth"))],
        connect,
    );
    let known = async || sources.known().values.get("s").copied();
    let value = eventually_async("a value", known).await;
    assert_eq!(value, 7.0);

    let silent = Sources::start(&[rule(&nobody().await, ("pointer", "/a"))], connect);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(silent.known().values.is_empty());
}

#[tokio::test]
async fn a_fallback_counts_after_so_many_failures_or_so_long() {
    let url = nobody().await;
    for when in [json!({ "failures": 2 }), json!({ "after": "1500ms" })] {
        let mut fallback = json!({ "value": 40 });
        let when = when.as_object().expect("a key").clone();
        fallback.as_object_mut().expect("a table").extend(when);
        let rule = rule_with(&url, json!({ "pointer": "/a", "fallback": fallback }));
        assert_eq!(rule.check(), Ok(()));
        let sources = Sources::start(&[rule], connect);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(sources.known().values.is_empty(), "too early");
        let known = async || sources.known().values.get("s").copied();
        assert_eq!(eventually_async("the fallback", known).await, 40.0);
    }
}
