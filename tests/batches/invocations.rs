//! boto3's `invoke_endpoint_async` as on AWS: inputs and answers are objects of S3. On a store of one machine,
//! and on one that many share.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_tests::{ENVIRONMENT, Harness, HarnessConfig, Moto, REGION, clients_python};

use crate::sagemaker::signed_config;
use crate::service::Batches;

/// S3 with the buckets of clients, and what a shared store needs.
struct Aws {
    moto: Moto,
    queue: String,
}

/// Where a service keeps what it was asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Here,
    Shared,
}

impl Aws {
    fn start() -> Aws {
        let moto = Moto::start();
        let place = json!({"LocationConstraint": REGION});
        for bucket in ["inputs", "answers", "batches"] {
            let bucket = json!({"Bucket": bucket, "CreateBucketConfiguration": place});
            moto.call("s3", "create_bucket", &bucket);
        }
        // So that an object that is written twice is seen.
        let versioning =
            json!({"Bucket": "answers", "VersioningConfiguration": {"Status": "Enabled"}});
        moto.call("s3", "put_bucket_versioning", &versioning);
        let queue = moto.call("sqs", "create_queue", &json!({"QueueName": "batches"}));
        let queue = queue["QueueUrl"].as_str().expect("a URL").to_owned();
        Aws { moto, queue }
    }

    fn put(&self, key: &str, text: &str) {
        let object = json!({"Bucket": "inputs", "Key": key, "Body": text});
        self.moto.call("s3", "put_object", &object);
    }

    /// Each object among the answers as often as it was written.
    fn written(&self) -> Vec<String> {
        let asked = json!({"Bucket": "answers"});
        let listed = self.moto.call("s3", "list_object_versions", &asked);
        let versions = listed["Versions"].as_array().cloned().unwrap_or_default();
        let key = |object: Value| object["Key"].as_str().expect("a key").to_owned();
        versions.into_iter().map(key).collect()
    }

    async fn service(&self, name: &str, harness: &Harness, kept: Kept) -> Batches {
        self.service_of(name, harness, kept, &ENVIRONMENT).await
    }

    async fn service_of(
        &self,
        name: &str,
        harness: &Harness,
        kept: Kept,
        environment: &[(&'static str, &'static str)],
    ) -> Batches {
        let url = &self.moto.url;
        let s3 = "[sagemaker.s3]\noutput = 's3://answers/of/ours'\nfailure = 's3://answers/failed'\n\
                  inputs = ['s3://inputs/ours', 's3://nowhere']\ninput_bytes = 5000\n";
        let store = match kept {
            Kept::Here => String::new(),
            Kept::Shared => format!(
                "[shared]\nbucket = 'batches'\nqueue = '{}'\nvisibility = '5s'\n",
                self.queue
            ),
        };
        let config = format!("{}{s3}{store}", signed_config(harness));
        // As the SDKs of AWS find them.
        let mut all = environment.to_vec();
        all.push(("AWS_ENDPOINT_URL_S3", url.clone().leak()));
        all.push(("AWS_REGION", REGION));
        Batches::start_named(name, harness, &config, &all).await
    }
}

