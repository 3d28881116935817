//! One running model of `up`: its fleet, with one tick a second.

use std::cell::Cell;

use tokio::sync::watch;
use tokio::time::Instant;

use super::directory::RunDirectory;
use super::models::Model;
use super::terminal::Terminal;
use crate::clock::Clock;
use crate::fleet::process::Share;
use crate::overrides::{Inbox, Requests};
use crate::run::{self, Mode, Setup};
use crate::scaler::Scaler;
use crate::server::LastTick;
use crate::status::Board;

/// A model's fleet.
pub struct Served {
    pub scaler: Scaler,
    pub board: Board,
    pub ticks: LastTick,
    clock: Clock,
    requests: Requests,
}

impl Served {
    /// Assembles the scaler of a model, with its part in the cores and the most workers that all
    /// models may have.
    ///
    /// # Errors
    /// When its binary or its directory cannot be used.
    pub fn new(
        model: &Model,
        (share, max): (Share, u32),
        clock: &Clock,
        directory: &RunDirectory,
        terminal: &Terminal,
    ) -> anyhow::Result<(Served, Inbox)> {
        let mut setup = setup(model, directory, terminal);
        (setup.share, setup.max) = (Some(share), max);
        let scaler = setup.assemble(clock)?;
        let (inbox, requests) = Inbox::new(name(model), setup.operator_tokens.clone());
        let served = Served {
            scaler,
            board: setup.board,
            ticks: LastTick::new(None),
            clock: clock.clone(),
            requests,
        };
        Ok((served, inbox))
    }

    /// Ticks until told to stop. Sets `serves` once a worker does.
    pub async fn work(&mut self, serves: &Cell<bool>, mut stopping: watch::Receiver<bool>) {
        let mut interval = run::ticking();
        loop {
            tokio::select! {
                _ = interval.tick() => {
                    self.scaler.follow_clock(self.clock.follow());
                    self.scaler.tick(self.clock.now()).await;
                    self.ticks.send_replace(Some(Instant::now()));
                    serves.set(serves.get() || self.scaler.serving() > 0);
                }
                Some(request) = self.requests.recv() => {
                    request.apply(self.clock.now(), &mut self.scaler);
                }
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
        }
    }
}

/// By which orders name the fleet.
fn name(model: &Model) -> &str {
    model.label.as_deref().unwrap_or("up")
}

fn setup(model: &Model, directory: &RunDirectory, terminal: &Terminal) -> Setup {
    let mut file = model.file.clone();
    let named = |what: &str, end: &str| match &model.label {
        Some(label) => directory.file(&format!("{what}-{label}{end}")),
        None => directory.file(&format!("{what}{end}")),
    };
    let ledger = &mut file.scaler.ledger;
    ledger.get_or_insert_with(|| named("ledger", ".jsonl"));
    if let Some(process) = &mut file.process {
        process
            .logs
            .get_or_insert_with(|| directory.path().to_owned());
    }
    Setup {
        file,
        proxies: vec![format!("http://{}", model.rules.admin)],
        operator_tokens: directory.operator_tokens(),
        worker_tokens: directory.worker_tokens(),
        mode: Mode::Act,
        events: Box::new(terminal.of_fleet(model.label.clone())),
        label: model.label.clone(),
        share: None,
        max: 0,
        board: Board::new(name(model)),
    }
}
