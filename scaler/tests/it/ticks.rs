//! Ticks of a whole scaler, with proxies that signal what a test says and a fleet in memory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::StatusCode;
use tempfile::TempDir;
use tidegate_config::Tokens;
use tidegate_control::{Bounds, Law, Member, Roster, Time};
use tidegate_scaler::config::PolicyFile;
use tidegate_scaler::event::{Event, Tell};
use tidegate_scaler::fleet::{Census, Ended, Fleet, FleetError, Limits};
use tidegate_scaler::ledger::{Ledger, LedgerRules, fold};
use tidegate_scaler::proxies::Proxies;
use tidegate_scaler::scaler::{Hands, Parts, Scaler};

use crate::stage::{FakeProxy, lock, token_file};

const POLICY: &str = r#"
[fleet]
kind = "process"
min = 1
max = 3
lead_time = "20s"
drain_limit = "20s"

[slo]
latency = "2s"

[[signal]]
name = "requests"
metric = "concurrency"
statistic = "max"
window = "2s"
target_per_worker = 4

[scale_in]
stabilization = "10s"

[proxies]
admin = ["http://replaced.by.the.test"]
token_file = "replaced"

[process]
model = "m"
token_file = "replaced"
"#;

/// A fleet in memory: what it was told, and what a test makes of its members.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    members: Vec<Member>,
    launched: u32,
    ended: Vec<Ended>,
    refuses: bool,
    /// Launched workers crash at once.
    crash: bool,
}

#[async_trait]
impl Fleet for Memory {
    fn limits(&self) -> Limits {
        Limits {
            bounds: Bounds { min: 0, max: 100 },
            why: String::new(),
        }
    }

    async fn describe(&mut self, now: Time) -> Result<Census, FleetError> {
        let mut state = lock(&self.0);
        if state.crash {
            let crashed = std::mem::take(&mut state.members);
            let ended = crashed
                .into_iter()
                .map(|member| end(&member.id, now, false));
            state.ended.extend(ended);
        }
        Ok(Census {
            members: state.members.clone(),
            ended: std::mem::take(&mut state.ended),
        })
    }

    async fn grow(&mut self, now: Time, count: u32) -> Result<Vec<String>, FleetError> {
        let mut state = lock(&self.0);
        if state.refuses {
            return Err(FleetError::Unknown {
                id: "capacity".to_owned(),
            });
        }
        let ids = (0..count).map(|_| {
            state.launched += 1;
            let id = format!("w-{}", state.launched);
            state.members.push(Member {
                id: id.clone(),
                launched: now,
                leaving: false,
            });
            id
        });
        Ok(ids.collect())
    }

    async fn remove(&mut self, id: &str) -> Result<(), FleetError> {
        let mut state = lock(&self.0);
        state.members.retain(|member| member.id != id);
        let ended = end(id, Time::default(), true);
        state.ended.push(ended);
        Ok(())
    }

    async fn close(&mut self) {}

    fn abandon(&mut self) {}
}

fn end(id: &str, _now: Time, asked: bool) -> Ended {
    Ended {
        id: id.to_owned(),
        after: Duration::from_millis(300),
        asked,
        killed_after: None,
        how: "exit code 1".to_owned(),
        log: None,
        last_lines: vec!["the model cannot be loaded".to_owned()],
    }
}

#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Tell for Told {
    fn tell(&mut self, event: &Event) {
        lock(&self.0).push(event.to_string());
    }
}

/// A scaler, what it talks to, and what it said.
struct Stand {
    scaler: Scaler,
    proxies: Vec<FakeProxy>,
    fleet: Memory,
    told: Told,
    second: u64,
    directory: TempDir,
}

impl Stand {
    async fn new(proxies: usize) -> Stand {
        Stand::with_hands(proxies, |fleet| Hands::Free(Box::new(fleet))).await
    }

    async fn with_hands(count: usize, hands: impl FnOnce(Memory) -> Hands) -> Stand {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut proxies = Vec::new();
        for _ in 0..count {
            proxies.push(FakeProxy::start().await);
        }
        let file: PolicyFile = tidegate_config::parse(POLICY, "policy.toml".as_ref())
            .unwrap_or_else(|e| panic!("{e}"));
        let tokens = token_file(directory.path(), "operator.token");
        let tokens = Tokens::read(&tokens).expect("the token is valid");
        let urls = proxies.iter().map(|proxy| proxy.url.clone()).collect();
        let (fleet, told) = (Memory::default(), Told::default());
        let ledger = LedgerRules {
            file: directory.path().join("ledger.jsonl"),
            bytes: 1 << 20,
            kept: 1,
        };
        let scaler = Scaler::new(Parts {
            law: Law::new(file.policy()),
            roster: Roster::default(),
            proxies: Proxies::new(urls, tokens, Duration::from_secs(5)),
            hands: hands(fleet.clone()),
            ledger: Ledger::open(ledger).expect("the ledger opens"),
            tell: Box::new(told.clone()),
        });
        Stand {
            scaler,
            proxies,
            fleet,
            told,
            second: 0,
            directory,
        }
    }