/// boto3 at work.
struct Client {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Client {
    fn start(service: &Batches, aws: &Aws, calls: &Value) -> Client {
        let mut command = clients_python("sagemaker_async.py");
        let url = format!("http://{}", service.listen);
        command.args([&url, &aws.moto.url, &calls.to_string()]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let out = BufReader::new(child.stdout.take().expect("its output"));
        Client { child, out }
    }

    /// What it prints next: what came of the calls, or later the answers.
    async fn next(mut self) -> (Client, Vec<Value>) {
        let read = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            self.out.read_line(&mut line).expect("it prints");
            (self, line)
        });
        let (client, line) = read.await.expect("it prints");
        let values = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        (client, values)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn at(key: &str) -> Value {
    json!({"endpoint": "shop", "more": {"InputLocation": format!("s3://inputs/{key}")}})
}

async fn harness() -> Harness {
    let proxy = "models = ['timed']".to_owned();
    Harness::start(HarnessConfig { proxy }).await
}

/// Each call of a user and what it comes to.
async fn answers_and_failures_are_objects(kept: Kept) {
    let (aws, harness) = (Aws::start(), harness().await);
    let _worker = harness.timed_worker("one", &[]).await;
    let service = aws.service("one", &harness, kept).await;
    aws.put("ours/good.json", r#"{"input": "x"}"#);
    aws.put(
        "ours/large.json",
        &format!(r#"{{"input": "{}"}}"#, "x".repeat(5000)),
    );
    aws.put("ours/text", "no JSON");
    aws.put(
        "ours/refused.json",
        r#"{"inputs": "a worker without this route"}"#,
    );
    aws.put("theirs/good.json", r#"{"input": "x"}"#);
    let named = |name: &str| {
        json!({"endpoint": "timed", "body": {"input": name},
        "more": {"InferenceId": name, "S3OutputPathExtension": "day/1", "Filename": "mine.json",
                 "RequestTTLSeconds": 600, "InvocationTimeoutSeconds": 60}})
    };
    let calls = json!([
        at("ours/good.json"),
        named("first"),
        at("ours/none.json"),
        at("ours/large.json"),
        at("ours/text"),
        at("ours/refused.json"),
        json!({"endpoint": "shop", "more": {"InputLocation": "s3://nowhere/x"}}),
        at("theirs/good.json"),
        json!({"endpoint": "shop"}),
        json!({"endpoint": "shop", "body": {"unheard": "of"}}),
    ]);
    let (client, begun) = Client::start(&service, &aws, &calls).next().await;
    for accepted in &begun[..7] {
        assert_eq!(accepted["status"], 202, "{accepted}");
    }
    assert_eq!(begun[1]["InferenceId"], "first");
    assert_eq!(
        begun[1]["OutputLocation"],
        "s3://answers/of/ours/day/1/mine.json"
    );
    for (refused, words) in begun[7..].iter().zip([
        "is in no place of sagemaker.s3.inputs",
        "there is none, and no Body",
        "expected one of the keys",
    ]) {
        assert_eq!(refused["exception"], "ValidationError", "{refused}");
        let message = refused["message"].as_str().expect("text");
        assert!(message.contains(words), "{message}");
    }
    let (_, ended) = client.next().await;
    for answered in &ended[..2] {
        assert!(answered["output"]["order"].is_u64(), "{answered}");
        assert_eq!(answered["failure"], Value::Null);
    }
    for (failed, (code, words)) in ended[2..7].iter().zip([
        (
            "ValidationError",
            "s3://inputs/ours/none.json cannot be read: NoSuchKey",
        ),
        ("ValidationError", "and at most 5000 are read"),
        ("ModelError", "expected a JSON object"),
        ("ModelError", "Received 404 from the model"),
        ("ValidationError", "s3://nowhere/x cannot be read"),
    ]) {
        assert_eq!(failed["output"], Value::Null, "{failed}");
        assert_eq!(failed["failure"]["Code"], code, "{failed}");
        let message = failed["failure"]["Message"].as_str().expect("text");
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(ended[5]["failure"]["OriginalStatusCode"], 404);
    // The name is taken, and its object stays as it is.
    let (client, begun) = Client::start(&service, &aws, &json!([named("second")]))
        .next()
        .await;
    assert_eq!(
        begun[0]["OutputLocation"],
        "s3://answers/of/ours/day/1/mine.json"
    );
    drop(client);
    let failure = begun[0]["FailureLocation"].as_str().expect("a place");
    let failure = failure.strip_prefix("s3://answers/").expect("a place");
    let there = tidegate_tests::eventually("it failed", async || {
        let written = aws.written();
        written.iter().any(|key| key == failure).then_some(written)
    });
    let mine = there
        .await
        .iter()
        .filter(|key| key.ends_with("mine.json"))
        .count();
    assert_eq!(mine, 1, "written once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_and_failures_are_objects_on_one_machine() {
    answers_and_failures_are_objects(Kept::Here).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_and_failures_are_objects_on_a_shared_store() {
    answers_and_failures_are_objects(Kept::Shared).await;
}

/// Kills at moments that move over the work on forty requests.
async fn kills_lose_nothing_and_write_each_answer_once(kept: Kept) {
    const CALLS: usize = 40;
    let (aws, harness) = (Aws::start(), harness().await);
    let mut services = vec![aws.service("first", &harness, kept).await];
    if kept == Kept::Shared {
        services.push(aws.service("second", &harness, kept).await);
    }
    aws.put("ours/good.json", r#"{"input": "x", "service_ms": 200}"#);
    let mut calls = vec![at("ours/good.json"); CALLS / 2];
    let body = json!({"endpoint": "timed", "body": {"input": "x", "service_ms": 200}});
    calls.resize(CALLS, body);
    let (client, begun) = Client::start(&services[0], &aws, &json!(calls))
        .next()
        .await;
    assert!(begun.iter().all(|one| one["status"] == 202), "{begun:?}");
    let _worker = harness.timed_worker("one", &["--slots", "4"]).await;
    for milliseconds in [50, 400, 900] {
        for service in &mut services {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            service.process.kill();
            service.restart().await;
        }
    }
    let (_, ended) = client.next().await;
    for answered in &ended {
        assert!(answered["output"]["order"].is_u64(), "{answered}");
        assert_eq!(answered["failure"], Value::Null);
    }
    let mut written = aws.written();
    let all = written.len();
    written.sort();
    written.dedup();
    assert_eq!((written.len(), all), (CALLS, CALLS), "each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_nothing_on_one_machine() {
    kills_lose_nothing_and_write_each_answer_once(Kept::Here).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_nothing_on_a_shared_store() {
    kills_lose_nothing_and_write_each_answer_once(Kept::Shared).await;
}

/// A service that may write answers, and may not read the input.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_permission_is_a_failure_that_says_so() {
    let (aws, harness) = (Aws::start(), harness().await);
    aws.put("ours/good.json", r#"{"input": "x"}"#);
    let moto = &aws.moto;
    moto.call("iam", "create_user", &json!({"UserName": "service"}));
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::answers/*"}],
    });
    let policy =
        json!({"UserName": "service", "PolicyName": "write", "PolicyDocument": policy.to_string()});
    moto.call("iam", "put_user_policy", &policy);
    let keys = moto.call("iam", "create_access_key", &json!({"UserName": "service"}));
    let text = |name: &str| keys["AccessKey"][name].as_str().expect("a key").to_owned();
    let mut environment = ENVIRONMENT.to_vec();
    environment[0].1 = text("AccessKeyId").leak();
    environment[1].1 = text("SecretAccessKey").leak();
    let _worker = harness.timed_worker("one", &[]).await;
    let service = aws
        .service_of("one", &harness, Kept::Here, &environment)
        .await;
    moto.check_signatures();
    let calls = json!([at("ours/good.json")]);
    let (client, begun) = Client::start(&service, &aws, &calls).next().await;
    drop(client);
    let failure = begun[0]["FailureLocation"].as_str().expect("a place");
    let name = failure.rsplit('/').next().expect("a name");
    let log = harness.dir.path().join("one/batch.log");
    let said = tidegate_tests::eventually("it failed", async || {
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        log.contains("AccessDenied").then_some(log)
    });
    assert!(
        said.await
            .contains("InputLocation s3://inputs/ours/good.json cannot be read"),
        "{name}"
    );
}

/// The queue of one machine takes nothing that has no place for its answer.
#[tokio::test]
async fn a_shared_store_without_a_place_for_answers_says_what_is_missing() {
    let (aws, harness) = (Aws::start(), harness().await);
    let more = format!(
        "{}[shared]\nbucket = 'batches'\nqueue = '{}'\nendpoint = '{}'\nregion = '{REGION}'\n",
        signed_config(&harness),
        aws.queue,
        aws.moto.url
    );
    let service = Batches::start_named("one", &harness, &more, &ENVIRONMENT).await;
    let calls = json!([{"endpoint": "timed", "body": {"input": "x"}}]);
    let (_, begun) = Client::start(&service, &aws, &calls).next().await;
    let message = begun[0]["message"].as_str().expect("text");
    assert!(message.contains("sagemaker.s3.output"), "{message}");
}
