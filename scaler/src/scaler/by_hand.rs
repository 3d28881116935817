//! An operator's orders to one worker.

use tidegate_control::{Stage, Time};
use tidegate_protocol::Order;

use super::{Actuator, Scaler};
use crate::event::Event;
use crate::ledger::{Entry, Note, WorkerByHand};

impl Scaler {
    /// Has a worker drain until it is taken back, or takes it back. One that has drained is
    /// removed, and replaced where it is needed.
    ///
    /// # Errors
    /// In words, when there is no such worker, or it is not in a stage for that.
    pub fn take_worker_order(
        &mut self,
        now: Time,
        by_hand: WorkerByHand,
    ) -> Result<String, String> {
        let id = &by_hand.worker;
        self.check_leads()?;
        if matches!(self.actuator, Actuator::DryRun) {
            return Err("this is a dry run: no worker gets orders".to_owned());
        }
        match (self.stages.get(id), by_hand.order) {
            (None, _) => return Err(format!("found no worker {id} in this fleet")),
            (Some(Stage::Leaving | Stage::Quitting { .. }), _) => {
                return Err(format!("{id} is leaving already"));
            }
            (Some(Stage::Serving { .. } | Stage::Booting), Order::Undrain) => {
                return Err(format!("{id} does not drain"));
            }
            (Some(_), Order::Drain) => {
                self.roster.keep_draining(now, id);
                self.orders.ends(id);
            }
            (Some(_), Order::Undrain) => {
                self.roster.undrain(now, id);
                self.orders.undrain(id);
            }
        }
        self.write(now, Entry::WorkerByHand(by_hand.clone()));
        self.notices.emit(Event::WorkerByHand(by_hand.clone()));
        let note = Note::default();
        Ok(Event::WorkerByHand(WorkerByHand { note, ..by_hand }).to_string())
    }

    pub(super) fn check_leads(&self) -> Result<(), String> {
        if self.leadership.leads() {
            return Ok(());
        }
        let holder = self.leadership.holder().unwrap_or("another");
        Err(format!(
            "this scaler only watches: {holder} holds the lease"
        ))
    }
}
