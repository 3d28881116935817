//! The container fleet against an engine in memory; `tests/docker` has a real one.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tidegate_control::Time;
use tidegate_policy::{ContainerRules, PolicyFile};
use tidegate_scaler::fleet::container::ContainerFleet;
use tidegate_scaler::fleet::{Fleet, FleetError};
use tidegate_scaler::ledger::{Entry, Ledger, LedgerRules, Outcome};

use crate::daemon::{Daemon, free_port, metrics_with, policy};
use crate::fake_engine::{CREATED_S, FakeEngine};
use crate::stage::{FakeProxy, eventually_async};

/// Just after the engine made what it made.
const NOW: Time = Time::from_ms(CREATED_S * 1000 + 500);

/// The rules of the policy beside the compose file.
pub fn rules(engine: &FakeEngine) -> ContainerRules {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/policy-compose.toml");
    let file: PolicyFile = tidegate_config::load(&file).unwrap_or_else(|error| panic!("{error}"));
    ContainerRules {
        socket: engine.socket.clone(),
        ..file.container.expect("it is for containers")
    }
}

fn fleet_of(rules: ContainerRules) -> ContainerFleet {
    ContainerFleet::new(rules, vec!["http://proxy:9090".to_owned()], 0)
}

fn start() -> (FakeEngine, ContainerFleet) {
    let engine = FakeEngine::start();
    let fleet = fleet_of(rules(&engine));
    (engine, fleet)
}

async fn members(fleet: &mut ContainerFleet) -> Vec<(String, bool)> {
    let status = fleet.describe(NOW).await.expect("it can be seen");
    let members = status.members.into_iter();
    members.map(|member| (member.id, member.leaving)).collect()
}

#[tokio::test]
async fn a_worker_may_read_what_it_needs_and_write_nothing() {
    let (engine, mut fleet) = start();
    let launched = fleet.grow(NOW, 1).await.expect("it starts");
    assert_eq!(launched, ["tidegate-worker-1"]);
    let shelf = engine.shelf();
    let body = &shelf.containers.values().next().expect("one").body;
    assert_eq!(
        body["Cmd"],
        json!([
            "serve",
            "--id",
            "tidegate-worker-1",
            "--listen",
            "0.0.0.0:8080",
            "--model",
            "/models/all-MiniLM-L6-v2.int8.safetensors",
            "--name",
            "all-MiniLM-L6-v2",
            "--token-file",
            "/run/worker/token",
            "--proxy",
            "http://proxy:9090",
        ])
    );
    assert_eq!(body["Labels"]["tidegate.fleet"], "tidegate-worker");
    let host = &body["HostConfig"];
    assert_eq!(host["ReadonlyRootfs"], true);
    assert_eq!(host["CapDrop"], json!(["ALL"]));
    assert_eq!(host["SecurityOpt"], json!(["no-new-privileges"]));
    assert_eq!(host["NetworkMode"], "tidegate-fleet");
    assert_eq!(host["NanoCpus"], 1_000_000_000);
    assert_eq!(
        (&host["Memory"], &host["MemorySwap"]),
        (&json!(512 << 20), &json!(512 << 20))
    );
    let mounts = host["Mounts"].as_array().expect("mounts");
    assert_eq!(mounts.len(), 2);
    assert!(
        mounts.iter().all(|mount| mount["ReadOnly"] == true),
        "{mounts:?}"
    );
}

#[tokio::test]
async fn a_restarted_scaler_goes_on_with_its_containers_and_touches_no_others() {
    let (engine, mut before) = start();
    before.grow(NOW, 2).await.expect("they start");
    before.close().await;
    engine.put("somebody-elses", json!({}));
    engine.put("other-7", json!({"tidegate.fleet": "other"}));

    let mut fleet = fleet_of(rules(&engine));
    let own = [1, 2].map(|n| (format!("tidegate-worker-{n}"), false));
    assert_eq!(members(&mut fleet).await, own);
    let launched = fleet.grow(NOW, 1).await.expect("it starts");
    assert_eq!(launched, ["tidegate-worker-3"], "no name is used twice");
    for foreign in ["somebody-elses", "other-7"] {
        let refused = fleet.remove(foreign).await;
        assert!(
            matches!(refused, Err(FleetError::Unknown { .. })),
            "{foreign}"
        );
    }
    assert_eq!(engine.shelf().signals, []);
}

