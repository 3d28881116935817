//! What computes: an engine takes requests that were admitted, and tells of each by events.
//!
//! An encoder answers a request at once and whole; a decoder sends a token at a time. Both are
//! cancelled the same way: whoever asked drops the receiver. An engine knows nothing of HTTP; it
//! holds a request's slot while it works on it, and no longer.

pub mod decoder;
pub mod encoder;
pub mod generative;
pub mod seq2seq;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use thiserror::Error;
use tidegate_agent::{Capacity, Slot};
use tokio::sync::mpsc;

/// Computes requests, several at once, on threads of its own.
pub trait Engine: Send + Sync + 'static {
    /// What a request is computed from.
    type Input: Send;
    /// A part of an answer.
    type Output: Send;

    /// Takes a request. Its events come in the order of [`Event`]'s variants, outputs as often as
    /// there are any, and the last is `Finished` or `Failed`. The channel is bounded: an engine
    /// never waits for a reader that is slow, it goes on with others. Dropping the receiver
    /// cancels what is not computed yet.
    fn submit(&self, request: Request<Self::Input>) -> mpsc::Receiver<Event<Self::Output>>;

    /// What it can hold at once when `requests` are accepted.
    fn capacity(&self, requests: u32) -> Capacity;

    /// Requests that wait to be begun.
    fn waiting(&self) -> usize;
}

/// A request that was admitted.
#[derive(Debug)]
pub struct Request<I> {
    pub input: I,
    /// What it may take, in tokens: those of its input, and those that it may bring forth.
    pub cost: u64,
    /// It is not begun after this.
    pub deadline: Option<Instant>,
    /// Held until nothing of it is computed any more.
    pub slot: Slot,
}

/// What becomes of a request.
#[derive(Debug, PartialEq)]
pub enum Event<O> {
    /// Computing has begun.
    Started,
    Output(O),
    Finished(Usage),
    Failed(Failure),
}

/// What a request took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the input.
    pub read: usize,
    /// Tokens brought forth.
    pub written: usize,
    /// From the queue to the first computation.
    pub waited: Duration,
    /// From then to the end.
    pub computed: Duration,
}

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    #[error("the deadline passed before the request was begun")]
    Expired,
    #[error("computing failed: {0}")]
    Compute(String),
}

/// Where the death of a computing thread is reported. The process ends then: what the thread would have
/// computed is never computed otherwise, and nobody would know.
#[derive(Clone, Debug)]
pub struct Deaths(mpsc::Sender<String>);

/// Hears of computing threads that died.
#[derive(Debug)]
pub struct Watch(mpsc::Receiver<String>);

/// A sender of deaths, and its receiver.
pub fn deaths() -> (Deaths, Watch) {
    let (sender, receiver) = mpsc::channel(1);
    (Deaths(sender), Watch(receiver))
}

impl Deaths {
    /// Starts a computing thread, and reports it if it panics.
    pub fn spawn(
        &self,
        name: String,
        work: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<JoinHandle<()>> {
        let deaths = self.0.clone();
        std::thread::Builder::new()
            .name(name.clone())
            .spawn(move || {
                if catch_unwind(AssertUnwindSafe(work)).is_err() {
                    // The first one is enough.
                    let _ = deaths.try_send(name);
                }
            })
    }
}

impl Watch {
    /// The name of a thread that died.
    pub async fn died(&mut self) -> String {
        match self.0.recv().await {
            Some(name) => name,
            // No thread is left that could.
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_that_dies_is_told_and_one_that_ends_is_not() {
        let (deaths, mut watch) = deaths();
        let spawn = |name: &str, work: fn()| {
            let thread = deaths.spawn(name.to_owned(), work).expect("it starts");
            thread.join().expect("a panic goes no further");
        };
        spawn("calm", || {});
        spawn("mortal", || panic!("on purpose"));
        assert_eq!(watch.died().await, "mortal");
    }
}
