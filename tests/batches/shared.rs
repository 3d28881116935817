//! A store that two machines share: S3 and SQS by moto, and a runner on each.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_tests::{ENVIRONMENT, Harness, HarnessConfig, Moto, REGION, within};

use crate::files;
use crate::service::{Batches, OpenAi, id, ids, input};

pub const BUCKET: &str = "batches";
const ENDPOINT: Option<&str> = Some("/v1/embeddings");

/// moto answers some twenty requests a second on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// A bucket and a queue.
pub struct Aws {
    pub moto: Moto,
    pub queue: String,
}

impl Aws {
    pub fn start() -> Aws {
        let moto = Moto::start();
        let place = json!({"LocationConstraint": REGION});
        let bucket = json!({"Bucket": BUCKET, "CreateBucketConfiguration": place});
        moto.call("s3", "create_bucket", &bucket);
        let queue = moto.call("sqs", "create_queue", &json!({"QueueName": "batches"}));
        let queue = queue["QueueUrl"].as_str().expect("a URL").to_owned();
        Aws { moto, queue }
    }

    pub async fn runner(&self, name: &str, harness: &Harness, more: &str) -> Batches {
        self.runner_at(&self.moto.url, "10s", name, harness, more)
            .await
    }

    /// As [`Aws::runner`], with S3 at another address and a visibility timeout of its own.
    pub async fn runner_at(
        &self,
        s3: &str,
        visibility: &str,
        name: &str,
        harness: &Harness,
        more: &str,
    ) -> Batches {
        let config = format!(
            "{more}\n[shared]\nbucket = '{BUCKET}'\nprefix = 'of/tests'\nqueue = '{}'\n\
             region = '{REGION}'\nendpoint = '{s3}'\npart_lines = 250\nvisibility = '{visibility}'\n",
            self.queue
        );
        Batches::start_named(name, harness, &config, &ENVIRONMENT).await
    }

    /// Replaces an object, by its whole key.
    pub fn put(&self, key: &str, body: &str) {
        let object = json!({"Bucket": BUCKET, "Key": key, "Body": body});
        self.moto.call("s3", "put_object", &object);
    }