#[tokio::test]
async fn exactly_the_named_worker_is_told_to_stop_and_killed_after_its_limit() {
    let engine = FakeEngine::start();
    let limit = Duration::from_millis(200);
    let mut fleet = fleet_of(ContainerRules {
        stop_limit: limit.into(),
        ..rules(&engine)
    });
    fleet.grow(NOW, 2).await.expect("they start");
    let (named, other) = (
        "tidegate-worker-1".to_owned(),
        "tidegate-worker-2".to_owned(),
    );
    for _ in 0..2 {
        fleet
            .remove(&named)
            .await
            .expect("once more changes nothing");
    }
    assert_eq!(
        members(&mut fleet).await,
        [(named.clone(), true), (other.clone(), false)]
    );
    let events = (named.clone(), "SIGTERM".to_owned());
    assert_eq!(engine.shelf().signals, std::slice::from_ref(&events));
    tokio::time::sleep(limit).await;
    members(&mut fleet).await;
    assert_eq!(
        engine.shelf().signals,
        [events, (named.clone(), "SIGKILL".to_owned())]
    );

    engine.end(&named, 137);
    let status = fleet.describe(NOW).await.expect("it can be seen");
    let ended = &status.ended[0];
    assert_eq!(
        (&ended.id, ended.asked, ended.killed_after),
        (&named, true, Some(limit))
    );
    assert_eq!(members(&mut fleet).await, [(other, false)]);
    assert_eq!(engine.shelf().containers.len(), 1, "nothing is left of it");
}

