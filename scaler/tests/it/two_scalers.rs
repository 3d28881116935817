//! Two scalers of one fleet as processes, with their lease in moto's DynamoDB or in a file.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_tests::{ENVIRONMENT, Moto, REGION};

use crate::daemon::{Daemon, WORKER, free_port, metrics_with, policy};
use crate::stage::{FakeProxy, eventually, eventually_async};

/// A place of its own for each scaler, with the same policy but for ports and paths.
struct Place {
    directory: TempDir,
    port: u16,
    file: PathBuf,
    /// What it publishes.
    metrics: PathBuf,
}

impl Place {
    fn new(proxy: &str, lease: &str) -> Place {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let file = policy(&directory, proxy, port, WORKER);
        let metrics = directory.path().join("metrics");
        let table = format!(
            "[cloudwatch]\ninterval = '1s'\nemf = '{}'\n",
            metrics.display()
        );
        let whole = fs::read_to_string(&file).expect("the policy") + lease + &table;
        fs::write(&file, whole).expect("it is written");
        Place {
            directory,
            port,
            file,
            metrics,
        }
    }

    /// Ticks that it has published.
    fn published(&self) -> usize {
        let text = fs::read_to_string(&self.metrics).unwrap_or_default();
        text.matches("\"Heartbeat\":").count()
    }

    async fn publishes_for(&self, intervals: usize) {
        let before = self.published();
        eventually_async("what it publishes", async || {
            (self.published() >= before + intervals).then_some(())
        })
        .await;
    }

    /// Requests of this outcome that it has published.
    fn counted(&self, outcome: &str) -> f64 {
        let text = fs::read_to_string(&self.metrics).unwrap_or_default();
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let ours = lines.filter(|line| line["Outcome"] == outcome);
        ours.filter_map(|line| line["Requests"].as_f64()).sum()
    }

    fn start(&self) -> Daemon {
        let arguments = ["run", "--policy", self.file.to_str().unwrap_or_default()];
        Daemon::start_in(&ENVIRONMENT, &arguments, self.directory.path())
    }
}

fn in_a_file(shared: &TempDir) -> String {
    let path = shared.path().join("scaler.lock");
    format!("[lease]\nkind = 'file'\npath = '{}'\n", path.display())
}

/// A table called `tidegate`, as a lease needs it.
pub fn create_lease_table(moto: &Moto) {
    moto.call(
        "dynamodb",
        "create_table",
        &json!({
            "TableName": "tidegate", "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [{ "AttributeName": "lease", "KeyType": "HASH" }],
            "AttributeDefinitions": [{ "AttributeName": "lease", "AttributeType": "S" }],
        }),
    );
}

/// By the defaults: 10 s, looked at every 2 s.
fn in_dynamodb(moto: &Moto) -> String {
    create_lease_table(moto);
    format!(
        "[lease]\nkind = 'dynamodb'\ntable = 'tidegate'\nkey = 'embeddings'\n\
         region = '{REGION}'\nendpoint_url = '{}'\n",
        moto.url
    )
}

