//! The engine of decoders: tidegate-generation's scheduler over the kernels' decoder.

mod network;
mod plan;

use std::sync::Arc;

use tidegate_agent::Capacity;
use tidegate_generation::{Delta, Finish, Limits, Scheduler, Task, Tokenizer};

pub use self::network::Network;
pub use self::plan::Plan;
use super::generative::{self, Admitted, End, Generative, Load, Prompt};

/// A decoder with its thread.
pub type Decoder = Generative<Model>;

/// A part of one of a request's answers.
pub type Piece = generative::Piece<Delta>;

pub struct Model {
    network: Network,
    tokenizer: Arc<Tokenizer>,
    scheduler: Scheduler,
    limits: Limits,
}

impl Model {
    pub fn new(network: Network, tokenizer: Arc<Tokenizer>, limits: Limits) -> Model {
        Model {
            network,
            tokenizer,
            scheduler: Scheduler::new(limits),
            limits,
        }
    }
}

impl generative::Model for Model {
    type Task = Task;
    type Delta = Delta;

    fn capacity(&self) -> Capacity {
        Capacity {
            requests: u32::try_from(self.limits.sequences).unwrap_or(u32::MAX),
            tokens: Some((self.limits.pages * self.limits.page_tokens) as u64),
        }
    }

    fn pages(&self) -> usize {
        self.limits.pages
    }

    fn add(&mut self, sequence: u64, task: Task) -> Result<(), String> {
        self.scheduler.add(sequence, task);
        Ok(())
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
            prompt: Some(Prompt {
                tokens: self.scheduler.prompt(sequence).unwrap_or(0),
                reused: self.scheduler.reused(sequence).unwrap_or(0),
            }),
        });
        admitted.collect()
    }

    fn step(&mut self) -> Result<Vec<(u64, Delta)>, String> {
        let stepped = self.scheduler.step(&mut self.network, &self.tokenizer);
        stepped.map_err(|problem| problem.to_string())
    }

    fn load(&self) -> Load {
        let totals = self.scheduler.totals();
        Load {
            running: self.scheduler.running(),
            pages_used: self.scheduler.pages().used(),
            read: totals.prompt_tokens,
            written: totals.answer_tokens,
        }
    }
}

impl generative::Task for Task {
    fn prompt(&self) -> usize {
        self.prompt.len()
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
        Some(match self.finish.as_ref()? {
            Finish::End | Finish::Stop(_) => End::Finished("stop"),
            Finish::Length => End::Finished("length"),
            Finish::Failed(problem) => End::Failed(problem.clone()),
        })
    }
}