    /// Keys in the bucket that begin so.
    pub fn keys(&self, begin: &str) -> Vec<String> {
        let prefix = format!("of/tests/{begin}");
        let listed = json!({"Bucket": BUCKET, "Prefix": prefix});
        let listed = self.moto.call("s3", "list_objects_v2", &listed);
        let keys = listed["Contents"].as_array().cloned().unwrap_or_default();
        let key = |object: Value| object["Key"].as_str().expect("a key").to_owned();
        keys.into_iter().map(key).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_line_is_answered_once_though_two_runners_are_killed() {
    const LINES: u32 = 10_000;
    let aws = Aws::start();
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("one", &["--slots", "32"]).await;
    let mut first = aws.runner("first", &harness, "").await;
    let mut second = aws.runner("second", &harness, "").await;
    let file = input(harness.dir.path(), LINES, 10);
    let mut client = OpenAi::start(&first.url(), "run", &file, ENDPOINT);
    client.begun();
    for most_left in [8000.0, 4000.0] {
        for killed in [&mut first, &mut second] {
            within(PATIENCE, "the batch goes on", async || {
                tokio::time::sleep(Duration::from_millis(500)).await;
                let left = killed.metric("tidegate_batch_lines_waiting").await;
                (left <= most_left).then_some(())
            })
            .await;
            killed.process.kill();
            killed.restart().await;
        }
    }
    let result = client.result().await;
    assert_eq!(result["status"], "completed");
    let expected: Vec<_> = (0..LINES).map(id).collect();
    assert_eq!(ids(&result["output"]), expected, "each once, in order");
    assert_eq!(ids(&result["errors"]), Vec::<String>::new());
    for name in ["first", "second"] {
        let uploads = harness.dir.path().join(name).join("store/uploads");
        // A runner may still be at a part that the other has answered.
        within(PATIENCE, "nothing is left of parts", async || {
            let left = std::fs::read_dir(&uploads).expect("it is there").count();
            (left == 0).then_some(())
        })
        .await;
    }
    for begin in ["work/", "open/"] {
        let left = within(PATIENCE, "it is cleaned up", async || {
            aws.keys(begin).is_empty().then_some(())
        });
        left.await;
    }
    assert_eq!(aws.keys("ended/").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_machine_takes_in_another_shows_and_each_key_sees_its_own() {
    let aws = Aws::start();
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("one", &[]).await;
    let first = aws.runner("first", &harness, "").await;
    let file = input(harness.dir.path(), 50, 2000);
    let client = OpenAi::start(&first.url(), "tour", &file, ENDPOINT);
    files::every_call_is_answered(client).await;
    // A machine that comes later lists what there is.
    let second = aws.runner("second", &harness, "").await;
    let http = reqwest::Client::new();
    let listed = http.get(format!("{}/batches", second.url()));
    let listed = listed.bearer_auth("tg-shop").send().await;
    let listed: Value = listed.expect("it answers").json().await.expect("JSON");
    assert_eq!(listed["data"][0]["status"], "completed", "{listed}");
    let none = http.get(format!("{}/batches", second.url()));
    let none = none.bearer_auth("tg-none").send().await;
    let none: Value = none.expect("it answers").json().await.expect("JSON");
    assert_eq!(none["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_and_expired_batches_say_so_line_by_line() {
    let aws = Aws::start();
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("one", &["--slots", "2"]).await;
    // One part after the other, so that some have their turn after the end was asked for.
    let one = "[batches]\nat_once = 1\n";
    let runner = aws.runner("one", &harness, one).await;
    let file = input(harness.dir.path(), 1000, 20);
    for (act, status, code) in [
        ("cancel", "cancelled", "batch_cancelled"),
        ("expire", "expired", "batch_expired"),
    ] {
        let mut client = OpenAi::start(&runner.url(), act, &file, ENDPOINT);
        client.begun();
        let result = client.result().await;
        assert_eq!(result["status"], status, "{result}");
        let errors = result["errors"].as_array().expect("lines");
        assert!(!errors.is_empty());
        assert!(errors.iter().all(|line| line["error"]["code"] == code));
        let mut all = [ids(&result["output"]), ids(&result["errors"])].concat();
        all.sort_by_key(|id| id[5..].parse::<u32>().expect("a number"));
        assert_eq!(all, (0..1000).map(id).collect::<Vec<_>>(), "each line once");
    }
}

/// A message that was lost is no lost part, and one that is none is no harm.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_whose_messages_were_lost_are_put_into_the_queue_again() {
    let aws = Aws::start();
    let harness = Harness::start(HarnessConfig::default()).await;
    let mut runner = aws.runner("one", &harness, "").await;
    let file = input(harness.dir.path(), 300, 1);
    let mut client = OpenAi::start(&runner.url(), "run", &file, ENDPOINT);
    client.begun();
    runner.process.kill();
    let queue = json!({"QueueUrl": aws.queue});
    aws.moto.call("sqs", "purge_queue", &queue);
    let foreign = json!({"QueueUrl": aws.queue, "MessageBody": "no message of ours"});
    aws.moto.call("sqs", "send_message", &foreign);
    let _worker = harness.timed_worker("one", &[]).await;
    runner.restart().await;
    let result = client.result().await;
    assert_eq!(result["status"], "completed");
    assert_eq!(ids(&result["output"]), (0..300).map(id).collect::<Vec<_>>());
}

/// One object that nobody can read stops nothing but itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_object_and_one_of_a_newer_version_are_named_and_left_alone() {
    let aws = Aws::start();
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("one", &[]).await;
    let runner = aws.runner("one", &harness, "").await;
    let file = input(harness.dir.path(), 20, 1);
    let run = async || {
        let mut client = OpenAi::start(&runner.url(), "run", &file, ENDPOINT);
        client.begun();
        client.result().await["status"].clone()
    };
    assert_eq!(run().await, "completed");
    assert_eq!(run().await, "completed");
    let ended = aws.keys("ended/");
    let bodies = [r#"{"row": {"bat"#, r#"{"version": 2, "rows": []}"#];
    for (key, body) in ended.iter().zip(bodies) {
        aws.put(key, body);
        aws.put(&key.replace("ended/", "open/"), body);
    }
    assert_eq!(run().await, "completed", "another batch goes on");
    let http = reqwest::Client::new();
    let get = async |path: &str| {
        let asked = http.get(format!("{}/batches{path}", runner.url()));
        let answer = asked.bearer_auth("tg-shop").send().await;
        let answer: Value = answer.expect("it answers").json().await.expect("JSON");
        answer
    };
    let listed = get("").await;
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(runner.metric("tidegate_batch_unfinished").await, 0.0);
    let said = runner.process.output();
    let newer = "was written by a newer version of tidegate-batch (version 2";
    for (key, code, words) in [
        (
            &ended[0],
            "store_damaged",
            "is not as this version writes it",
        ),
        (&ended[1], "store_newer", newer),
    ] {
        let id = key.rsplit('/').next().expect("an id");
        let refused = get(&format!("/{id}")).await;
        assert_eq!(refused["error"]["code"], code, "{refused}");
        let words = format!("the object ended/{} {words}", id_owner(key));
        assert!(said.contains(&words), "{said}");
    }
}

/// The owner and the name behind `ended/`.
fn id_owner(key: &str) -> &str {
    key.split_once("ended/").expect("a key").1
}

#[tokio::test]
async fn half_a_shared_store_is_refused() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let directory = harness.dir.path();
    let more = "[shared]\nbucket = 'b'\n";
    let listen = crate::service::free_address();
    let mut command = crate::service::command(directory, listen, harness.listen, more);
    let refused = command.output().expect("it runs");
    assert_eq!(refused.status.code(), Some(78));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("shared.queue: found nothing"), "{said}");
}
