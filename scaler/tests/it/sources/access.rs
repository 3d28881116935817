//! How a source's server is reached: by TLS, with tokens and passwords from files, signed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::http::HeaderMap;
use serde_json::json;
use tidegate_policy::SourceRule;
use tidegate_scaler::aws::connect;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{rule_with, serve};

/// The certificates are for 127.0.0.1 and for a hundred years.
fn of_tls(file: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/sources/tls");
    folder.join(file)
}

/// A server with a certificate that only `ca.pem` vouches for.
async fn https() -> String {
    let chain = CertificateDer::pem_file_iter(of_tls("server.pem")).expect("it is there");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_file(of_tls("server.key")).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let answer =
                b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\n\r\njobs 5\n";
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
        }
    });
    format!("https://{address}/metrics")
}

#[tokio::test]
async fn a_server_is_trusted_by_the_ca_in_the_file_and_by_no_other() {
    let url = https().await;
    let ca = of_tls("ca.pem");
    let trusted = rule_with(
        &url,
        json!({ "metric": "jobs", "ca_file": ca, "timeout": "5s" }),
    );
    assert_eq!(trusted.check(), Ok(()));
    assert_eq!(connect(&trusted).ask().await.expect("a value").value, 5.0);

    let strange = rule_with(&url, json!({ "metric": "jobs", "timeout": "5s" }));
    let fault = connect(&strange).ask().await.expect_err("who is that?");
    assert!(fault.to_string().contains("certificate"), "{fault}");

    let absent = json!({ "metric": "jobs", "ca_file": "/nowhere.pem" });
    let fault = connect(&rule_with(&url, absent)).ask().await;
    let said = fault.expect_err("no such file").to_string();
    assert!(
        said.starts_with("it cannot be asked: /nowhere.pem No such file"),
        "{said}"
    );
}

/// A server whose page has a metric for each header that came.
async fn echo() -> String {
    let page = |headers: HeaderMap| async move {
        let value = |name: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().replace('"', "'")
        };
        let (authority, scope) = (value("authorization"), value("x-scope-orgid"));
        format!("came{{authority=\"{authority}\",scope=\"{scope}\"}} 1\n")
    };
    serve(Router::new().fallback(page)).await
}

/// Whether calls come with these headers.
async fn comes_with(rule: SourceRule, authority: &str, scope: &str) -> bool {
    let mut rule = rule;
    let wanted = format!("came{{authority=\"{authority}\",scope=\"{scope}\"}}");
    rule.metric = Some(wanted);
    rule.check().expect("a rule that can be");
    connect(&rule).ask().await.is_ok()
}

#[tokio::test]
async fn tokens_and_passwords_come_from_files_that_are_read_anew() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let secret = directory.path().join("secret");
    let url = echo().await;
    fs::write(&secret, "one\n").expect("it is written");
    let bearer = rule_with(
        &url,
        json!({ "metric": "came", "bearer_file": secret, "headers": { "X-Scope-OrgID": "a" } }),
    );
    assert!(comes_with(bearer.clone(), "Bearer one", "a").await);
    fs::write(&secret, "two").expect("it is written");
    assert!(comes_with(bearer, "Bearer two", "a").await);
    let basic = json!({ "user": "Aladdin", "password_file": secret });
    fs::write(&secret, "open sesame\n").expect("it is written");
    let basic = rule_with(&url, json!({ "metric": "came", "basic": basic }));
    assert!(comes_with(basic, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "").await);
}

#[test]
fn what_cannot_be_asked_is_refused() {
    for (url, keys, said) in [
        ("http://a", json!({ "ca_file": "/ca.pem" }), "ca_file"),
        (
            "https://a",
            json!({ "headers": { "Authorization": "x" } }),
            "bearer_file",
        ),
        (
            "https://a",
            json!({ "headers": { "X-A": "a\nb" } }),
            "printable",
        ),
        (
            "https://a",
            json!({ "bearer_file": "/t", "sigv4": { "region": "eu-central-1" } }),
            "at most one of bearer_file, basic and sigv4",
        ),
        (
            "https://a",
            json!({ "sigv4": { "region": "Frankfurt" } }),
            "eu-central-1",
        ),
        (
            "https://a",
            json!({ "fallback": { "value": 1 } }),
            "failures, after, or both",
        ),
        (
            "https://a",
            json!({ "metric": "jobs{" }),
            "with or without labels",
        ),
    ] {
        let mut rule = rule_with(url, keys);
        rule.metric.get_or_insert_with(|| "jobs".to_owned());
        let problem = rule.check().expect_err(said);
        assert!(format!("{problem:?}").contains(said), "{problem:?}");
    }
}
