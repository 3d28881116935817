//! The one place that lines pass on their way to the proxy, whatever batch they are of.
//!
//! So many are in flight as the pace permits. When more wait, keys take turns, one line each: a key
//! with many lines does not hold up another one's.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::warn;

use crate::pace::Pace;

/// Refused rounds without an answer after which it is said.
const WORTH_SAYING: u32 = 3;

/// How often a line that waits looks whether a hold is over.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub struct Gate {
    state: Mutex<State>,
}

struct State {
    pace: Pace,
    in_flight: usize,
    waiting: Turns,
}

/// Lines that wait, by key, the key first whose turn is next. No key is there without a line.
#[derive(Default)]
struct Turns(VecDeque<(String, VecDeque<oneshot::Sender<()>>)>);

/// A line that may be asked now.
pub struct Permit<'a> {
    gate: &'a Gate,
}

/// A line that waits; gives back what it was given when it does not want it any more.
struct Place<'a> {
    gate: &'a Gate,
    called: oneshot::Receiver<()>,
    is_taken: bool,
}

impl Turns {
    fn join(&mut self, key: &str) -> oneshot::Receiver<()> {
        let (call, called) = oneshot::channel();
        match self.0.iter_mut().find(|(one, _)| one == key) {
            Some((_, lines)) => lines.push_back(call),
            None => self.0.push_back((key.to_owned(), VecDeque::from([call]))),
        }
        called
    }

    fn next(&mut self) -> Option<oneshot::Sender<()>> {
        let (key, mut lines) = self.0.pop_front()?;
        let line = lines.pop_front();
        if !lines.is_empty() {
            self.0.push_back((key, lines));
        }
        line
    }
}

impl State {
    /// Calls as many lines as may be asked now.
    fn hand_out(&mut self) {
        if self.pace.held_for(Instant::now()).is_some() {
            return;
        }
        while self.in_flight < self.pace.limit()
            && let Some(line) = self.waiting.next()
        {
            // One that is gone has its turn in vain.
            self.in_flight += usize::from(line.send(()).is_ok());
        }
    }
}

impl Gate {
    pub fn new(most: usize) -> Gate {
        Gate {
            state: Mutex::new(State {
                pace: Pace::new(most),
                in_flight: 0,
                waiting: Turns::default(),
            }),
        }
    }

    /// How many lines it makes sense to have ready.
    pub fn limit(&self) -> usize {
        self.state().pace.limit()
    }

    pub fn in_flight(&self) -> usize {
        self.state().in_flight
    }

    /// Whether the fleet takes nothing at the moment.
    pub fn is_held(&self) -> bool {
        self.held_for().is_some()
    }

    /// Waits until one more line of this key may be asked.
    pub async fn enter(&self, key: &str) -> Permit<'_> {
        let mut place = self.join(key);
        loop {
            let wait = self.held_for().unwrap_or(LOOK_EVERY);
            tokio::select! {
                biased;
                _ = &mut place.called => break,
                () = tokio::time::sleep(wait) => self.state().hand_out(),
            }
        }
        place.is_taken = true;
        Permit { gate: self }
    }

    fn join(&self, key: &str) -> Place<'_> {
        let mut state = self.state();
        let called = state.waiting.join(key);
        state.hand_out();
        Place {
            gate: self,
            called,
            is_taken: false,
        }
    }

    fn held_for(&self) -> Option<Duration> {
        self.state().pace.held_for(Instant::now())
    }

    fn give_back(&self) {
        let mut state = self.state();
        state.in_flight -= 1;
        state.hand_out();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// To be called with an answer.
    pub fn answered(self) {
        let mut state = self.gate.state();
        let in_flight = state.in_flight;
        state.pace.answered(in_flight);
    }

    /// To be called when nobody took it.
    pub fn refused(self, retry_after: Option<Duration>, reason: &str) {
        let rounds = self.gate.state().pace.refused(Instant::now(), retry_after);
        if rounds == Some(WORTH_SAYING) {
            warn!(
                reason,
                "the proxy accepts no lines at the moment; they wait"
            );
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.gate.give_back();
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.called.close();
        if !self.is_taken && self.called.try_recv().is_ok() {
            self.gate.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_permit_is_free_when_it_is_dropped() {
        let gate = Gate::new(1);
        let first = gate.enter("a").await;
        let called = gate.join("a");
        assert_eq!(gate.in_flight(), 1);
        drop(first);
        assert_eq!(gate.in_flight(), 1, "the second is called");
        drop(called);
        assert_eq!(gate.in_flight(), 0, "it was gone before it came");
        gate.enter("a").await.answered();
        assert_eq!(gate.in_flight(), 0);
    }

    #[tokio::test]
    async fn keys_take_turns_however_many_lines_each_has() {
        let gate = Arc::new(Gate::new(1));
        let first = gate.enter("many").await;
        let (order, mut passed) = tokio::sync::mpsc::unbounded_channel();
        for key in ["many", "many", "many", "few", "many", "few", "one"] {
            let (gate, order) = (Arc::clone(&gate), order.clone());
            tokio::spawn(async move {
                let permit = gate.enter(key).await;
                order.send(key).expect("it is read");
                permit.answered();
            });
            tokio::task::yield_now().await;
        }
        drop((first, order));
        let mut seen = Vec::new();
        while let Some(key) = passed.recv().await {
            seen.push(key);
        }
        let expected = ["many", "few", "one", "many", "few", "many", "many"];
        assert_eq!(seen, expected);
    }
}
