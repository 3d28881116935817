//! The parts of a scaler, read at its start and again at SIGHUP.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use tidegate_config::Tokens;
use tidegate_control::{FleetKind, Law, Roster};

use super::Mode;
use super::accepted::AcceptedPolicies;
use super::policies::Policy;
use crate::aws;
use crate::aws::autoscaling::AwsGroup;
use crate::aws::dynamo::DynamoDb;
use crate::clock::Clock;
use crate::event::{Event, EventSink, Log};
use crate::fleet::Fleet;
use crate::fleet::asg::{self, AsgFleet};
use crate::fleet::container::ContainerFleet;
use crate::fleet::process::{self, ProcessFleet, Share};
use crate::lease::{FileLease, Lease, Shared, Terms};
use crate::ledger::{self, Folded, Ledger, LedgerRules};
use crate::paths;
use crate::proxies::{Addressees, Proxies};
use crate::publish::Publisher;
use crate::scaler::{Actuator, Parts, Scaler};
use crate::sources::Sources;
use crate::status::{Board, ShownLedger, ShownProxies};
use tidegate_policy::{DEFAULT_LEDGER, LeaseKind, LeaseRules, PolicyFile};

/// As far back as any policy's windows look; what was learned before is kept beside the ledger.
const LOOK_BACK: Duration = Duration::from_secs(3600);

/// What a scaler is assembled from, whoever asks for it.
pub struct Setup {
    pub file: PolicyFile,
    pub proxies: Vec<String>,
    pub operator_tokens: PathBuf,
    pub worker_tokens: PathBuf,
    pub mode: Mode,
    /// The fleet's name, where other fleets of this machine use the same proxy.
    pub label: Option<String>,
    /// What of this machine's cores a fleet of processes may use; all when absent.
    pub share: Option<Share>,
    /// The most workers of all fleets of processes here.
    pub max: u32,
    pub events: Box<dyn EventSink>,
    /// Where its ticks are shown.
    pub board: Board,
}

impl Setup {
    pub(super) fn of_file(file: PolicyFile, mode: Mode, board: Board) -> Setup {
        let process = file.process.as_ref();
        Setup {
            proxies: file.proxies.admin.clone(),
            operator_tokens: file.proxies.token_file.clone().unwrap_or_default(),
            worker_tokens: process
                .and_then(|process| process.token_file.clone())
                .unwrap_or_default(),
            mode,
            label: None,
            share: None,
            max: file.fleet.max,
            events: Box::new(Log),
            board,
            file,
        }
    }

    /// The scaler, with what it can take up from its ledger.
    pub fn assemble(&mut self, clock: &Clock) -> anyhow::Result<Scaler> {
        let rules = &self.file.scaler;
        let file = rules.ledger.as_deref();
        let file = file.unwrap_or(Path::new(DEFAULT_LEDGER));
        let name = |what: &str| format!("{what} the ledger {}", file.display());
        let folded =
            ledger::fold(file, clock.now(), LOOK_BACK).with_context(|| name("cannot read"))?;
        let ledger = Ledger::open(LedgerRules {
            file: match self.mode {
                Mode::DryRun => ledger::of_dry_run(file),
                Mode::Act => file.to_owned(),
            },
            bytes: rules.ledger_bytes,
            kept: rules.ledgers_kept,
        })
        .with_context(|| name("cannot write"))?;

        let actuator = match self.mode {
            Mode::DryRun => Actuator::DryRun,
            Mode::Act => Actuator::Fleet(self.fleet(&folded)?),
        };
        let (mut law, mut roster) = (Law::new(self.file.policy()), Roster::default());
        folded.recall(&mut law, &mut roster);
        match ledger::learned(file) {
            Ok(Some(learned)) => law.take_up(learned),
            Ok(None) => {}
            Err(error) => {
                let why = error.to_string();
                self.events.emit(&Event::LearnedUnread { why });
            }
        }
        self.board.follow(&self.file);
        for recalled in &folded.ticks {
            self.board.show(recalled.at, &recalled.tick);
        }
        if !folded.ticks.is_empty() {
            let ticks = folded.ticks.len();
            self.events.emit(&Event::Recalled { ticks });
        }
        let events = std::mem::replace(&mut self.events, Box::new(Log));
        Ok(Scaler::new(Parts {
            law,
            roster,
            proxies: Box::new(ShownProxies {
                proxies: Proxies::of(self.proxies()?),
                board: self.board.clone(),
            }),
            sources: Sources::start(&self.file.source, aws::connect),
            actuator,
            lease: match self.mode {
                Mode::DryRun => Lease::Alone,
                Mode::Act => lease(self.file.lease.as_ref()),
            },
            ledger: Box::new(ShownLedger {
                ledger,
                board: self.board.clone(),
            }),
            publisher: self.publisher(),
            events,
        }))
    }

