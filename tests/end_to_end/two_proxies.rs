//! Two proxies in front of one fleet: the scaler adds up their signals, a worker's slots are used once
//! by both, and while one proxy is silent no worker is removed.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_tests::{
    Answer, Client, Harness, HarnessConfig, Process, Timed, binary, children_of, eventually, within,
};

const SLOTS: usize = 2;

/// A worker is to have three requests at once.
const TARGET: usize = 3;

/// Requests at once through each proxy: 2 workers by either proxy's count, 3 by the sum.
const CONNECTIONS: usize = 4;

/// Both proxies, the scaler that asks them, and its fleet of processes.
struct Scene {
    scaler: Process,
    proxies: [Harness; 2],
    ledger: PathBuf,
    /// Last, so that the processes above have ended before it goes.
    _dir: TempDir,
}

impl Scene {
    async fn start(max: u32) -> Scene {
        let proxies = [
            Harness::start(HarnessConfig::default()).await,
            Harness::start(HarnessConfig::default()).await,
        ];
        let dir = TempDir::new().expect("a directory for the test");
        let (file, ledger) = (
            dir.path().join("policy.toml"),
            dir.path().join("ledger.jsonl"),
        );
        let policy = format!(
            "[fleet]\nkind = 'process'\nmin = 1\nmax = {max}\nlead_time = '5s'\n\
             [slo]\nlatency = '2s'\n\
             [[signal]]\nname = 'concurrency'\nmetric = 'concurrency'\nstatistic = 'mean'\n\
             window = '2s'\ntarget_per_worker = {TARGET}\n\
             [scale_in]\nstabilization = '3s'\n\
             [proxies]\nadmin = ['{}', '{}']\ntoken_file = '{}'\n\
             [scaler]\nlisten = '127.0.0.1:0'\nledger = '{}'\n\
             [process]\nmodel = 'timed'\nbinary = '{}'\ntoken_file = '{}'\noversubscribe = true\n",
            url(&proxies[0]),
            url(&proxies[1]),
            proxies[0].operator_token_file().display(),
            ledger.display(),
            binary("timed-worker").display(),
            proxies[0].worker_token_file().display(),
        );
        std::fs::write(&file, policy).expect("the policy can be written");
        let mut command = Command::new(binary("tidegate-scaler"));
        command.arg("run").arg("--policy").arg(file);
        command.env("TIMED_WORKER_SLOTS", SLOTS.to_string());
        let scaler = Process::start("scaler", &mut command, dir.path().join("scaler.log"));
        let scene = Scene {
            scaler,
            proxies,
            ledger,
            _dir: dir,
        };
        scene.is_known_to_both(1).await;
        scene
    }

    /// Waits until as many workers are ready at both proxies.
    async fn is_known_to_both(&self, workers: usize) {
        for proxy in &self.proxies {
            eventually(&format!("{workers} workers are ready"), async || {
                let signal = proxy.signal().await;
                let taking = signal.workers.iter().filter(|worker| worker.taking);
                (taking.count() >= workers).then_some(())
            })
            .await;
        }
    }

    fn clients(&self) -> [Client; 2] {
        [self.proxies[0].client(), self.proxies[1].client()]
    }

    fn workers(&self) -> usize {
        children_of(self.scaler.id(), "timed-worker").len()
    }

    async fn fleet_is(&self, workers: usize) {
        within(
            Duration::from_secs(40),
            &format!("the fleet has {workers} workers"),
            async || (self.workers() == workers).then_some(()),
        )
        .await;
    }

    /// The ledger's ticks so far. The last line may be half written.
    fn ticks(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.ledger).expect("the ledger can be read");
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        lines
            .filter(|line: &Value| line["kind"] == "tick")
            .collect()
    }

    /// Waits for a tick from `since` on that is like this.
    async fn tick(&self, what: &str, since: usize, mut is: impl FnMut(&Value) -> bool) -> Value {
        within(Duration::from_secs(40), what, async || {
            self.ticks().into_iter().skip(since).find(|tick| is(tick))
        })
        .await
    }

    /// Three workers that serve, and then nothing to do.
    async fn grown_and_idle() -> Scene {
        let scene = Scene::start(3).await;
        let loads = scene
            .clients()
            .map(|client| closed_loop(client, Duration::from_secs(6)));
        let grown = scene.fleet_is(3);
        let (answers, ()) = tokio::join!(join_all(loads), grown);
        none_failed(&answers.concat());
        scene.is_known_to_both(3).await;
        scene
    }

    /// While `silent` is so, the load is gone for long and all workers stay.
    async fn holds_without(&self, silent: usize) {
        let (since, missing) = (self.ticks().len(), json!([url(&self.proxies[silent])]));
        let held = |tick: &Value| {
            let mut guards = tick["decision"]["reason"]["guards"].as_array().into_iter();
            guards.any(|all| all.iter().any(|g| g["partial"]["missing"] == missing))
        };
        self.tick("the ledger says who is missing", since, held)
            .await;
        // Three times as long as it would take to shrink.
        let since = self.ticks().len();
        within(Duration::from_secs(40), "nine ticks more", async || {
            (self.ticks().len() >= since + 9).then_some(())
        })
        .await;
        for tick in self.ticks().iter().skip(since) {
            assert!(held(tick), "{tick}");
            let action = &tick["decision"]["action"];
            assert!(
                action["drain"].is_null() && action["remove"].is_null(),
                "{tick}"
            );
        }
        assert_eq!(self.workers(), 3);
        let other = self.clients()[1 - silent].timed(10).await;
        assert_eq!(other.status, 200, "the other proxy serves on");
    }
}