    async fn tick(&mut self) {
        self.second += 1;
        let now = Time::from_ms(1_000_000 + self.second * 1000);
        self.scaler.tick(now).await;
    }

    async fn ticks(&mut self, count: u32) {
        for _ in 0..count {
            self.tick().await;
        }
    }

    /// Ticks until there is a member, for no longer than a breaker waits.
    async fn until_launched(&mut self) {
        for _ in 0..61 {
            self.tick().await;
            if !self.members().is_empty() {
                return;
            }
        }
        panic!("nothing was launched: {:?}", self.told());
    }

    /// Every member beats as ready, at every proxy, with these permits on it.
    fn all_ready(&self, permits: u32) {
        for id in self.members() {
            for proxy in &self.proxies {
                proxy.ready(&id, permits);
            }
        }
    }

    fn load(&self, waiting: u64, in_flight: u64) {
        self.proxies[0].load(waiting, in_flight);
    }

    fn members(&self) -> Vec<String> {
        let state = lock(&self.fleet.0);
        state
            .members
            .iter()
            .map(|member| member.id.clone())
            .collect()
    }

    /// What was said since the last call.
    fn told(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.told.0))
    }

    fn orders(&self, proxy: usize) -> Vec<String> {
        std::mem::take(&mut self.proxies[proxy].desk().orders)
    }

    /// Two workers that serve under load, and then nothing to do.
    async fn two_idle_workers(proxies: usize) -> Stand {
        let mut stand = Stand::new(proxies).await;
        stand.tick().await;
        stand.all_ready(0);
        stand.load(4, 4);
        stand.ticks(2).await;
        stand.all_ready(0);
        stand.ticks(2).await;
        assert_eq!(stand.members(), ["w-1", "w-2"]);
        stand.load(0, 0);
        stand.told();
        stand
    }
}

#[tokio::test]
async fn it_grows_under_load_and_says_why() {
    let mut stand = Stand::new(1).await;
    stand.tick().await;
    stand.all_ready(0);
    stand.load(4, 4);
    stand.ticks(2).await;
    assert_eq!(
        stand.told(),
        [
            "0 -> 1 worker: requests asks for 0 (max 0.0 over 2s, 4 per worker); fleet.min is 1",
            "w-1 is ready after 1.0s",
            "1 -> 2 workers: requests asks for 2 (max 8.0 over 2s, 4 per worker)",
        ]
    );
}

#[tokio::test]
async fn it_drains_at_every_proxy_before_it_removes() {
    let mut stand = Stand::two_idle_workers(2).await;
    stand.proxies[1].permits("w-2", 1);
    stand.proxies[0].permits("w-1", 3);
    stand.ticks(12).await;
    assert_eq!(stand.orders(0), ["drain w-2"]);
    assert_eq!(stand.orders(1), ["drain w-2"]);
    stand.ticks(5).await;
    assert_eq!(stand.members(), ["w-1", "w-2"], "a proxy holds a permit");
    stand.proxies[1].permits("w-2", 0);
    stand.ticks(2).await;
    assert_eq!(stand.members(), ["w-1"]);
    assert_eq!(
        stand.told(),
        [
            "2 -> 1 worker: requests asks for 0 (max 0.0 over 2s, 4 per worker); fleet.min is 1; \
             drains w-2",
            "w-2 has stopped",
        ]
    );
}

#[tokio::test]
async fn a_drain_that_a_proxy_did_not_take_is_given_again() {
    let mut stand = Stand::two_idle_workers(2).await;
    stand.ticks(12).await;
    stand.orders(1);
    let forgets = |stand: &Stand| {
        let mut desk = stand.proxies[1].desk();
        desk.signal
            .workers
            .iter_mut()
            .for_each(|w| w.draining = false);
    };
    stand.proxies[1].permits("w-2", 1);
    forgets(&stand);
    stand.tick().await;
    assert_eq!(stand.orders(1), ["drain w-2"]);
}

#[tokio::test]
async fn a_drain_is_taken_back_when_demand_returns_and_at_its_limit() {
    let mut stand = Stand::two_idle_workers(1).await;
    stand.proxies[0].permits("w-1", 2);
    stand.proxies[0].permits("w-2", 1);
    stand.ticks(12).await;
    assert_eq!(stand.orders(0), ["drain w-2"]);
    stand.load(4, 4);
    stand.ticks(2).await;
    assert_eq!(stand.orders(0), ["undrain w-2"]);
    assert_eq!(stand.members(), ["w-1", "w-2"]);

    stand.load(0, 0);
    stand.ticks(13).await;
    assert_eq!(stand.orders(0), ["drain w-2"]);
    stand.told();
    stand.ticks(20).await;
    assert_eq!(stand.orders(0), ["undrain w-2"]);
    assert_eq!(
        stand.told(),
        [
            "1 -> 2 workers: requests asks for 0 (max 0.0 over 2s, 4 per worker); fleet.min is 1; \
             w-2 did not finish within fleet.drain_limit; takes back w-2"
        ]
    );
}