    /// Of a scaler that acts, if its policy has a [cloudwatch] table.
    fn publisher(&self) -> Publisher {
        match (&self.file.cloudwatch, self.mode) {
            (Some(rules), Mode::Act) => Publisher::start(rules, aws::outlet(rules)),
            _ => Publisher::default(),
        }
    }

    fn fleet(&self, folded: &Folded) -> anyhow::Result<Box<dyn Fleet>> {
        match self.file.fleet.kind {
            FleetKind::Process => self.process_fleet(folded),
            FleetKind::Container => self.container_fleet(folded),
            FleetKind::Asg => self.asg_fleet(folded),
        }
    }

    fn container_fleet(&self, folded: &Folded) -> anyhow::Result<Box<dyn Fleet>> {
        let rules = (self.file.container.clone()).context("there is no [container] table")?;
        let (proxies, last_number) = (self.proxies.clone(), folded.last_number());
        let mut fleet = ContainerFleet::new(rules, proxies, last_number);
        fleet.recall(folded.removed());
        Ok(Box::new(fleet))
    }

    fn asg_fleet(&self, folded: &Folded) -> anyhow::Result<Box<dyn Fleet>> {
        let rules = (self.file.asg.clone()).context("there is no [asg] table")?;
        let fleet = &self.file.fleet;
        Ok(Box::new(AsgFleet::new(asg::Setup {
            group: AwsGroup::new(&rules),
            rules,
            lead_time: fleet.lead_time.into(),
            drain_limit: fleet.drain_limit.into(),
            launched: folded.launched(),
        })))
    }

    fn process_fleet(&self, folded: &Folded) -> anyhow::Result<Box<dyn Fleet>> {
        let rules = (self.file.process.clone()).context("there is no [process] table")?;
        let binary = paths::binary(rules.binary.as_deref(), "tidegate-worker")?;
        if let Some(logs) = &rules.logs {
            let what = || format!("cannot make {} (process.logs)", logs.display());
            std::fs::create_dir_all(logs).with_context(what)?;
        }
        let setup = process::Setup {
            binary,
            rules,
            proxies: self.proxies.clone(),
            token_file: self.worker_tokens.clone(),
            share: (self.share.clone()).unwrap_or_else(|| Share::alone(process::cores())),
            max: self.max,
            prefix: match &self.label {
                Some(label) => format!("{label}-w"),
                None => "w".to_owned(),
            },
        };
        Ok(Box::new(ProcessFleet::new(setup, folded.last_number())))
    }

    fn proxies(&self) -> anyhow::Result<Addressees> {
        Ok(Addressees {
            urls: self.proxies.clone(),
            tokens: Tokens::read(&self.operator_tokens)?,
            timeout: self.file.proxies.timeout.into(),
        })
    }

    /// Reads the policy again. One that cannot be used changes nothing.
    pub(super) fn reload(
        &mut self,
        started: &Policy,
        accepted: &AcceptedPolicies,
        scaler: &mut Scaler,
    ) {
        let event = match self.try_reload(started, accepted, scaler) {
            Ok(Reloaded {
                changed,
                next_start,
            }) => Event::PolicyReloaded {
                file: started.path.clone(),
                changed,
                next_start,
            },
            Err(error) => Event::PolicyRefused {
                why: format!("{error:#}"),
            },
        };
        scaler.emit(event);
    }

