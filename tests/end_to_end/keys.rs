//! Keys of clients: a request without a key is refused, and no key reaches a worker.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Output};

use reqwest::{RequestBuilder, Response};
use serde_json::Value;
use tidegate_tests::{Harness, HarnessConfig, Timed, binary, eventually};

/// As `tidegate-proxy key` makes it: the key, and the line that admits it.
fn make(name: &str) -> (String, String) {
    let made = Command::new(binary("tidegate-proxy"))
        .args(["key", name])
        .output()
        .expect("it runs");
    let said = String::from_utf8(made.stdout).expect("text");
    let after = |label: &str| {
        let mut lines = said.lines();
        let found = lines.find_map(|line| line.strip_prefix(label));
        found.expect(label).to_owned()
    };
    (
        after("key, for the client: "),
        after("line, for clients.api_keys_file: "),
    )
}

/// Puts a new file in the place of the old one, at once.
fn write(file: &Path, lines: &[&str], mode: u32) {
    use std::io::Write;
    let new = file.with_extension("new");
    let options = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&new);
    let mut opened = options.expect("it is created");
    opened
        .write_all(lines.join("\n").as_bytes())
        .expect("it is written");
    std::fs::rename(new, file).expect("it is renamed");
}

fn config(keys: &Path) -> HarnessConfig {
    HarnessConfig {
        proxy: format!("[clients]\napi_keys_file = \"{}\"\n", keys.display()),
    }
}

async fn send(request: RequestBuilder) -> Response {
    request.send().await.expect("an answer")
}

#[tokio::test]
async fn only_who_brings_a_valid_key_is_served_and_no_worker_sees_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("api-keys");
    let ((key, line), (other, other_line)) = (make("shop"), make("search"));
    assert!(!line.contains(&key) && line.ends_with(" shop"));
    write(&file, &["# who may ask", &line, "", &other_line], 0o600);
    let harness = Harness::start(config(&file)).await;
    let _worker = harness.timed_worker("w", &[]).await;
    let (http, base) = (reqwest::Client::new(), format!("http://{}", harness.listen));
    let ask = || http.post(format!("{base}/v1/embeddings")).body("{}");
    for admitted in [
        ask().bearer_auth(&key),
        ask().header("authorization", format!("bearer {other}")),
        ask().header("api-key", &key),
    ] {
        let answer = send(admitted).await;
        assert_eq!(answer.status(), 200);
        let timed: Timed = answer.json().await.expect("the worker's answer");
        let seen = format!("{:?}", timed.headers);
        assert!(!seen.contains(&key) && !seen.contains(&other), "{seen}");
    }
    let hash = line.split(' ').next().expect("a hash");
    for refused in [
        ask(),
        ask().bearer_auth(&key[1..]),
        ask().bearer_auth(format!("{key}0")),
        ask().bearer_auth(hash),
        ask().bearer_auth(harness.worker_token()),
        ask().header("authorization", format!("Basic {key}")),
        ask().bearer_auth("wrong").header("api-key", &key),
        http.get(format!("{base}/v1/models")),
        http.get(format!("{base}/no/such/path")),
    ] {
        assert_eq!(send(refused).await.status(), 401);
    }
    let signal = harness.signal().await;
    assert_eq!(signal.models[0].arrivals_total, 3);
    assert!(!harness.proxy.output().contains(&key));
}

#[tokio::test]
async fn a_refusal_has_openais_shape_and_health_needs_no_key() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("api-keys");
    write(&file, &[&make("shop").1], 0o600);
    let harness = Harness::start(config(&file)).await;
    let (http, base) = (reqwest::Client::new(), format!("http://{}", harness.listen));
    let refused = send(http.post(format!("{base}/v1/embeddings")).body("{}")).await;
    assert_eq!(refused.headers()["www-authenticate"], "Bearer");
    let body: Value = refused.json().await.expect("JSON");
    assert_eq!(body["error"]["code"], "invalid_api_key");
    assert_eq!(body["error"]["type"], "invalid_request_error");
    for path in ["/livez", "/readyz", "/health"] {
        let healthy = send(http.get(format!("{base}{path}"))).await;
        assert_eq!(healthy.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn a_changed_file_is_read_again_and_a_bad_one_changes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("api-keys");
    let ((first, first_line), (second, second_line)) = (make("first"), make("second"));
    write(&file, &[&first_line], 0o600);
    let harness = Harness::start(config(&file)).await;
    let _worker = harness.timed_worker("w", &[]).await;
    let (http, url) = (
        reqwest::Client::new(),
        format!("http://{}/v1/embeddings", harness.listen),
    );
    let status = async |key: &str| {
        let answer = send(http.post(&url).body("{}").bearer_auth(key)).await;
        answer.status().as_u16()
    };
    write(&file, &["not a hash"], 0o600);
    eventually("the bad file is seen", async || {
        let said = harness.proxy.output();
        said.contains("keeping the previous keys").then_some(())
    })
    .await;
    assert_eq!((status(&first).await, status(&second).await), (200, 401));
    write(&file, &[&second_line], 0o600);
    eventually("the new key is admitted", async || {
        (status(&second).await == 200).then_some(())
    })
    .await;
    assert_eq!(status(&first).await, 401);
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_refused_at_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("api-keys");
    let (_, line) = make("shop");
    let name = file.display().to_string();
    let start = || -> Output {
        let config_file = directory.path().join("proxy.toml");
        std::fs::write(&config_file, config(&file).proxy).expect("it is written");
        let mut command = Command::new(binary("tidegate-proxy"));
        command.arg("--config").arg(&config_file);
        for role in ["worker", "operator"] {
            let token = directory.path().join(role);
            write(&token, &["a-token-for-tests-of-keys"], 0o600);
            command.arg(format!("--{role}-tokens")).arg(token);
        }
        command.output().expect("it ends")
    };
    for (lines, mode, expected) in [
        (
            &[line.as_str()][..],
            0o640,
            format!("run: chmod 600 {name}"),
        ),
        (
            &[&line[1..]][..],
            0o600,
            format!("{name}:1: expected the SHA-256"),
        ),
        (
            &["# none"][..],
            0o600,
            "holds 0 keys, expected 1 to 1000".to_owned(),
        ),
    ] {
        write(&file, lines, mode);
        let refused = start();
        assert_eq!(refused.status.code(), Some(78));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains(&expected), "{said}");
    }
}
