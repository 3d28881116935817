//! The engine of models that make a text of a text: tidegate-seq2seq's scheduler over the kernels'
//! encoder and decoder.

mod network;
mod plan;

use tidegate_agent::Capacity;
use tidegate_seq2seq::{Delta, Finish, Limits, Scheduler, Task, Words};

pub use self::network::{Network, NetworkError, PAGE};
pub use self::plan::{Plan, Sizes};
use super::generative::{self, Admitted, End, Generative, Load};

/// An encoder and its decoder with their thread.
pub type Seq2Seq = Generative<Model>;

/// A part of one of a request's texts.
pub type Piece = generative::Piece<Delta>;

pub struct Model {
    network: Network,
    scheduler: Scheduler,
    limits: Limits,
}

impl Model {
    pub fn new(network: Network, words: Words, limits: Limits) -> Model {
        Model {
            network,
            scheduler: Scheduler::new(limits, words),
            limits,
        }
    }
}

impl generative::Model for Model {
    type Task = Task;
    type Delta = Delta;

    fn capacity(&self) -> Capacity {
        Capacity {
            requests: u32::MAX,
            tokens: Some((self.pages() * self.limits.page_tokens) as u64),
        }
    }

    fn pages(&self) -> usize {
        self.limits.source_pages + self.limits.target_pages
    }

    fn add(&mut self, sequence: u64, task: Task) -> Result<(), String> {
        let added = self.scheduler.add(sequence, task);
        added.map_err(|_| "a text is too large for this worker".to_owned())
    }

    fn remove(&mut self, sequence: u64) {
        self.scheduler.remove(sequence);
    }

    fn is_idle(&self) -> bool {
        self.scheduler.is_idle()
    }

    fn admit(&mut self) -> Vec<Admitted> {
        let begun = self.scheduler.admit().into_iter();
        let admitted = begun.map(|sequence| Admitted {
            sequence,
            prompt: None,
        });
        admitted.collect()
    }

    fn step(&mut self) -> Result<Vec<(u64, Delta)>, String> {
        let stepped = self.scheduler.step(&mut self.network);
        stepped.map_err(|problem| problem.to_string())
    }

    fn load(&self) -> Load {
        let totals = self.scheduler.totals();
        Load {
            running: self.scheduler.running(),
            pages_used: self.scheduler.pages_used(),
            read: totals.source_tokens,
            written: totals.target_tokens,
        }
    }
}

impl generative::Task for Task {
    fn prompt(&self) -> usize {
        self.source.len()
    }

    fn most(&self) -> usize {
        self.max_tokens
    }
}

impl generative::Delta for Delta {
    fn written(&self) -> usize {
        self.tokens.len()
    }

    fn end(&self) -> Option<End> {
        Some(match self.finish? {
            Finish::End => End::Finished("stop"),
            Finish::Length => End::Finished("length"),
        })
    }
}