#[tokio::test]
async fn one_that_was_told_to_stop_before_a_restart_is_killed_when_its_limit_is_over() {
    let engine = FakeEngine::start();
    let mut before = fleet_of(rules(&engine));
    before.grow(NOW, 3).await.expect("they start");
    let [one, two, three] = [1, 2, 3].map(|n| format!("tidegate-worker-{n}"));
    before.remove(&one).await.expect("it is removed");
    before.remove(&two).await.expect("it is removed");
    drop(before);
    engine.shelf().signals.clear();

    let mut fleet = fleet_of(ContainerRules {
        stop_limit: tidegate_config::Duration::from_secs(40),
        ..rules(&engine)
    });
    let seconds = |s: u64| NOW + Duration::from_secs(s);
    let events = [(one.clone(), seconds(0)), (two.clone(), seconds(20))];
    fleet.recall(&events.into());
    let status = fleet.describe(seconds(40)).await.expect("it can be seen");
    let leaving = status.members.iter().map(|m| (m.id.clone(), m.leaving));
    assert_eq!(
        leaving.collect::<Vec<_>>(),
        [(one.clone(), true), (two.clone(), true), (three, false)]
    );
    let killed = (one.clone(), "SIGKILL".to_owned());
    assert_eq!(engine.shelf().signals, [killed]);
    fleet.remove(&two).await.expect("it was removed already");
    assert_eq!(engine.shelf().signals.len(), 1);
    engine.end(&one, 137);
    let status = fleet.describe(seconds(41)).await.expect("it can be seen");
    let ended = &status.ended[0];
    assert_eq!((&ended.id, ended.asked), (&one, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scaler_kills_who_its_ledger_says_was_told_to_stop_long_ago() {
    let engine = FakeEngine::start();
    let labels = json!({"tidegate.fleet": "tidegate-worker"});
    engine.put("tidegate-worker-1", labels.clone());
    engine.put("tidegate-worker-2", labels);
    let proxy = FakeProxy::start().await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let port = free_port();
    let file = policy(&directory, &proxy.url, port, "exit 1");
    let text = std::fs::read_to_string(&file).expect("the policy");
    let (text, _) = text.split_once("[process]").expect("it has workers");
    let text = text.replace("kind = \"process\"", "kind = \"container\"");
    let container = format!(
        "[container]\nimage = 'worker'\nnetwork = 'fleet'\nmodel = '/m'\n\
         token_file = '/token'\nsocket = '{}'\nstop_limit = '40s'\n",
        engine.socket.display()
    );
    std::fs::write(&file, text + &container).expect("it is written");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = Time::from_ms(now.expect("after 1970").as_millis() as u64);
    let mut ledger = Ledger::open(LedgerRules {
        file: directory.path().join("ledger.jsonl"),
        bytes: 1 << 20,
        kept: 1,
    })
    .expect("it opens");
    for (id, seconds) in [("tidegate-worker-1", 50), ("tidegate-worker-2", 5)] {
        let outcome = Entry::Outcome(Outcome {
            removed: vec![id.to_owned()],
            ..Outcome::default()
        });
        let at = now - Duration::from_secs(seconds);
        ledger.write(at, outcome).expect("it is written");
    }
    drop(ledger);
    let arguments = ["run", "--policy", file.to_str().unwrap_or_default()];
    let _daemon = Daemon::start(&arguments, directory.path());
    let kills = || {
        let signals = engine.shelf().signals.clone();
        let kills = signals
            .into_iter()
            .filter(|(_, signal)| signal == "SIGKILL");
        kills.map(|(name, _)| name).collect::<Vec<_>>()
    };
    eventually_async("a kill", async || (!kills().is_empty()).then_some(())).await;
    metrics_with(port, "tidegate_scaler_ticks_total ").await;
    assert_eq!(kills(), ["tidegate-worker-1"], "the other has time left");
}

#[tokio::test]
async fn an_end_is_told_once_and_how_it_came() {
    let (engine, mut fleet) = start();
    fleet.grow(NOW, 2).await.expect("they start");
    members(&mut fleet).await;
    engine.end("tidegate-worker-1", 78);
    engine.end("tidegate-worker-2", 0);
    let status = fleet.describe(NOW).await.expect("it can be seen");
    let events = status.ended.iter().map(|end| (end.how.as_str(), end.asked));
    // One that ends well was stopped by someone.
    assert_eq!(
        events.collect::<Vec<_>>(),
        [("exit code 78", false), ("exit code 0", true)]
    );
    let again = fleet.describe(NOW).await.expect("it can be seen");
    assert!(
        again.ended.is_empty() && again.members.is_empty(),
        "{again:?}"
    );
}

#[tokio::test]
async fn what_ended_while_nobody_looked_is_cleared_away_and_not_told() {
    let (engine, mut before) = start();
    before.grow(NOW, 1).await.expect("it starts");
    engine.end("tidegate-worker-1", 137);
    let status = fleet_of(rules(&engine)).describe(NOW).await;
    let status = status.expect("it can be seen");
    assert!(
        status.ended.is_empty() && status.members.is_empty(),
        "{status:?}"
    );
    assert!(engine.shelf().containers.is_empty());
}

#[tokio::test]
async fn a_start_that_the_engine_refuses_is_said_in_its_words_and_leaves_nothing() {
    let (engine, mut fleet) = start();
    engine.shelf().refuses_starts = Some("network tidegate-fleet not found");
    let refused = fleet
        .grow(NOW, 1)
        .await
        .expect_err("nothing starts")
        .to_string();
    assert!(refused.contains("cannot start a container"), "{refused}");
    assert!(
        refused.contains("network tidegate-fleet not found"),
        "{refused}"
    );
    assert!(engine.shelf().containers.is_empty());
}

#[tokio::test]
async fn a_container_that_was_never_started_counts_for_a_while() {
    let (engine, mut fleet) = start();
    engine.put(
        "tidegate-worker-9",
        json!({"tidegate.fleet": "tidegate-worker"}),
    );
    (engine.shelf().containers.values_mut()).for_each(|container| container.state = "created");
    assert_eq!(members(&mut fleet).await.len(), 1);
    let status = fleet.describe(NOW + Duration::from_secs(16)).await;
    let status = status.expect("it can be seen");
    assert!(status.members.is_empty(), "{status:?}");
    assert_eq!(status.ended.len(), 1);
    assert!(engine.shelf().containers.is_empty());
}

#[tokio::test]
async fn an_engine_that_is_away_is_named_and_found_again() {
    let engine = FakeEngine::start();
    let mut fleet = fleet_of(ContainerRules {
        socket: "/nowhere/docker.sock".into(),
        ..rules(&engine)
    });
    let away = fleet
        .describe(NOW)
        .await
        .expect_err("nobody is there")
        .to_string();
    assert!(
        away.contains("cannot be reached at /nowhere/docker.sock"),
        "{away}"
    );

    let mut fleet = fleet_of(rules(&engine));
    fleet.grow(NOW, 1).await.expect("it starts");
    let moved = engine.socket.with_extension("moved");
    std::fs::rename(&engine.socket, &moved).expect("the socket goes");
    fleet.describe(NOW).await.expect_err("nobody is there");
    std::fs::rename(&moved, &engine.socket).expect("and comes back");
    assert_eq!(members(&mut fleet).await.len(), 1);
}

#[tokio::test]
async fn an_engine_that_does_not_answer_holds_no_tick_longer_than_its_limit() {
    let engine = FakeEngine::start();
    engine.shelf().hangs = true;
    let mut fleet = fleet_of(ContainerRules {
        timeout: tidegate_config::Duration::from_millis(200),
        ..rules(&engine)
    });
    let began = std::time::Instant::now();
    let late = fleet
        .describe(NOW)
        .await
        .expect_err("no answer comes")
        .to_string();
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert!(late.contains("has not answered within 200ms"), "{late}");
    engine.shelf().hangs = false;
    assert_eq!(members(&mut fleet).await, []);
}
