//! Calls that are signed for AWS, checked by the rules of Signature Version 4 as AWS' "Create a
//! signed request" has them.

use std::fs;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::post;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use tidegate_tests::{ENVIRONMENT, REGION};

use super::serve;
use crate::daemon::{Daemon, WORKER, free_port, metrics_with, policy};
use crate::stage::FakeProxy;

/// As `ENVIRONMENT` has it.
const SECRET: &str = "test";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// The signature that the call should have, and the one that it has.
fn signatures(path: &str, headers: &HeaderMap, body: &str) -> Option<(String, String)> {
    let value = |name: &str| headers.get(name)?.to_str().ok();
    let authority = value("authorization")?.strip_prefix("AWS4-HMAC-SHA256 ")?;
    let part = |name: &str| {
        let mut parts = authority.split(", ");
        parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
    };
    let (who, scope) = part("Credential")?.split_once('/')?;
    let date = scope.split('/').next()?;
    assert_eq!(who, "test");
    assert_eq!(scope, format!("{date}/{REGION}/aps/aws4_request"));
    let names = part("SignedHeaders")?;
    let signed = names
        .split(';')
        .map(|name| Some(format!("{name}:{}\n", value(name)?)));
    let signed: String = signed.collect::<Option<_>>()?;
    let payload = hex(&Sha256::digest(body.as_bytes()));
    let request = format!("POST\n{path}\n\n{signed}\n{names}\n{payload}");
    let request = hex(&Sha256::digest(request.as_bytes()));
    let at = value("x-amz-date")?;
    let text = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{request}");
    let first = format!("AWS4{SECRET}").into_bytes();
    let key = scope.split('/').fold(first, |key, part| mac(&key, part));
    Some((hex(&mac(&key, &text)), part("Signature")?.to_owned()))
}

/// A managed Prometheus, which answers calls that are signed.
async fn managed() -> String {
    let query = |uri: Uri, headers: HeaderMap, body: String| async move {
        match signatures(uri.path(), &headers, &body) {
            Some((expected, found)) if expected == found => (
                StatusCode::OK,
                r#"{"status":"success","data":{"resultType":"scalar","result":[1,"7"]}}"#,
            ),
            _ => (StatusCode::FORBIDDEN, "the signature is wrong"),
        }
    };
    let path = "/workspaces/ws-1/api/v1/query";
    serve(Router::new().route(path, post(query))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_managed_prometheus_is_asked_with_a_signature() {
    let url = managed().await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (proxy, port) = (FakeProxy::start().await, free_port());
    let file = policy(&directory, &proxy.url, port, WORKER);
    let source = format!(
        "[[source]]\nname = 'amp'\nurl = '{url}/workspaces/ws-1'\nquery = 'sum(orders)'\n\
         every = '1s'\nsigv4 = {{ region = '{REGION}' }}\n[[signal]]\nname = 'orders'\n\
         source = 'amp'\nstatistic = 'max'\nwindow = '1s'\ntarget_per_worker = 100\n"
    );
    let whole = fs::read_to_string(&file).expect("the policy") + &source;
    fs::write(&file, whole).expect("it is written");
    let arguments = ["run", "--policy", file.to_str().unwrap_or_default()];
    let daemon = Daemon::start_in(&ENVIRONMENT, &arguments, directory.path());
    metrics_with(port, "tidegate_scaler_source_up{source=\"amp\"} 1").await;
    assert!(
        !daemon.said().contains("gives no value"),
        "{}",
        daemon.said()
    );
}
