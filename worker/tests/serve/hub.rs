//! `--model hf://ORG/NAME@REV`, against a hub on this machine.

use std::path::Path;

use serde_json::json;
use tidegate_tests::eventually;

use crate::fake_hub::{COMMIT, FakeHub, REPOSITORY};
use crate::tiny_model::{self, SLOW, TINY};
use crate::worker::{self, Plan};

/// A worker that fetches its model from `hub` into a cache of the test's own.
fn fetching(hub: &str, cache: &Path) -> Plan {
    let home = tempfile::tempdir().expect("a temporary directory");
    worker::plan(home, format!("hf://{REPOSITORY}@main"))
        .env("HF_ENDPOINT", hub)
        .env("HF_HOME", cache)
}

#[tokio::test]
async fn a_model_is_fetched_once_and_served_without_a_network_afterwards() {
    let files = tiny_model::directory(TINY);
    let cache = tempfile::tempdir().expect("a temporary directory");
    let hub = FakeHub::start(files.path().to_owned(), None).await;
    let url = hub.url.clone();
    let first = fetching(&url, cache.path()).ready().await;
    let (vector, _) = first.embed(json!("the cat")).await;
    assert_eq!(first.get("/v1/models").await.body["data"][0]["id"], "tiny");
    drop(first);

    let downloads = hub.ranges().len();
    let second = fetching(&url, cache.path()).ready().await;
    assert_eq!(
        hub.ranges().len(),
        downloads,
        "the weights were downloaded again"
    );
    drop(second);

    hub.close();
    let offline = fetching(&url, cache.path()).ready().await;
    assert_eq!(offline.embed(json!("the cat")).await.0, vector);
    assert!(
        offline
            .process
            .output()
            .contains("using the model in the cache")
    );
    assert!(
        cache
            .path()
            .join(format!(
                "hub/models--org--tiny/snapshots/{COMMIT}/config.json"
            ))
            .exists()
    );
}

#[tokio::test]
async fn quantize_takes_a_model_from_the_hub_too() {
    let files = tiny_model::directory(TINY);
    let home = tempfile::tempdir().expect("a temporary directory");
    let hub = FakeHub::start(files.path().to_owned(), None).await;
    let out = home.path().join("tiny.int8.safetensors");
    let mut command = worker::command();
    command
        .env("HF_ENDPOINT", &hub.url)
        .env("HF_HOME", home.path())
        .args(["quantize", "--model", &format!("hf://{REPOSITORY}")])
        .arg("--out")
        .arg(&out);
    let ran = tokio::task::spawn_blocking(move || command.output()).await;
    let ran = ran.expect("it ends").expect("it runs");
    assert!(ran.status.success(), "{ran:?}");
    assert!(out.exists());
}

/// Parts are asked for in any order, and what is whole from the beginning is kept: a cut that came
/// before the first part says nothing.
#[tokio::test]
async fn a_download_that_was_cut_goes_on_where_it_stopped() {
    for _ in 0..10 {
        if goes_on_after_a_cut().await {
            return;
        }
    }
    panic!("of ten downloads none began with the first part");
}

/// Cuts a download off, and says whether its first part had come by then.
async fn goes_on_after_a_cut() -> bool {
    const SOME_OF_IT: u64 = 4 << 20;
    let files = tiny_model::directory(SLOW);
    let cache = tempfile::tempdir().expect("a temporary directory");
    let hub = FakeHub::start(files.path().to_owned(), None).await;
    hub.give(SOME_OF_IT);
    let mut cut = fetching(&hub.url, cache.path()).listening().await;
    eventually("the download breaks", async || {
        let output = cut.process.output();
        output.contains("was interrupted").then_some(())
    })
    .await;
    let status = cut.get("/readyz").await.status;
    assert_eq!(status, 503, "it answers while it downloads");
    cut.process.kill();

    let before = hub.ranges();
    hub.give(u64::MAX);
    let worker = fetching(&hub.url, cache.path()).ready().await;
    worker.embed(json!("the cat")).await;
    let after = hub.ranges().split_off(before.len());
    let began = before.contains(&0);
    assert!(!began || !after.contains(&0), "it began again: {after:?}");
    began
}

#[tokio::test]
async fn the_token_opens_a_private_repository_and_its_lack_is_said() {
    let files = tiny_model::directory(TINY);
    let cache = tempfile::tempdir().expect("a temporary directory");
    let hub = FakeHub::start(files.path().to_owned(), Some("hf_secret")).await;
    let (code, output) = fetching(&hub.url, cache.path()).fails().await;
    assert_eq!(code, Some(1), "{output}");
    assert!(
        output.contains("org/tiny@main") && output.contains("401"),
        "{output}"
    );

    let worker = fetching(&hub.url, cache.path())
        .env("HF_TOKEN", "hf_secret")
        .ready()
        .await;
    assert!(!worker.process.output().contains("hf_secret"));
}

#[tokio::test]
async fn a_mirror_that_answers_no_ranges_is_taken_at_its_word() {
    let files = tiny_model::directory(TINY);
    let cache = tempfile::tempdir().expect("a temporary directory");
    let hub = FakeHub::start(files.path().to_owned(), Some("secret")).await;
    hub.answer_whole();
    let url = hub.url.clone();
    let plan = || fetching(&url, cache.path()).env("HF_TOKEN", "secret");
    let first = plan().ready().await;
    let (vector, _) = first.embed(json!("the cat")).await;
    drop(first);
    hub.close();
    let offline = plan().ready().await;
    assert_eq!(offline.embed(json!("the cat")).await.0, vector);
}

/// RFC 9110, section 15.3.7: a server may answer with less than the range asked for.
#[tokio::test]
async fn a_hub_that_answers_less_than_it_was_asked_for_is_not_believed() {
    let files = tiny_model::directory(TINY);
    let cache = tempfile::tempdir().expect("a temporary directory");
    let hub = FakeHub::start(files.path().to_owned(), None).await;
    hub.shorten();
    let worker = fetching(&hub.url, cache.path()).ready().await;
    worker.embed(json!("the cat")).await;
    let snapshot = format!("hub/models--org--tiny/snapshots/{COMMIT}/model.safetensors");
    let kept = std::fs::read(cache.path().join(snapshot)).expect("the weights");
    let whole = std::fs::read(files.path().join("model.safetensors")).expect("the weights");
    assert!(kept == whole, "{} of {} bytes", kept.len(), whole.len());
    let said = worker.process.output();
    assert!(said.contains("other bytes than those asked for"), "{said}");
}