    fn try_reload(
        &mut self,
        started: &Policy,
        accepted: &AcceptedPolicies,
        scaler: &mut Scaler,
    ) -> anyhow::Result<Reloaded> {
        let changed = started.read_again()?;
        accepted.check(&changed)?;
        let last = accepted.last(&started.path);
        let differing = last.map_or_else(Vec::new, |last| differing(&last, &changed.file));
        let next_start = waits_for_restart(&started.file, &changed.file, self.mode);
        let mut next = Setup::of_file(changed.file.clone(), self.mode, self.board.clone());
        if self.mode == Mode::Act {
            // Workers heartbeat to the proxies that they were started with.
            next.proxies.clone_from(&self.proxies);
        }
        let proxies = next.proxies()?;
        let sources = Sources::start(&next.file.source, aws::connect);
        scaler.reload(next.file.policy(), proxies, sources);
        next.board.follow(&next.file);
        accepted.accept(changed);
        *self = next;
        Ok(Reloaded {
            changed: differing,
            next_start,
        })
    }
}

/// What has come of a reload.
struct Reloaded {
    /// What differs from what was in force.
    changed: Vec<&'static str>,
    /// What of it waits for a restart.
    next_start: Vec<&'static str>,
}

/// The tables and keys at the top in which two policies differ.
fn differing(before: &PolicyFile, now: &PolicyFile) -> Vec<&'static str> {
    let changes = [
        ("[fleet]", before.fleet != now.fleet),
        ("[slo]", before.slo != now.slo),
        ("[[signal]]", before.signal != now.signal),
        ("[forecast]", before.forecast != now.forecast),
        ("formula", before.formula != now.formula),
        ("[[schedule]]", before.schedule != now.schedule),
        ("[cost]", before.cost != now.cost),
        ("[[source]]", before.source != now.source),
        ("[cloudwatch]", before.cloudwatch != now.cloudwatch),
        ("[scale_out]", before.scale_out != now.scale_out),
        ("[scale_in]", before.scale_in != now.scale_in),
        ("[proxies]", before.proxies != now.proxies),
        ("[scaler]", before.scaler != now.scaler),
        ("[lease]", before.lease != now.lease),
        ("[process]", before.process != now.process),
        ("[container]", before.container != now.container),
        ("[asg]", before.asg != now.asg),
        ("[up]", before.up != now.up),
    ];
    let changed = changes.iter().filter(|(_, changed)| *changed);
    changed.map(|(what, _)| *what).collect()
}

fn lease(rules: Option<&LeaseRules>) -> Lease {
    let Some(rules) = rules else {
        return Lease::Alone;
    };
    match rules.kind {
        LeaseKind::File => Lease::File(FileLease::new(rules.path.clone().unwrap_or_default())),
        LeaseKind::DynamoDb => {
            let terms = Terms {
                duration: rules.duration.into(),
                every: rules.every(),
            };
            let store = Box::new(DynamoDb::new(rules));
            Lease::Shared(Shared::new(store, paths::own_name(), terms))
        }
    }
}

/// What of a file cannot be put in force by a reload of what was `started`.
fn waits_for_restart(started: &PolicyFile, file: &PolicyFile, mode: Mode) -> Vec<&'static str> {
    let acts = mode == Mode::Act;
    let shares = started
        .process
        .as_ref()
        .is_some_and(|p| p.threads.is_none());
    let changes = [
        ("[scaler]", file.scaler != started.scaler),
        (
            "[cloudwatch]",
            acts && file.cloudwatch != started.cloudwatch,
        ),
        ("[lease]", acts && file.lease != started.lease),
        ("[process]", acts && file.process != started.process),
        ("[container]", acts && file.container != started.container),
        ("[asg]", acts && file.asg != started.asg),
        (
            "proxies.admin",
            acts && file.proxies.admin != started.proxies.admin,
        ),
        (
            "the workers' thread shares",
            acts && shares && file.fleet.max != started.fleet.max,
        ),
    ];
    let changed = changes.iter().filter(|(_, changed)| *changed);
    changed.map(|(what, _)| *what).collect()
}