fn url(proxy: &Harness) -> String {
    format!("http://{}", proxy.admin)
}

/// A few connections that send one request after the other.
async fn closed_loop(client: Client, span: Duration) -> Vec<Answer> {
    let began = Instant::now();
    let connections = (0..CONNECTIONS).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            let mut answers = Vec::new();
            while began.elapsed() < span {
                answers.push(client.timed(100).await);
            }
            answers
        })
    });
    let answers = join_all(connections.collect::<Vec<_>>()).await;
    let answers = answers
        .into_iter()
        .map(|answers| answers.expect("no panic"));
    answers.flatten().collect()
}

fn none_failed(answers: &[Answer]) {
    let failed = answers.iter().find(|answer| answer.status != 200);
    assert!(failed.is_none(), "{failed:?}");
}

/// The most requests that were at the worker at once, by its own clock.
fn most_at_once(answers: &[Timed]) -> usize {
    let mut edges: Vec<(u64, i32)> = Vec::new();
    for answer in answers {
        edges.push((answer.began_us, 1));
        edges.push((answer.ended_us, -1));
    }
    // One that ends frees its slot for one that begins in the same microsecond.
    edges.sort_unstable();
    let mut now = 0;
    let steps = edges.iter().map(|(_, step)| {
        now += step;
        now
    });
    steps.max().unwrap_or(0) as usize
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_both_proxies_say_adds_up_and_the_fleet_grows_for_the_sum() {
    let scene = Scene::start(4).await;
    let loads = scene
        .clients()
        .map(|client| closed_loop(client, Duration::from_secs(8)));
    let ask = |tick: &Value| {
        let ask = &tick["decision"]["reason"]["asks"][0];
        ask["basis"]["measured"]["value"]["value"]
            .as_f64()
            .unwrap_or(0.0)
    };
    let seen = scene.tick("a tick that counts both", 0, |tick| {
        ask(tick) > CONNECTIONS as f64 * 1.7
    });
    let (answers, tick) = tokio::join!(join_all(loads), seen);
    none_failed(&answers.concat());
    let queued_or_running = |proxy: &Value| {
        let seen = &proxy["seen"];
        seen["waiting"].as_u64().unwrap_or(0) + seen["in_flight"].as_u64().unwrap_or(0)
    };
    let proxies = tick["observation"]["proxies"].as_array();
    let counts: Vec<u64> = (proxies.into_iter().flatten())
        .map(queued_or_running)
        .collect();
    assert_eq!(counts.len(), 2, "{tick}");
    let each = |count: &u64| (2..=CONNECTIONS as u64).contains(count);
    assert!(counts.iter().all(each), "{tick}");
    let most = scene.ticks().iter().map(ask).fold(0.0, f64::max);
    assert!(most <= 2.0 * CONNECTIONS as f64, "counted twice: {most}");
    let grown: Vec<u64> = (scene.ticks().iter())
        .filter_map(|tick| tick["decision"]["reason"]["to"].as_u64())
        .collect();
    let most = grown.iter().max().copied();
    assert_eq!(most, Some(3), "8 at once at {TARGET} a worker: {grown:?}");
    scene.fleet_is(1).await;
    for proxy in &scene.proxies {
        let output = proxy.proxy.output();
        assert!(!output.contains("ERROR"), "workers left in order: {output}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_proxies_take_a_worker_s_slots_once_and_lose_no_request() {
    let scene = Scene::start(1).await;
    let requests = scene.clients().into_iter().flat_map(|client| {
        (0..60).map(move |_| {
            let client = client.clone();
            tokio::spawn(async move { client.timed(20).await })
        })
    });
    let answers = join_all(requests.collect::<Vec<_>>()).await;
    let answers: Vec<Timed> = (answers.into_iter())
        .map(|answer| answer.expect("no request panics").timed())
        .collect();
    assert_eq!(most_at_once(&answers), SLOTS);
    let mut orders: Vec<u64> = answers.iter().map(|answer| answer.order).collect();
    orders.sort_unstable();
    assert_eq!(
        orders,
        (1..=120).collect::<Vec<u64>>(),
        "each was served once"
    );
    let address = scene.proxies[0].signal().await.workers[0].address;
    let refused = reqwest::get(format!("http://{address}/refused")).await;
    let refused = refused.expect("the worker answers").text().await;
    let refused: u64 = refused.expect("a number").parse().expect("a number");
    assert!(refused > 0, "both wanted more than there was");
    for proxy in &scene.proxies {
        let model = proxy.signal().await.models[0].clone();
        let ended = (
            model.answered_total,
            model.failed_total,
            model.retries_total,
        );
        assert_eq!(ended, (60, 0, 0), "{refused} refusals cost no try");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_hangs_stops_the_shrinking_until_it_is_back() {
    let scene = Scene::grown_and_idle().await;
    scene.proxies[1].proxy.freeze();
    scene.holds_without(1).await;
    scene.proxies[1].proxy.thaw();
    scene.fleet_is(1).await;
    none_failed(&[scene.clients()[1].timed(10).await]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_was_killed_stops_the_shrinking_until_it_is_back() {
    let mut scene = Scene::grown_and_idle().await;
    scene.proxies[1].proxy.kill();
    scene.holds_without(1).await;
    scene.proxies[1].restart_proxy().await;
    scene.fleet_is(1).await;
    scene.is_known_to_both(1).await;
    none_failed(&[scene.clients()[1].timed(10).await]);
}