/// One acts and publishes, one watches; the first is told to stop, and the other acts.
async fn one_after_the_other(lease: &str) {
    let proxy = FakeProxy::start().await;
    let (first, second) = (Place::new(&proxy.url, lease), Place::new(&proxy.url, lease));
    let mut one = first.start();
    one.wait_for("holds the lease and acts");
    let two = second.start();
    two.wait_for("only watches");
    metrics_with(first.port, "tidegate_scaler_leader 1").await;
    metrics_with(second.port, "tidegate_scaler_leader 0").await;
    assert!(!two.said().contains("0 -> 1 worker"), "{}", two.said());
    first.publishes_for(3).await;
    assert_eq!(second.published(), 0);
    one.signal(Signal::TERM);
    two.wait_for("holds the lease and acts");
    two.wait_for("0 -> 1 worker");
    metrics_with(second.port, "tidegate_scaler_leader 1").await;
    second.publishes_for(1).await;
    assert_eq!(one.code(), Some(0), "{}", one.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_in_dynamodb_is_one_scaler_s_and_passes_on_at_a_stop() {
    let moto = Moto::start();
    one_after_the_other(&in_dynamodb(&moto)).await;
    let key = json!({ "TableName": "tidegate", "Key": { "lease": { "S": "embeddings" } } });
    let item = moto.call("dynamodb", "get_item", &key);
    assert_eq!(item["Item"]["epoch"]["N"], "2", "{item}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_in_a_file_is_one_scaler_s_and_passes_on_at_a_stop() {
    let shared = tempfile::tempdir().expect("a temporary directory");
    one_after_the_other(&in_a_file(&shared)).await;
}

/// The second scaler has the first one's ledger.
fn sharing_a_ledger(first: &Place, second: &Place) {
    let ledger = |place: &Place| {
        let ledger = place.directory.path().join("ledger.jsonl");
        ledger.display().to_string()
    };
    let policy = fs::read_to_string(&second.file).expect("the policy");
    let policy = policy.replace(&ledger(second), &ledger(first));
    fs::write(&second.file, policy).expect("it is written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_ledger_is_not_for_two_scalers_with_a_lease_or_without() {
    let (proxy, shared) = (
        FakeProxy::start().await,
        tempfile::tempdir().expect("a temporary directory"),
    );
    for lease in ["", &in_a_file(&shared)] {
        let (first, second) = (Place::new(&proxy.url, lease), Place::new(&proxy.url, lease));
        sharing_a_ledger(&first, &second);
        let mut one = first.start();
        one.wait_for("0 -> 1 worker");
        let mut two = second.start();
        assert_eq!(two.code(), Some(1), "{}", two.said());
        let directory = first.directory.path();
        let ledger = directory.join("ledger.jsonl").display().to_string();
        let found = directory.canonicalize().expect("it is there");
        let found = found.join("ledger.jsonl.lock").display().to_string();
        let expected = format!(
            "tidegate-scaler: cannot write the ledger {ledger}: another scaler writes it, as \
             {found} is locked: stop that one, or give each a scaler.ledger of its own\n"
        );
        assert_eq!(two.said(), expected);
        one.kill();
        second.start().wait_for("ticks of its ledger");
    }
}

/// Requests end before the first scaler is gone and after the second acts, `end`ed either way.
async fn requests_are_counted_once(end: impl FnOnce(&mut Daemon)) {
    let (proxy, shared) = (
        FakeProxy::start().await,
        tempfile::tempdir().expect("a temporary directory"),
    );
    let lease = in_a_file(&shared);
    let (first, second) = (
        Place::new(&proxy.url, &lease),
        Place::new(&proxy.url, &lease),
    );
    let both = || (first.counted("answered"), second.counted("answered"));
    let answered = |total: u64| proxy.state().signal.models[0].answered_total = total;
    let mut one = first.start();
    one.wait_for("holds the lease and acts");
    let two = second.start();
    two.wait_for("only watches");
    first.publishes_for(2).await;
    answered(100);
    eventually_async("the first tells of 100", async || {
        (both() == (100.0, 0.0)).then_some(())
    })
    .await;
    end(&mut one);
    two.wait_for("holds the lease and acts");
    second.publishes_for(2).await;
    answered(150);
    eventually_async("the second tells of 50 more", async || {
        (both() == (100.0, 50.0)).then_some(())
    })
    .await;
    second.publishes_for(3).await;
    assert_eq!(both(), (100.0, 50.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_counted_once_by_two_scalers_when_the_first_is_stopped() {
    requests_are_counted_once(|one| one.signal(Signal::TERM)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_counted_once_by_two_scalers_when_the_first_is_killed() {
    requests_are_counted_once(Daemon::kill).await;
}

/// How the scaler that acts is ended.
type End = fn(&mut Daemon);

/// How often each takeover is timed.
const ROUNDS: u32 = 8;

/// How long it takes until the other acts, each time the one that does is ended.
async fn takeovers(proxy: &FakeProxy, lease: &str, end: End) -> Vec<Duration> {
    let places = [Place::new(&proxy.url, lease), Place::new(&proxy.url, lease)];
    let mut acting = places[0].start();
    acting.wait_for("holds the lease and acts");
    let mut times = Vec::new();
    for round in 1..=ROUNDS {
        let next = places[round as usize % 2].start();
        next.wait_for("only watches");
        // At another moment between two looks each time.
        tokio::time::sleep(Duration::from_millis(2000 + u64::from(round) * 370)).await;
        let began = Instant::now();
        end(&mut acting);
        eventually("its turn", || {
            next.said()
                .contains("holds the lease and acts")
                .then_some(())
        });
        times.push(began.elapsed());
        drop(acting);
        acting = next;
    }
    times.sort();
    times
}

/// Figures for docs/scaler.md.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes three minutes and only measures"]
async fn how_long_takeovers_take() {
    let (moto, proxy) = (Moto::start(), FakeProxy::start().await);
    let shared = tempfile::tempdir().expect("a temporary directory");
    let stop: End = |daemon| daemon.signal(Signal::TERM);
    let ends = [("SIGKILL", Daemon::kill as End), ("SIGTERM", stop)];
    for (kind, lease) in [
        ("file", in_a_file(&shared)),
        ("dynamodb", in_dynamodb(&moto)),
    ] {
        for (how, end) in ends {
            let times = takeovers(&proxy, &lease, end).await;
            let [least, median, most] =
                [0, times.len() / 2, times.len() - 1].map(|at| times[at].as_secs_f64());
            println!(
                "{kind:8} {how}: {least:.1} to {most:.1} s, median {median:.1} s, \
                 {ROUNDS} rounds"
            );
        }
    }
}
