//! `--model s3://BUCKET/KEY#sha256=HEX`, against S3 on this machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tidegate_tests::{ENVIRONMENT, Moto, REGION, eventually};

use crate::fake_s3::FakeS3;
use crate::tiny_model::{self, SLOW, Shape, TINY};
use crate::worker::{self, Plan};

/// A model file, its bytes and their hash.
struct File {
    _directory: TempDir,
    path: PathBuf,
    bytes: Vec<u8>,
    sha256: String,
}

/// As `quantize` writes one.
fn quantized(shape: Shape) -> File {
    let directory = tiny_model::directory(shape);
    let path = directory.path().join("out.safetensors");
    let mut command: Command = worker::command();
    command.args(["quantize", "--model"]).arg(directory.path());
    let output = command.arg("--out").arg(&path).output();
    let output = output.expect("the worker runs");
    assert!(output.status.success(), "{output:?}");
    let bytes = std::fs::read(&path).expect("the model file");
    let digits = Sha256::digest(&bytes);
    File {
        _directory: directory,
        path,
        sha256: digits.iter().map(|byte| format!("{byte:02x}")).collect(),
        bytes,
    }
}

/// A worker that fetches `address` into a cache of the test's own.
fn fetching(address: &str, s3: &str, cache: &Path, more: &str) -> Plan {
    let home = tempfile::tempdir().expect("a temporary directory");
    let plan = worker::plan(home, address).config(&format!(
        "[s3]\nendpoint = '{s3}'\nregion = '{REGION}'\ncache = '{}'\n{more}",
        cache.display()
    ));
    let set = |plan: Plan, (name, value): &(&str, &str)| plan.env(name, value);
    ENVIRONMENT.iter().fold(plan, set)
}

fn address(file: &File) -> String {
    format!(
        "s3://models/v1/tiny.int8.safetensors#sha256={}",
        file.sha256
    )
}

fn cache() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

#[tokio::test]
async fn a_model_is_fetched_once_and_served_from_the_cache_afterwards() {
    let (file, cache) = (quantized(TINY), cache());
    let s3 = FakeS3::start(file.bytes.clone()).await;
    let (address, url) = (address(&file), s3.url.clone());
    let plan = || fetching(&address, &url, cache.path(), "");
    let (first, second) = tokio::join!(plan().ready(), plan().ready());
    let (vector, _) = first.embed(json!("the cat")).await;
    assert_eq!(second.embed(json!("the cat")).await.0, vector);
    let models = first.get("/v1/models").await.body;
    assert_eq!(models["data"][0]["id"], "tiny.int8");
    let asked = [("/models/v1/tiny.int8.safetensors".to_owned(), 0)];
    assert_eq!(
        s3.asked(),
        asked,
        "two workers on one machine fetch it once"
    );
    drop((first, second));

    s3.refuse(403);
    let cached = plan().ready().await;
    assert_eq!(cached.embed(json!("the cat")).await.0, vector);
    assert!(
        cached
            .process
            .output()
            .contains("using the model in the cache")
    );
    assert_eq!(s3.asked().len(), 1);
}

#[tokio::test]
async fn a_download_that_was_cut_goes_on_where_it_stopped() {
    let (file, cache) = (quantized(SLOW), cache());
    let s3 = FakeS3::start(file.bytes.clone()).await;
    s3.give(file.bytes.len() as u64 / 2);
    let mut cut = fetching(&address(&file), &s3.url, cache.path(), "")
        .listening()
        .await;
    eventually("the download breaks", async || {
        cut.process
            .output()
            .contains("was interrupted")
            .then_some(())
    })
    .await;
    assert_eq!(cut.get("/readyz").await.status, 503, "it answers meanwhile");
    cut.process.kill();

    s3.give(u64::MAX);
    let before = s3.asked().len();
    let worker = fetching(&address(&file), &s3.url, cache.path(), "")
        .ready()
        .await;
    let after = s3.asked().split_off(before);
    assert_eq!(after.len(), 1);
    assert!(after[0].1 > 0, "it began again");
    worker.embed(json!("the cat")).await;
}

