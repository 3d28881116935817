//! Lanes: threads that take batches from the queue and compute them, each with its own encoder.
//!
//! A free lane takes what waits; nothing is held back to fill a batch, except for requests that
//! are already being read into tokens, and only while no other lane is free to take those.
//! Batches therefore form by themselves: while the lanes compute, requests gather.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rayon::ThreadPoolBuilder;
use tracing::error;

use super::job::{Job, Piece};
use super::metrics;
use super::queue::Queue;
use crate::config::BatchConfig;
use crate::model::Encoder;

/// What the lanes and those who fill the queue share.
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
    /// Lanes that do not compute.
    free_lanes: usize,
    closed: bool,
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

    /// Jobs that wait for a batch.
    pub fn waiting(&self) -> usize {
        self.shared().queue.len()
    }

    /// Ends the lanes once the queue is empty.
    pub fn close(&self) {
        self.shared().closed = true;
        self.changed.notify_all();
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next batch; none when the intake is closed and empty.
    fn next_batch(&self) -> Option<Vec<Piece>> {
        let mut shared = self.shared();
        shared.free_lanes += 1;
        loop {
            let now = Instant::now();
            shared.queue.forget_unwanted(now);
            let Some(oldest) = shared.queue.oldest() else {
                if shared.closed {
                    return None;
                }
                shared = self
                    .changed
                    .wait(shared)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let waiting = shared.queue.tokens();
            let patience = self
                .max_wait
                .saturating_sub(now.saturating_duration_since(oldest));
            let more_comes =
                shared.coming > 0 && shared.free_lanes == 1 && waiting < self.max_tokens;
            if more_comes && !patience.is_zero() {
                let woken = self.changed.wait_timeout(shared, patience);
                shared = woken.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            // An equal part for each free lane.
            let part = waiting.div_ceil(shared.free_lanes);
            shared.free_lanes -= 1;
            return Some(shared.queue.take(part.min(self.max_tokens), now));
        }
    }
}

impl Coming {
    /// Puts the announced job in the queue.
    pub fn arrive(self, job: Arc<Job>) {
        self.0.shared().queue.push(job);
        // Dropping `self` wakes the lanes.
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.shared().coming -= 1;
        self.0.changed.notify_all();
    }
}

/// A lane's thread.
pub type Lane = JoinHandle<()>;

/// Starts one lane for each encoder; they end when the intake is closed.
pub fn start(intake: &Arc<Intake>, encoders: Vec<Box<dyn Encoder>>) -> std::io::Result<Vec<Lane>> {
    let lanes = encoders
        .into_iter()
        .enumerate()
        .map(|(number, mut encoder)| {
            let intake = intake.clone();
            let thread = std::thread::Builder::new().name(format!("lane-{number}"));
            thread.spawn(move || {
                // Parallel iterators within an encoder stay on this thread.
                let own_pool = ThreadPoolBuilder::new()
                    .num_threads(1)
                    .use_current_thread()
                    .build();
                if let Err(problem) = own_pool {
                    error!(%problem, "a lane computes on the threads of all");
                }
                while let Some(batch) = intake.next_batch() {
                    compute(encoder.as_mut(), batch);
                }
            })
        });
    lanes.collect()
}

/// Computes one batch. What goes wrong fails the batch's requests and nothing else.
fn compute(encoder: &mut dyn Encoder, batch: Vec<Piece>) {
    let texts: Vec<&[u32]> = batch.iter().flat_map(Piece::token_ids).collect();
    metrics::batch(texts.len(), texts.iter().map(|text| text.len()).sum());
    let result = catch_unwind(AssertUnwindSafe(|| encoder.embed(&texts)));
    let vectors = match result {
        Ok(Ok(vectors)) if vectors.len() == texts.len() => Ok(vectors),
        Ok(Ok(vectors)) => Err(format!(
            "the model gave {} vectors for {} texts",
            vectors.len(),
            texts.len()
        )),
        Ok(Err(problem)) => Err(problem.to_string()),
        Err(_) => Err("the model panicked".to_owned()),
    };
    let now = Instant::now();
    match vectors {
        Ok(mut vectors) => {
            for piece in batch {
                let rest = vectors.split_off(piece.texts.len());
                piece.finish(Ok(std::mem::replace(&mut vectors, rest)), now);
            }
        }
        Err(problem) => {
            error!(problem, texts = texts.len(), "a batch failed");
            for piece in batch {
                piece.finish(Err(problem.clone()), now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::admission::Admission;
    use super::*;
    use crate::model::ModelError;

    struct Forgetful;

    impl Encoder for Forgetful {
        fn embed(&mut self, batch: &[&[u32]]) -> Result<Vec<Vec<f32>>, ModelError> {
            Ok(vec![vec![0.0]; batch.len() - 1])
        }
    }

    #[test]
    fn a_model_that_forgets_a_text_fails_the_request_and_frees_its_slot() {
        let admission = Admission::new(1);
        let slot = admission.take("").expect("a slot is free");
        let now = Instant::now();
        let (job, mut outcome) = Job::new(vec![vec![1], vec![1]], None, slot, now);
        compute(&mut Forgetful, vec![Piece::begin(job, 0..2, now)]);
        let failure = outcome
            .try_recv()
            .expect("it is over")
            .expect_err("a vector lacks");
        assert!(
            failure.to_string().contains("1 vectors for 2 texts"),
            "{failure}"
        );
        assert_eq!(admission.busy(), 0);
    }
}
