//! Threads that take batches from the queue and compute them.
//!
//! A free thread takes what waits; nothing is held back to fill a batch, except for requests that
//! are already being read into tokens, and only while no other thread is free to take those.
//! Batches therefore form by themselves: while the threads compute, requests gather.
//!
//! A workspace stands for a core. Under load each thread computes a batch of its own with one, so
//! nothing is split and nothing waits for the slowest part. Where one batch is all there is, its
//! thread borrows the others' workspaces, and the batch is computed on all cores.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tidegate_kernels::useful_threads;
use tracing::error;

use super::Rows;
use super::job::{Job, Piece};
use super::queue::Queue;
use crate::config::BatchConfig;
use crate::engine::Deaths;
use crate::models::{self, ModelError, Network, Sequence, Want, Workspace};
use crate::{metrics, threads};

/// What the threads and those who fill the queue share.
#[derive(Debug)]
pub struct Intake {
    shared: Mutex<Shared>,
    changed: Condvar,
    max_tokens: usize,
    max_wait: Duration,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Queue,
    /// Requests being read into tokens.
    coming: usize,
    /// Workspaces that nobody computes with.
    free: usize,
    closed: bool,
}

/// What a thread computes next, and how many workspaces it has taken for it.
struct Batch {
    pieces: Vec<Piece>,
    cores: usize,
}

/// A request that is being read into tokens. Dropping it says that it will not come.
#[derive(Debug)]
pub struct Coming(Arc<Intake>);

impl Intake {
    pub fn new(config: &BatchConfig) -> Arc<Intake> {
        Arc::new(Intake {
            shared: Mutex::default(),
            changed: Condvar::new(),
            max_tokens: config.max_tokens.get(),
            max_wait: *config.max_wait,
        })
    }

    /// Announces a job.
    pub fn expect(self: &Arc<Self>) -> Coming {
        self.shared().coming += 1;
        Coming(self.clone())
    }

    /// The most tokens in a batch.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Jobs that wait for a batch.
    pub fn waiting(&self) -> usize {
        self.shared().queue.len()
    }

