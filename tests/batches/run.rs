//! `tidegate-batch run IN OUT`.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use tidegate_tests::{Harness, HarnessConfig, Process, binary, eventually};

use crate::service::{id, input};

fn command(harness: &Harness, input: &Path, output: &Path) -> Command {
    let mut command = Command::new(binary("tidegate-batch"));
    command.arg("run").arg(input).arg(output);
    command.args(["--proxy", &format!("http://{}", harness.listen)]);
    command
}

async fn finish(mut command: Command) -> Output {
    let run = tokio::task::spawn_blocking(move || command.output());
    run.await.expect("it runs").expect("it runs")
}

fn lines(output: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(output).expect("the output is there");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[tokio::test]
async fn a_killed_run_goes_on_and_its_output_is_whole_or_not_there() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("one", &["--slots", "8"]).await;
    let file = input(harness.dir.path(), 600, 10);
    let output = harness.dir.path().join("out.jsonl");
    let journal = harness.dir.path().join("out.jsonl.journal");
    for answered in [100, 300] {
        let mut command = command(&harness, &file, &output);
        let mut run = Process::start("run", &mut command, harness.dir.path().join("run.log"));
        eventually("some lines are answered", async || {
            let text = std::fs::read_to_string(&journal).unwrap_or_default();
            (text.lines().count() > answered).then_some(())
        })
        .await;
        run.kill();
        assert!(!output.exists(), "half an output");
    }
    let ended = finish(command(&harness, &file, &output)).await;
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}");
    assert!(
        said.contains("going on: ") && said.contains("600 lines, 600 answered"),
        "{said}"
    );
    assert!(!said.contains('\r'), "no bar where nobody looks: {said}");
    assert!(!journal.exists());
    let answered = lines(&output);
    let ids: Vec<_> = answered
        .iter()
        .map(|line| line["custom_id"].as_str().expect("an id"))
        .collect();
    assert_eq!(ids, (0..600).map(id).collect::<Vec<_>>());

    let again = finish(command(&harness, &file, &output)).await;
    let said = String::from_utf8_lossy(&again.stderr);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        said.contains("exists already; remove it, or use --overwrite"),
        "{said}"
    );
}

#[tokio::test]
async fn an_interrupted_run_says_how_to_go_on_and_notices_another_input() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("one", &["--slots", "2"]).await;
    let file = input(harness.dir.path(), 300, 10);
    let output = harness.dir.path().join("out.jsonl");
    let log = harness.dir.path().join("run.log");
    let mut run = Process::start("run", &mut command(&harness, &file, &output), log);
    eventually("it has begun", async || {
        output
            .with_extension("jsonl.journal")
            .exists()
            .then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    run.interrupt();
    let (status, _) = run.end(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(1));
    assert!(
        run.output()
            .contains("of 300 lines answered; the same command continues from there")
    );

    let other = input(harness.dir.path(), 299, 10);
    let refused = finish(command(&harness, &other, &output)).await;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("holds answers to another input"), "{said}");
}

#[tokio::test]
async fn failed_lines_are_in_the_output_and_in_the_exit_code() {
    let harness = Harness::start(HarnessConfig::default()).await;
    let _worker = harness.timed_worker("one", &[]).await;
    let file = harness.dir.path().join("in.jsonl");
    let line = |id: &str, body: &str| {
        format!(
            "{{\"custom_id\":\"{id}\",\"method\":\"POST\",\"url\":\"/v1/embeddings\",\"body\":{body}}}\n"
        )
    };
    let text = line("a", "{}") + &line("b", "{\"model\": \"none\"}") + &line("c", "{}");
    std::fs::write(&file, text).expect("room");
    let output = harness.dir.path().join("out.jsonl");
    let ended = finish(command(&harness, &file, &output)).await;
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    let statuses: Vec<_> = (lines(&output).iter())
        .map(|line| line["response"]["status_code"].as_u64())
        .collect();
    assert_eq!(statuses, [Some(200), Some(404), Some(200)]);
    let lines = lines(&output);
    let mut ids: Vec<_> = (lines.iter())
        .map(|line| line["response"]["request_id"].as_str().expect("an id"))
        .collect();
    let told = &lines[0]["response"]["body"]["headers"]["x-request-id"];
    assert_eq!(ids[0], told, "by which the worker may log");
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3, "{ids:?}");
    assert!(ids.iter().all(|id| id.len() == 32), "{ids:?}");
}
