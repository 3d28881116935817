//! What every kind of fleet must do: clauses, run against each kind, and a table of which hold where.
//!
//! A new kind of fleet is one more [`Testbed`]. What a fleet does not offer, by its capabilities,
//! is a dash in the table; a clause of the core may not be.

mod clauses;
mod testbeds;

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tidegate_control::Time;
use tidegate_scaler::fleet::{Ended, Fleet, FleetStatus, Notice};

use clauses::{CLAUSES, Clause};
pub use testbeds::create_group;
use tidegate_tests::{ENVIRONMENT, Moto};

/// A fleet of one kind, empty at first, with room for [`ROOM`] members and no more, and ways to
/// meddle with it.
#[async_trait]
pub trait Testbed: Send {
    fn fleet(&mut self) -> &mut dyn Fleet;

    /// A second passes for the fleet; how long that really takes is the testbed's business.
    async fn pass(&mut self) -> Time;

    /// Somebody else ends a member. `false` where that cannot be done.
    async fn end_by_others(&mut self, id: &str) -> bool;

    /// Somebody else asks for this many members. `false` where nobody else can.
    async fn size_by_others(&mut self, count: u32) -> bool;
}

/// Members that a testbed's fleet takes.
pub const ROOM: u32 = 4;

/// How long anything may take, in the fleet's seconds.
const PATIENCE: u32 = 400;

/// A kind of fleet, and how to get one.
pub struct Kind {
    name: &'static str,
    make: Box<dyn Fn() -> Making + Send + Sync>,
}

type Making = BoxFuture<'static, Box<dyn Testbed>>;

impl Kind {
    pub fn new<G, F>(name: &'static str, make: impl Fn() -> F + Send + Sync + 'static) -> Kind
    where
        G: Testbed + 'static,
        F: Future<Output = G> + Send + 'static,
    {
        let make = move || -> Making {
            let testbed = make();
            Box::pin(async { Box::new(testbed.await) as Box<dyn Testbed> })
        };
        let make = Box::new(make);
        Kind { name, make }
    }
}

/// What became of a clause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Holds,
    /// It says itself that it does not offer this.
    NotOffered,
    /// Nothing there can bring it about.
    NotTried,
}

/// A clause's run: a testbed, and what its fleet said so far.
pub struct Run {
    testbed: Box<dyn Testbed>,
    now: Time,
    pub ended: Vec<Ended>,
    pub notices: Vec<Notice>,
}

impl Run {
    pub fn fleet(&mut self) -> &mut dyn Fleet {
        self.testbed.fleet()
    }

    pub async fn status(&mut self) -> FleetStatus {
        self.now = self.testbed.pass().await;
        let status = self.testbed.fleet().describe(self.now).await;
        let status = status.unwrap_or_else(|error| panic!("it cannot be seen: {error}"));
        self.ended.extend(status.ended.iter().cloned());
        self.notices.extend(status.notices.iter().cloned());
        status
    }

    /// Members that stay.
    pub async fn here(&mut self) -> Vec<String> {
        staying(&self.status().await)
    }

    pub async fn grow(&mut self, count: u32) -> Vec<String> {
        let grown = self.testbed.fleet().grow(self.now, count).await;
        grown.unwrap_or_else(|error| panic!("it does not grow: {error}"))
    }

    /// Describes until the status is as wanted.
    pub async fn until(&mut self, what: &str, is_so: impl Fn(&FleetStatus) -> bool) -> FleetStatus {
        for _ in 0..PATIENCE {
            let status = self.status().await;
            if is_so(&status) {
                return status;
            }
        }
        panic!("{what}: not within {PATIENCE} s");
    }

    /// Grows to `count` members with names of their own.
    pub async fn grown(&mut self, count: u32) -> Vec<String> {
        self.status().await;
        self.grow(count).await;
        let is_named = |id: &String| !id.starts_with("launch-");
        let named = move |status: &FleetStatus| staying(status).iter().all(is_named);
        let status = self.until("they have names", named).await;
        let here = staying(&status);
        assert_eq!(here.len() as u32, count, "{here:?}");
        here
    }
}

pub fn staying(status: &FleetStatus) -> Vec<String> {
    let staying = status.members.iter().filter(|member| !member.leaving);
    let mut ids: Vec<String> = staying.map(|member| member.id.clone()).collect();
    ids.sort();
    ids
}

/// Runs a clause on a testbed of its own. A failure is said in the words of the panic.
async fn verdict(kind: &Kind, clause: &'static Clause) -> Result<Verdict, String> {
    let testbed = (kind.make)().await;
    let task = tokio::spawn(async move {
        let (now, ended, notices) = (Time::default(), Vec::new(), Vec::new());
        let mut run = Run {
            testbed,
            now,
            ended,
            notices,
        };
        let verdict = (clause.run)(&mut run).await;
        run.fleet().close().await;
        verdict
    });
    let limit = Duration::from_secs(60);
    let Ok(ended) = tokio::time::timeout(limit, task).await else {
        return Err(format!("not within {limit:?}"));
    };
    ended.map_err(|error| match error.try_into_panic() {
        Ok(panic) => panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "it panicked".to_owned()),
        Err(error) => error.to_string(),
    })
}

/// The table, and what failed.
async fn table(kinds: &[Kind]) -> (String, Vec<String>) {
    let mut table = format!("\n{:52}", "clause (* of the core)");
    for kind in kinds {
        let _ = write!(table, " {:>10}", kind.name);
    }
    let mut failures = Vec::new();
    for clause in &CLAUSES {
        let star = if clause.is_core { "*" } else { " " };
        let _ = write!(table, "\n{star} {:50}", clause.name);
        for kind in kinds {
            let verdict = verdict(kind, clause).await;
            let is_missed = clause.is_core && verdict != Ok(Verdict::Holds);
            let cell = match &verdict {
                Ok(Verdict::Holds) => "holds",
                Ok(Verdict::NotOffered) => "-",
                Ok(Verdict::NotTried) => "not tried",
                Err(_) => "FAILS",
            };
            let _ = write!(table, " {cell:>10}");
            if is_missed || verdict.is_err() {
                failures.push(format!("{} on {}: {verdict:?}", clause.name, kind.name));
            }
        }
    }
    (table, failures)
}

/// The SDK takes credentials from the environment, so this is a process with some.
#[test]
fn every_fleet_keeps_the_clauses_of_the_core() {
    let own = std::env::current_exe().expect("the path of this test");
    let mut command = Command::new(own);
    command.args([
        "conformance::the_table",
        "--exact",
        "--ignored",
        "--nocapture",
    ]);
    let output = command.envs(ENVIRONMENT).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    // Past the test's capture: the table is for people.
    let lines = said.lines().skip_while(|line| !line.starts_with("clause"));
    let table: Vec<&str> = lines.take(1 + CLAUSES.len()).collect();
    let _ = writeln!(std::io::stderr(), "\n{}\n", table.join("\n"));
    assert!(output.status.success(), "{said}");
    assert_eq!(table.len(), 1 + CLAUSES.len(), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the test above"]
async fn the_table() {
    let moto = Arc::new(Moto::start());
    let (table, failures) = table(&testbeds::here(moto)).await;
    let _ = writeln!(std::io::stderr(), "{table}");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The same clauses, for containers of a real engine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an engine and the images: `make test-docker`"]
async fn containers_of_an_engine_keep_them_too() {
    let (table, failures) = table(&testbeds::in_engine()).await;
    let _ = writeln!(std::io::stderr(), "{table}");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
