//! What an autoscaler orders, in the rate mode: as the simulation carries it out, with the mean of
//! all workers in the place of each one's requests.

use super::Pool;
use crate::sim::autoscaler::{Moves, Orders};
use crate::sim::fleet::{Stage, WorkerId};
use crate::sim::simulation::Direction;

impl Pool<'_> {
    pub(super) fn carry_out(&mut self, orders: Orders) {
        match orders {
            Orders::Hold => {}
            Orders::Size(workers) => self.resize(workers),
            Orders::Moves(moves) => self.make(&moves),
        }
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
            for id in self.fleet.victims(&self.endpoints, counted - workers) {
                match self.shift(id, Stage::Draining) {
                    true => {
                        self.leaving.insert(id);
                    }
                    false => self.end(id),
                }
            }
            self.turn(Direction::Down);
        }
    }

    fn make(&mut self, moves: &Moves) {
        let mut grew = 0;
        for id in &moves.undrain {
            grew += u32::from(self.shift(*id, Stage::Serving));
        }
        let counted = self.fleet.serving() + self.fleet.booting();
        let room = self.scenario.max_workers.saturating_sub(counted);
        let launch = moves.launch.min(room);
        self.fleet.launch(self.now, launch);
        let spare = (counted + launch).saturating_sub(self.scenario.min_workers) as usize;
        let mut shrank = 0;
        for id in moves.drain.iter().take(spare) {
            shrank += u32::from(self.shift(*id, Stage::Draining));
        }
        for id in &moves.remove {
            shrank += u32::from(self.fleet.stage(*id) != Some(Stage::Draining));
            self.end(*id);
        }
        if grew + launch > 0 {
            self.turn(Direction::Up);
        }
        if shrank > 0 {
            self.turn(Direction::Down);
        }
    }

    /// Stops hand-outs to a serving worker, or takes that back; says whether it did.
    fn shift(&mut self, id: WorkerId, to: Stage) -> bool {
        let serves = self.fleet.stage(id) == Some(Stage::Serving);
        if serves && to == Stage::Draining {
            self.flow.drain(&self.fleet, id);
        }
        let shifted = self.fleet.shift(&mut self.endpoints, id, to);
        if shifted && to == Stage::Serving {
            self.flow.forget(id);
        }
        shifted
    }

    pub(super) fn end_those_that_left(&mut self) {
        let left: Vec<WorkerId> = (self.leaving.iter().copied())
            .filter(|id| self.flow.is_drained(*id))
            .collect();
        left.into_iter().for_each(|id| self.end(id));
    }

    fn end(&mut self, id: WorkerId) {
        self.leaving.remove(&id);
        self.flow.forget(id);
        if let Some(endpoint) = self.fleet.end(self.now, id) {
            self.endpoints.endpoints_mut().remove(endpoint);
        }
    }

    fn turn(&mut self, direction: Direction) {
        let before = self.direction.replace(direction);
        self.reversals += u32::from(before.is_some_and(|before| before != direction));
    }
}