    /// Ends the threads once the queue is empty.
    pub fn close(&self) {
        self.shared().closed = true;
        self.changed.notify_all();
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds workspaces, or gives them back.
    fn free(&self, cores: usize) {
        self.shared().free += cores;
        self.changed.notify_all();
    }

    /// Waits for the next batch and for a workspace to compute it with; none when the intake is
    /// closed and empty.
    fn next_batch(&self) -> Option<Batch> {
        let mut shared = self.shared();
        loop {
            let now = Instant::now();
            shared.queue.forget_unwanted(now);
            let oldest = shared.queue.oldest();
            if oldest.is_none() && shared.closed {
                return None;
            }
            let Some(oldest) = oldest.filter(|_| shared.free > 0) else {
                let woken = self.changed.wait(shared);
                shared = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let age = now.saturating_duration_since(oldest);
            let patience = self.max_wait.saturating_sub(age);
            let waiting = shared.queue.tokens();
            let more_comes = shared.coming > 0 && shared.free == 1 && waiting < self.max_tokens;
            if more_comes && !patience.is_zero() {
                let woken = self.changed.wait_timeout(shared, patience);
                shared = woken.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            // An equal part for each free workspace.
            let part = waiting.div_ceil(shared.free).min(self.max_tokens);
            let pieces = shared.queue.take(part, now);
            let cores = shared.cores_for(waiting);
            shared.free -= cores;
            return Some(Batch { pieces, cores });
        }
    }
}

impl Shared {
    /// As many free workspaces as a batch can use, if it was all there is, else one.
    fn cores_for(&self, tokens: usize) -> usize {
        let alone = self.queue.len() == 0 && self.coming == 0;
        match alone {
            true => self.free.min(useful_threads(tokens)),
            false => 1,
        }
    }
}

impl Coming {
    /// Puts the announced job in the queue.
    pub fn arrive(self, job: Arc<Job>) {
        self.0.shared().queue.push(job);
        // Dropping `self` wakes the threads.
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.shared().coming -= 1;
        self.0.changed.notify_all();
    }
}

/// Computes batches; [`Network`] in earnest.
pub trait Compute: Send + Sync + 'static {
    type Workspace: Send;

    /// See [`Network::compute`].
    fn compute(
        &self,
        batch: &[&Sequence],
        want: Want,
        workspaces: &mut [Self::Workspace],
    ) -> Result<Vec<Vec<f32>>, ModelError>;
}

impl Compute for Network {
    type Workspace = Workspace;

    fn compute(
        &self,
        batch: &[&Sequence],
        want: Want,
        workspaces: &mut [Workspace],
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        Network::compute(self, batch, want, workspaces)
    }
}

/// A network and the workspaces that nobody computes with.
struct Cores<N: Compute> {
    network: N,
    workspaces: Mutex<Vec<N::Workspace>>,
}

/// A thread that computes batches.
pub type ComputeThread = JoinHandle<()>;

/// Starts a thread for each workspace; they end when the intake is closed.
pub fn start<N: Compute>(
    intake: &Arc<Intake>,
    network: N,
    workspaces: Vec<N::Workspace>,
    deaths: &Deaths,
) -> std::io::Result<Vec<ComputeThread>> {
    let count = workspaces.len();
    let cores = Arc::new(Cores {
        network,
        workspaces: Mutex::new(workspaces),
    });
    intake.free(count);
    let threads = (0..count).map(|number| {
        let (intake, cores) = (intake.clone(), cores.clone());
        deaths.spawn(format!("compute-{number}"), move || {
            threads::stay_on_this_one();
            while let Some(batch) = intake.next_batch() {
                cores.compute(&intake, batch);
            }
        })
    });
    threads.collect()
}

impl<N: Compute> Cores<N> {
    fn compute(&self, intake: &Intake, batch: Batch) {
        let mut taken = self.take(batch.cores);
        for (want, pieces) in by_want(batch.pieces) {
            self.compute_alike(want, pieces, &mut taken);
        }
        self.free().extend(taken);
        intake.free(batch.cores);
    }

    /// Takes workspaces, which the intake has promised.
    fn take(&self, count: usize) -> Vec<N::Workspace> {
        let mut free = self.free();
        let rest = free.len().saturating_sub(count);
        free.split_off(rest)
    }

    fn free(&self) -> MutexGuard<'_, Vec<N::Workspace>> {
        self.workspaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Computes pieces of one kind. What goes wrong fails their requests and nothing else.
    fn compute_alike(&self, want: Want, pieces: Vec<Piece>, taken: &mut [N::Workspace]) {
        let texts: Vec<&Sequence> = pieces.iter().flat_map(Piece::sequences).collect();
        metrics::batch(texts.len(), texts.iter().map(|text| text.len()).sum());
        let computed = catch_unwind(AssertUnwindSafe(|| {
            self.network.compute(&texts, want, taken)
        }));
        let results = match computed {
            Ok(Ok(results)) if results.len() == texts.len() => Ok(results),
            Ok(Ok(results)) => Err(format!(
                "the model gave {} results for {} texts",
                results.len(),
                texts.len()
            )),
            Ok(Err(problem)) => Err(problem.to_string()),
            Err(_) => Err("the model panicked".to_owned()),
        };
        let (now, batch_texts) = (Instant::now(), texts.len());
        match results {
            Ok(results) => {
                let mut results = results.into_iter();
                for mut piece in pieces {
                    piece.batch_texts = batch_texts;
                    let own = results.by_ref().take(piece.texts.len()).collect();
                    piece.finish(finite(own), now);
                }
            }
            Err(problem) => {
                error!(problem, texts = batch_texts, "a batch failed");
                for piece in pieces {
                    piece.finish(Err(problem.clone()), now);
                }
            }
        }
    }
}

/// Rows, unless a number in them is none.
fn finite(rows: Rows) -> Result<Rows, String> {
    match models::are_finite(&rows) {
        true => Ok(rows),
        false => Err(models::NOT_FINITE.to_owned()),
    }
}

/// A batch's pieces, apart by what is wanted of them.
fn by_want(pieces: Vec<Piece>) -> impl Iterator<Item = (Want, Vec<Piece>)> {
    let (results, tokens): (Vec<_>, Vec<_>) = pieces
        .into_iter()
        .partition(|piece| piece.job.want == Want::Result);
    [(Want::Result, results), (Want::Tokens, tokens)]
        .into_iter()
        .filter(|(_, pieces)| !pieces.is_empty())
}

#[cfg(test)]
mod tests {
    use tidegate_agent::{Admission, Capacity};
    use tokio::sync::mpsc::Receiver;

    use super::*;
    use crate::engine::{Event, Failure, deaths};

    struct Forgetful;

    impl Compute for Forgetful {
        type Workspace = ();

        fn compute(
            &self,
            batch: &[&Sequence],
            _: Want,
            _: &mut [()],
        ) -> Result<Vec<Vec<f32>>, ModelError> {
            Ok(vec![vec![0.0]; batch.len() - 1])
        }
    }

    fn slots(requests: u32) -> Arc<Admission> {
        Admission::new(Capacity {
            requests,
            tokens: None,
        })
    }

    fn job(admission: &Arc<Admission>, lengths: &[usize]) -> (Arc<Job>, Receiver<Event<Rows>>) {
        let slot = admission.take("").expect("a slot is free");
        let text = |length: &usize| Sequence {
            ids: vec![1; *length],
            kinds: Vec::new(),
        };
        let texts = lengths.iter().map(text).collect();
        Job::new(texts, Want::Result, None, slot, Instant::now())
    }

    #[test]
    fn a_model_that_forgets_a_text_fails_the_request_and_frees_its_slot() {
        let admission = slots(1);
        let intake = Intake::new(&BatchConfig::default());
        let (job, mut events) = job(&admission, &[1, 1]);
        intake.expect().arrive(job);
        let threads = start(&intake, Forgetful, vec![()], &deaths().0).expect("threads start");
        intake.close();
        for thread in threads {
            thread.join().expect("it ends");
        }
        assert_eq!(events.try_recv(), Ok(Event::Started));
        let failure = "the model gave 1 results for 2 texts".to_owned();
        let failed = Event::Failed(Failure::Compute(failure));
        assert_eq!(events.try_recv(), Ok(failed));
        assert_eq!(admission.busy(), 0);
    }

    #[test]
    fn a_batch_that_is_all_there_is_gets_every_core_and_one_of_many_gets_one() {
        let admission = slots(9);
        let intake = Intake::new(&BatchConfig::default());
        intake.free(2);
        let mut held = Vec::new();
        let mut arrive = |lengths: &[usize]| {
            let (job, events) = job(&admission, lengths);
            intake.expect().arrive(job);
            held.push(events);
        };
        let cores = || {
            let batch = intake.next_batch().expect("a job waits");
            intake.free(batch.cores);
            batch.cores
        };
        arrive(&[100]);
        assert_eq!(cores(), 2);
        arrive(&[8]);
        assert_eq!(cores(), 1, "too short to share");
        arrive(&[50, 50]);
        assert_eq!(
            [cores(), cores()],
            [1, 2],
            "two texts, then one that is left"
        );
        arrive(&[100]);
        let _coming = intake.expect();
        assert_eq!(cores(), 1, "another request is on its way");
    }
}
