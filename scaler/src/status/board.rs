//! The data of the status page for one fleet: the ticks, from what the scaler writes to its ledger and
//! reads from the proxies anyway.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tidegate_control::{Learned, Time};
use tidegate_policy::PolicyFile;
use tidegate_protocol::Order;
use tokio::sync::watch;

use super::history::History;
use super::queues::queues;
use super::view::View;
use crate::ledger::{Entry, Ledger, Record, Tick};
use crate::proxies::{Addressees, Proxies, ProxyFault, Reply, Signals};

/// One fleet's past and present. Clones show the same.
#[derive(Clone)]
pub struct Board {
    pub fleet: String,
    history: Arc<Mutex<History>>,
    /// Counts what was shown.
    shown: watch::Sender<u64>,
}

impl Board {
    pub fn new(fleet: &str) -> Board {
        Board {
            fleet: fleet.to_owned(),
            history: Arc::default(),
            shown: watch::Sender::new(0),
        }
    }

    /// From now on the fleet goes by this policy.
    pub fn follow(&self, file: &PolicyFile) {
        self.history().follow(file);
    }

    /// Shows a tick, which may be one of the past, oldest first.
    pub fn show(&self, at: Time, tick: &Tick) {
        self.history().tick(&self.fleet, at, tick);
        self.shown.send_modify(|shown| *shown += 1);
    }

    pub(super) fn now(&self) -> Option<View> {
        self.history().now().cloned()
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.shown.subscribe()
    }
}

/// A ledger whose entries are shown as well.
pub struct ShownLedger {
    pub ledger: Ledger,
    pub board: Board,
}

impl Record for ShownLedger {
    fn record(&mut self, at: Time, entry: Entry) -> io::Result<()> {
        match &entry {
            Entry::Tick(tick) => self.board.show(at, tick),
            Entry::ByHand(by_hand) => self.board.history().by_hand(at, by_hand),
            Entry::WorkerByHand(by_hand) => self.board.history().worker_by_hand(at, by_hand),
            Entry::Outcome(_) => {}
        }
        self.ledger.record(at, entry)
    }

    fn keep(&mut self, learned: &Learned) -> io::Result<()> {
        self.ledger.keep(learned)
    }
}

/// Proxies whose queues are shown as well.
pub struct ShownProxies {
    pub proxies: Proxies,
    pub board: Board,
}

#[async_trait]
impl Signals for ShownProxies {
    fn follow(&mut self, addressees: Addressees) {
        self.proxies.follow(addressees);
    }

    async fn signals(&mut self) -> Vec<Reply> {
        let replies = self.proxies.signals().await;
        let mut history = self.board.history();
        let queues = queues(&replies, history.model());
        history.set_queues(queues);
        drop(history);
        replies
    }

    async fn order(&self, source: &str, order: Order, worker: &str) -> Result<(), ProxyFault> {
        self.proxies.order(source, order, worker).await
    }
}
