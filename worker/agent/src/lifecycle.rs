//! The worker's state and its changes. Readers subscribe to one value.

use tidegate_protocol::{Order, WorkerState};
use tokio::sync::watch;

/// The facts that the announced state follows from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Facts {
    warm: bool,
    ordered_to_drain: bool,
    stopping: bool,
}

impl Facts {
    fn state(self) -> WorkerState {
        match self {
            Facts { stopping: true, .. } => WorkerState::Draining,
            Facts { warm: false, .. } => WorkerState::Warming,
            Facts {
                ordered_to_drain: true,
                ..
            } => WorkerState::Draining,
            _ => WorkerState::Ready,
        }
    }
}

/// From warming to ready to draining, and back to ready if draining was only an order.
#[derive(Debug)]
pub struct Lifecycle(watch::Sender<Facts>);

/// Sees the state change.
#[derive(Clone, Debug)]
pub struct StateWatch(watch::Receiver<Facts>);

impl Default for Lifecycle {
    fn default() -> Lifecycle {
        Lifecycle::new()
    }
}

impl Lifecycle {
    pub fn new() -> Lifecycle {
        Lifecycle(watch::Sender::new(Facts::default()))
    }

    pub fn state(&self) -> WorkerState {
        self.0.borrow().state()
    }

    pub fn watch(&self) -> StateWatch {
        StateWatch(self.0.subscribe())
    }

    /// The model answers.
    pub fn warmed_up(&self) {
        self.change(|facts| facts.warm = true);
    }

    /// The process ends as soon as it is empty; not to be taken back.
    pub fn stop(&self) {
        self.change(|facts| facts.stopping = true);
    }

    /// A proxy's order; the last one counts, whichever proxy it came from.
    pub fn obey(&self, order: Order) {
        self.change(|facts| facts.ordered_to_drain = order == Order::Drain);
    }

    fn change(&self, change: impl FnOnce(&mut Facts)) {
        self.0.send_if_modified(|facts| {
            let before = *facts;
            change(facts);
            *facts != before
        });
    }
}

impl StateWatch {
    /// Waits for the next change.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_taken_back_but_a_stop_is_not() {
        let life = Lifecycle::new();
        assert_eq!(life.state(), WorkerState::Warming);
        life.warmed_up();
        life.obey(Order::Drain);
        assert_eq!(life.state(), WorkerState::Draining);
        life.obey(Order::Undrain);
        assert_eq!(life.state(), WorkerState::Ready);
        life.stop();
        life.obey(Order::Undrain);
        assert_eq!(life.state(), WorkerState::Draining);
    }

    #[test]
    fn a_worker_told_to_stop_while_it_loads_does_not_say_that_it_warms_up() {
        let life = Lifecycle::new();
        life.stop();
        assert_eq!(life.state(), WorkerState::Draining);
    }
}
