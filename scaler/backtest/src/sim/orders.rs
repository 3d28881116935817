//! What an autoscaler orders, and what happens to workers by themselves.

use tidegate_queue::{Capacity, EndpointId, Usage};

use super::autoscaler::{Moves, Orders};
use super::fleet::{Stage, WorkerId};
use super::simulation::{Direction, Simulation};

/// What ran on a worker that ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ended {
    pub cut: u64,
    /// Of those, the ones that could not be tried again.
    pub lost: u64,
}

impl Simulation<'_> {
    pub(super) fn carry_out(&mut self, orders: Orders) {
        match orders {
            Orders::Hold => return,
            Orders::Size(workers) => self.resize(workers),
            Orders::Moves(moves) => self.make(&moves),
        }
        self.hand_out();
    }

    fn resize(&mut self, workers: u32) {
        let (min, max) = (self.scenario.min_workers, self.scenario.max_workers);
        let workers = workers.clamp(min, max);
        let counted = self.fleet.serving() + self.fleet.booting();
        if workers > counted {
            self.fleet.launch(self.now, workers - counted);
            self.turn(Direction::Up);
        }
        if workers < counted {
            for id in self.fleet.victims(&self.queue, counted - workers) {
                self.let_go(id);
            }
            self.turn(Direction::Down);
        }
    }

    /// Bounds hold for named moves too: launches and drains beyond them bring nothing.
    fn make(&mut self, moves: &Moves) {
        let mut grew = 0;
        for id in &moves.undrain {
            grew += u32::from(self.fleet.shift(&mut self.queue, *id, Stage::Serving));
        }
        let counted = self.fleet.serving() + self.fleet.booting();
        let room = self.scenario.max_workers.saturating_sub(counted);
        let launch = moves.launch.min(room);
        self.fleet.launch(self.now, launch);
        let spare = (counted + launch).saturating_sub(self.scenario.min_workers) as usize;
        let mut shrank = 0;
        for id in moves.drain.iter().take(spare) {
            shrank += u32::from(self.fleet.shift(&mut self.queue, *id, Stage::Draining));
        }
        for id in &moves.remove {
            shrank += u32::from(self.fleet.stage(*id) != Some(Stage::Draining));
            let ended = self.end(*id);
            self.score.killed(ended.cut);
        }
        if grew + launch > 0 {
            self.turn(Direction::Up);
        }
        if shrank > 0 {
            self.turn(Direction::Down);
        }
    }

    /// Cancels a worker that boots, and drains one that serves until it is empty.
    fn let_go(&mut self, id: WorkerId) {
        if self.fleet.shift(&mut self.queue, id, Stage::Draining) {
            self.leaving.insert(id);
            if self.fleet.permits(&self.queue, id) > 0 {
                return;
            }
        }
        self.end(id);
    }

    /// Ends a worker that was let go once its endpoint holds nothing.
    pub(super) fn end_if_left(&mut self, endpoint: EndpointId) {
        let empty = self.queue.endpoints().permits(endpoint) == 0;
        let worker = self.fleet.on_endpoint(endpoint).filter(|_| empty);
        if let Some(id) = worker.filter(|id| self.leaving.contains(id)) {
            self.end(id);
        }
    }

    /// The platform took a worker away. That kills only what could not be tried again.
    pub(super) fn lose(&mut self, id: WorkerId) {
        let ended = self.end(id);
        self.score.killed(ended.lost);
    }

    /// Ends a worker at once.
    fn end(&mut self, id: WorkerId) -> Ended {
        self.leaving.remove(&id);
        let Some(endpoint) = self.fleet.end(self.now, id) else {
            return Ended::default();
        };
        // Nothing may be handed to the endpoint while its requests go back to the queue.
        let endpoints = self.queue.endpoints_mut();
        endpoints.update(endpoint, Capacity::default(), Usage::default(), false);
        let ended = self.cut(endpoint);
        self.queue.endpoints_mut().remove(endpoint);
        ended
    }
}
