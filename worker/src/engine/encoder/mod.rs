//! The engine of encoders: texts of several requests in one batch, whole answers.
//!
//! [`queue`] keeps what waits, [`compute`] has the threads that compute it, [`job`] is one request on
//! its way through both.

mod compute;
mod job;
mod queue;

use std::sync::Arc;
use std::time::Instant;

use tidegate_agent::Capacity;
use tokio::sync::mpsc;

pub use self::compute::Coming;
use self::compute::Intake;
use self::job::Job;
use super::{Deaths, Engine, Event, Request};
use crate::config::BatchConfig;
use crate::models::{Network, Sequence, Want, Workspace};

/// A network with its threads.
pub struct Encoder {
    intake: Arc<Intake>,
}

/// Texts to compute.
#[derive(Debug)]
pub struct Texts {
    /// At least one.
    pub sequences: Vec<Sequence>,
    /// Of each of them.
    pub want: Want,
    /// As it was announced by [`Encoder::expect`].
    pub coming: Coming,
}

/// What is wanted of each text: a row, or a row for each of its tokens, end to end.
pub type Rows = Vec<Vec<f32>>;

impl Encoder {
    /// Starts a thread for each workspace; they end when the engine is closed.
    pub fn start(
        network: Network,
        workspaces: Vec<Workspace>,
        config: &BatchConfig,
        deaths: &Deaths,
    ) -> std::io::Result<Encoder> {
        let intake = Intake::new(config);
        compute::start(&intake, network, workspaces, deaths)?;
        Ok(Encoder { intake })
    }

    /// Announces a request that is being read into tokens: a batch may be held back a little for
    /// it. Dropping what is returned says that it will not come.
    pub fn expect(&self) -> Coming {
        self.intake.expect()
    }

    /// The most tokens in a batch.
    pub fn max_tokens(&self) -> usize {
        self.intake.max_tokens()
    }

    /// Ends the threads once nothing waits.
    pub fn close(&self) {
        self.intake.close();
    }
}

impl Engine for Encoder {
    type Input = Texts;
    type Output = Rows;

    fn submit(&self, request: Request<Texts>) -> mpsc::Receiver<Event<Rows>> {
        let Texts {
            sequences,
            want,
            coming,
        } = request.input;
        let (job, events) = Job::new(
            sequences,
            want,
            request.deadline,
            request.slot,
            Instant::now(),
        );
        coming.arrive(job);
        events
    }

    fn capacity(&self, requests: u32) -> Capacity {
        Capacity {
            requests,
            tokens: None,
        }
    }

    fn waiting(&self) -> usize {
        self.intake.waiting()
    }
}