#[tokio::test]
async fn a_silent_proxy_is_told_once_and_nothing_shrinks_meanwhile() {
    let mut stand = Stand::two_idle_workers(2).await;
    stand.proxies[1].desk().refuses = Some(StatusCode::INTERNAL_SERVER_ERROR);
    stand.ticks(30).await;
    assert_eq!(stand.members(), ["w-1", "w-2"]);
    let url = stand.proxies[1].url.clone();
    assert_eq!(
        stand.told(),
        [format!(
            "{url} gives no signal, so no worker is removed: \
             it answers with 500 Internal Server Error"
        )]
    );
    stand.proxies[1].desk().refuses = None;
    stand.ticks(2).await;
    let told = stand.told();
    assert_eq!(told[0], format!("{url} gives its signal again"));
    assert!(told[1].ends_with("drains w-2"), "{told:?}");
}

#[tokio::test]
async fn faults_of_a_proxy_are_told_apart() {
    let mut stand = Stand::new(1).await;
    stand.proxies[0].desk().refuses = Some(StatusCode::UNAUTHORIZED);
    stand.tick().await;
    assert!(stand.told()[0].ends_with("it refuses the operator token"));
    stand.proxies[0].desk().refuses = None;
    stand.tick().await;
    stand.told();
    stand.proxies[0].desk().signal.version = 7;
    stand.tick().await;
    assert!(stand.told()[0].ends_with("its signal has version 7, expected 1 to 2"));
}

#[tokio::test]
async fn workers_that_crash_at_start_are_told_once_and_started_less_and_less() {
    let mut stand = Stand::new(1).await;
    lock(&stand.fleet.0).crash = true;
    stand.ticks(120).await;
    let told = stand.told();
    let kinds: Vec<_> = told
        .iter()
        .filter(|line| !line.starts_with("0 -> 1"))
        .collect();
    assert_eq!(
        kinds,
        [
            "w-1 ended 0.3s after its start, never ready (exit code 1)\n    \
             the model cannot be loaded",
            "2 starts in a row have failed; tried again after 2.0s, then less often, up to once \
             a minute",
        ]
    );
    let launched = lock(&stand.fleet.0).launched;
    assert!((5..=9).contains(&launched), "{launched} launches");

    lock(&stand.fleet.0).crash = false;
    stand.until_launched().await;
    stand.all_ready(0);
    stand.tick().await;
    let told = stand.told();
    assert_eq!(
        told.last().map(String::as_str),
        Some("starts succeed again")
    );
}

#[tokio::test]
async fn a_fleet_that_cannot_launch_is_told_once_and_asked_again() {
    let mut stand = Stand::new(1).await;
    lock(&stand.fleet.0).refuses = true;
    stand.ticks(30).await;
    let failed = |line: &&String| line.starts_with("no worker could be launched");
    assert_eq!(stand.told().iter().filter(failed).count(), 1);
    lock(&stand.fleet.0).refuses = false;
    stand.until_launched().await;
}

#[tokio::test]
async fn a_worker_that_never_beats_is_replaced() {
    let mut stand = Stand::new(1).await;
    stand.ticks(22).await;
    assert_eq!(stand.members(), ["w-2"]);
    let told = stand.told();
    assert!(
        told[1].ends_with("replaces w-1, which was not ready within 20s (fleet.lead_time)"),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_killed_worker_is_told_and_replaced() {
    let mut stand = Stand::two_idle_workers(1).await;
    stand.load(0, 8);
    stand.tick().await;
    let killed = lock(&stand.fleet.0).members.remove(0);
    let ended = end(&killed.id, Time::default(), false);
    lock(&stand.fleet.0).ended.push(ended);
    stand.tick().await;
    assert_eq!(stand.members(), ["w-2", "w-3"]);
    assert!(stand.told()[0].starts_with("w-1 ended after 0.3s (exit code 1)"));
}

#[tokio::test]
async fn a_dry_run_says_once_what_it_would_do_and_does_nothing() {
    let mut stand = Stand::with_hands(1, |_| Hands::Tied).await;
    stand.proxies[0].ready("w-1", 0);
    stand.load(4, 4);
    stand.ticks(20).await;
    assert_eq!(
        stand.told(),
        ["would do: 1 -> 2 workers: requests asks for 2 (max 8.0 over 2s, 4 per worker)",]
    );
    assert!(stand.members().is_empty() && stand.orders(0).is_empty());
}

#[tokio::test]
async fn every_tick_is_in_the_ledger_with_what_came_of_it() {
    let mut stand = Stand::two_idle_workers(1).await;
    stand.ticks(3).await;
    let file = stand.directory.path().join("ledger.jsonl");
    let now = Time::from_ms(2_000_000);
    let folded = fold(&file, now, Duration::from_secs(3600)).expect("it is read");
    assert_eq!(
        (folded.ticks.len() as u64, folded.unread),
        (stand.second, 0)
    );
    assert_eq!(folded.last_number(), 2);
    let text = std::fs::read_to_string(&file).expect("it is read");
    assert_eq!(text.matches("\"launched\":[\"w-").count(), 2);
    assert!(!text.contains(crate::stage::TOKEN));
}