#[tokio::test]
async fn what_is_not_what_was_named_is_never_used() {
    let (file, cache) = (quantized(TINY), cache());
    let mut changed = file.bytes.clone();
    let last = changed.last_mut().expect("it is not empty");
    *last ^= 1;
    let found: String = Sha256::digest(&changed)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let s3 = FakeS3::start(changed.clone()).await;
    let (code, output) = fetching(&address(&file), &s3.url, cache.path(), "")
        .fails()
        .await;
    assert_eq!(code, Some(1), "{output}");
    let said = format!(
        "s3://models/v1/tiny.int8.safetensors has the SHA-256 {found}, expected {}",
        file.sha256
    );
    assert!(output.contains(&said), "{output}");

    // Nor is a file that has changed in the cache.
    let s3 = FakeS3::start(file.bytes.clone()).await;
    let place = cache.path().join(&file.sha256);
    std::fs::create_dir_all(&place).expect("it is made");
    std::fs::write(place.join("tiny.int8.safetensors"), &changed).expect("it is written");
    // Nor what an earlier download of something else has left.
    std::fs::write(place.join("part"), b"something else").expect("it is written");
    let worker = fetching(&address(&file), &s3.url, cache.path(), "")
        .ready()
        .await;
    assert!(worker.process.output().contains("has changed"));
    let from: Vec<u64> = s3.asked().iter().map(|(_, from)| *from).collect();
    assert_eq!(from, [14, 0], "it went on first, and then began again");
    let kept = std::fs::read(place.join("tiny.int8.safetensors")).expect("the model file");
    assert!(kept == file.bytes);
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let (file, cache) = (quantized(TINY), cache());
    let s3 = FakeS3::start(file.bytes.clone()).await;
    let address = address(&file);
    let plan = |more: &str| fetching(&address, &s3.url, cache.path(), more);
    for (status, said) in [
        (
            403,
            "may not be read (AccessDenied: said S3); the role needs s3:GetObject",
        ),
        (
            404,
            "there is no s3://models/v1/tiny.int8.safetensors (NoSuchKey)",
        ),
        (301, "is in us-west-2, expected eu-central-1; set s3.region"),
    ] {
        s3.refuse(status);
        let (code, output) = plan("").fails().await;
        assert_eq!(code, Some(1), "{output}");
        assert!(output.contains(said), "{status}: {output}");
    }
    s3.refuse(0);
    let (code, output) = plan("max_size = '10kB'\n").fails().await;
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("expected at most 10"), "{output}");

    let without = plan("")
        .env("AWS_ACCESS_KEY_ID", "")
        .env("HOME", "/nowhere");
    let (code, output) = without.fails().await;
    assert_eq!(code, Some(1), "{output}");
    assert!(
        output.contains("no AWS credentials are found for s3://"),
        "{output}"
    );
}

#[tokio::test]
async fn an_overloaded_s3_is_asked_again() {
    let (file, cache) = (quantized(TINY), cache());
    let s3 = FakeS3::start(file.bytes.clone()).await;
    s3.refuse(503);
    let worker = fetching(&address(&file), &s3.url, cache.path(), "")
        .listening()
        .await;
    eventually("it is refused", async || {
        (s3.asked().len() > 1).then_some(())
    })
    .await;
    s3.refuse(0);
    worker.until_ready().await;
}

/// Moto checks signatures as AWS does once it is told to, with botocore's own code.
#[tokio::test]
async fn the_signature_is_one_that_aws_accepts() {
    let (file, cache) = (quantized(TINY), cache());
    let moto = Moto::start();
    moto.call(
        "s3",
        "create_bucket",
        &json!({
            "Bucket": "models", "CreateBucketConfiguration": { "LocationConstraint": REGION },
        }),
    );
    let key = "v1/a key+with ü.safetensors";
    moto.upload("models", key, &file.path);
    moto.call("iam", "create_user", &json!({ "UserName": "worker" }));
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [{ "Effect": "Allow", "Action": "s3:GetObject", "Resource": "*" }],
    });
    moto.call(
        "iam",
        "put_user_policy",
        &json!({
            "UserName": "worker", "PolicyName": "read", "PolicyDocument": policy.to_string(),
        }),
    );
    let keys = moto.call("iam", "create_access_key", &json!({ "UserName": "worker" }));
    moto.check_signatures();

    let address = format!("s3://models/{key}#sha256={}", file.sha256);
    let text = |name: &str| keys["AccessKey"][name].as_str().expect("a key").to_owned();
    let plan = |secret: &str| {
        fetching(&address, &moto.url, cache.path(), "")
            .env("AWS_ACCESS_KEY_ID", text("AccessKeyId"))
            .env("AWS_SECRET_ACCESS_KEY", secret)
    };
    let (_, output) = plan("not the secret").fails().await;
    assert!(output.contains("SignatureDoesNotMatch"), "{output}");
    let worker = plan(&text("SecretAccessKey")).ready().await;
    worker.embed(json!("the cat")).await;
}
