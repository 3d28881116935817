//! `run`: the scaler as a daemon, for one fleet or several. Also what `up` shares with it:
//! assembling, ticking, ending.
//!
//! Shutdown: on SIGTERM or SIGINT it stops ticking; a fleet that cannot run without it is stopped, and
//! finishes the requests that it accepted; a second signal stops it at once.

mod accepted;
mod policies;
mod setup;

use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::by_fleet::of_fleet;
use crate::clock::Clock;
use crate::metrics;
use crate::overrides::{Inbox, Requests};
use crate::scaler::Scaler;
use crate::server::{self, LastTick, Others};
use crate::status::Board;
use accepted::AcceptedPolicies;
use policies::Policy;
pub use setup::Setup;
use tidegate_policy::PolicyFile;

const TICK: Duration = Duration::from_secs(1);

/// A configuration that is valid, and not for this command.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("{}: has an [up] table and so is for `tidegate-scaler up --config`", .0.display())]
    ForUp(PathBuf),
    #[error("{}: has no [up] table and so is for `tidegate-scaler run --policy`", .0.display())]
    ForRun(PathBuf),
    #[error(
        "{}: with several policies the file's name is the fleet's, expected 1 to 255 letters, digits and -_. before its extension",
        .0.display()
    )]
    Name(PathBuf),
    #[error("{}", in_lines(.0))]
    Together(Vec<Clash>),
}

/// Two policies that one scaler cannot run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} and {} cannot be run by one scaler: {why}", first.display(), second.display())]
pub struct Clash {
    pub first: PathBuf,
    pub second: PathBuf,
    /// The key that both have, and its value.
    pub why: String,
}

fn in_lines(clashes: &[Clash]) -> String {
    let lines: Vec<String> = clashes.iter().map(Clash::to_string).collect();
    lines.join("\n")
}

/// Whether decisions are acted upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Act,
    /// They are logged, and nothing is done.
    DryRun,
}

/// Reads the policies that one scaler is to run, in order.
///
/// # Errors
/// When one of them cannot be used, or some cannot be run together; nothing is started.
pub fn check(policies: &[PathBuf]) -> anyhow::Result<Vec<PolicyFile>> {
    let policies = policies::load(policies)?.into_iter();
    Ok(policies.map(|policy| policy.file).collect())
}

/// Runs the fleets of these policies until told to stop.
pub async fn run(policies: &[PathBuf], mode: Mode) -> anyhow::Result<()> {
    let policies = policies::load(policies)?;
    let Some(first) = policies.first() else {
        return Ok(());
    };
    let others = Others {
        clients: first.file.scaler.clients.clone(),
        batch: first.file.scaler.batch.clone(),
    };
    let clock = Clock::start();
    let listen = first.file.scaler.listen;
    let files = policies
        .iter()
        .map(|policy| policy.path.display().to_string());
    let files: Vec<String> = files.collect();
    let listener = server::bind(listen, &first.path).await?;
    let handle = metrics::install()?;
    let accepted = AcceptedPolicies::new(&policies);
    let (mut loops, mut ticks, mut inboxes, mut boards) = (vec![], vec![], vec![], vec![]);
    for policy in policies {
        let label = policy.label.clone();
        let fleet_loop = async { FleetLoop::new(policy, accepted.clone(), mode, clock.clone()) };
        let (fleet_loop, inbox) = of_fleet(label.clone(), fleet_loop).await?;
        ticks.push(fleet_loop.ticks.subscribe());
        inboxes.push(inbox);
        boards.push(fleet_loop.setup.board.clone());
        loops.push(of_fleet(label, fleet_loop.work()));
    }
    let server = server::serve(listener, handle, ticks, inboxes, boards, others);
    tracing::info!(
        code = "started",
        "tidegate-scaler {} runs {} on {}",
        env!("CARGO_PKG_VERSION"),
        files.join(", "),
        listen
    );
    join_all(loops).await;
    server.abort();
    Ok(())
}

/// One fleet at work. No fleet_loop waits for another.
struct FleetLoop {
    policy: Policy,
    accepted: AcceptedPolicies,
    setup: Setup,
    scaler: Scaler,
    clock: Clock,
    ticks: LastTick,
    requests: Requests,
    stop: Stop,
    hangup: Signal,
}

impl FleetLoop {
    fn new(
        policy: Policy,
        accepted: AcceptedPolicies,
        mode: Mode,
        clock: Clock,
    ) -> anyhow::Result<(FleetLoop, Inbox)> {
        let board = Board::new(&policy.name);
        let mut setup = Setup::of_file(policy.published(), mode, board);
        let scaler = setup.assemble(&clock)?;
        let (inbox, requests) = Inbox::new(&policy.name, setup.operator_tokens.clone());
        let fleet_loop = FleetLoop {
            policy,
            accepted,
            setup,
            scaler,
            clock,
            ticks: LastTick::new(None),
            requests,
            stop: Stop::new()?,
            hangup: signal(SignalKind::hangup())?,
        };
        Ok((fleet_loop, inbox))
    }

    /// Ticks until told to stop, and ends the fleet.
    async fn work(mut self) {
        let scaler = &mut self.scaler;
        let mut interval = ticking();
        loop {
            tokio::select! {
                _ = interval.tick() => {
                    scaler.follow_clock(self.clock.follow());
                    scaler.tick(self.clock.now()).await;
                    self.ticks.send_replace(Some(Instant::now()));
                }
                Some(request) = self.requests.recv() => request.apply(self.clock.now(), scaler),
                _ = self.hangup.recv() => {
                    self.setup.reload(&self.policy, &self.accepted, scaler);
                }
                () = self.stop.asked() => break,
            }
        }
        tracing::info!(code = "stopping", "stopping");
        close(scaler, &mut self.stop).await;
    }
}

/// One tick a second. A tick that took longer is followed by the next at once, not by several.
pub fn ticking() -> Interval {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Ends the scaler's fleet; when asked to stop once more, without giving it time.
async fn close(scaler: &mut Scaler, stop: &mut Stop) {
    tokio::select! {
        () = scaler.close() => return,
        () = stop.asked() => {}
    }
    scaler.abandon();
    scaler.close().await;
}

/// What asks this process to end.
pub struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    pub fn new() -> std::io::Result<Stop> {
        Ok(Stop {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next time.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
