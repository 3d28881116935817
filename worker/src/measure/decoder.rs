//! A decoder that is computed step by step, without requests: what `bench` and `compare` have in common
//! for decoders.

use std::path::{Path, PathBuf};
use std::time::Instant;

use tidegate_generation::{Chunk, Network as _, Tokenizer, Wanted, likeliest};
use tidegate_kernels::PAGE_TOKENS;

use super::{Inputs, MeasureError};
use crate::config::GenerateConfig;
use crate::engine::decoder::Network;
use crate::models::ModelError;
use crate::models::decoder;

/// Tokens of the longest sequence.
pub const CONTEXT: usize = 640;

/// Tokens that each of several sequences together has at most.
pub const EACH: usize = 128;

/// A loaded decoder with a cache for some sequences.
pub struct Runner {
    path: PathBuf,
    network: Network,
    pub tokenizer: Tokenizer,
    pub facts: Facts,
    /// Tokens of a prompt that are computed in one step, as where it is served.
    step: usize,
    context: usize,
    logits: Vec<f32>,
}

/// What is known of it.
#[derive(Clone, Debug)]
pub struct Facts {
    pub precision: &'static str,
    /// Of the weights' file.
    pub model_bytes: u64,
    pub weights_bytes: u64,
    /// From opening the files to the first result.
    pub load_ms: f64,
    pub threads: usize,
}

/// A sequence: its place in the cache, and what is computed of it.
pub struct Sequence {
    pages: Vec<u32>,
    pub computed: usize,
}

impl Runner {
    /// Loads a model that computes up to `together` sequences in a step.
    pub fn open(path: &Path, together: usize, threads: usize) -> Result<Runner, MeasureError> {
        let begun = Instant::now();
        let opened = decoder::open(path)?;
        let (model_bytes, precision) = (opened.file_bytes, opened.precision());
        let context = opened.context().min(CONTEXT);
        let step = GenerateConfig::default().step_tokens.get();
        let pages = (CONTEXT.max(together * EACH)).div_ceil(PAGE_TOKENS);
        let rows = step.max(together);
        let network = Network::new(opened.load(context)?, pages, rows, context, threads);
        let network = network.map_err(|error| failed(path, error.to_string()))?;
        let mut runner = Runner {
            facts: Facts {
                precision,
                model_bytes,
                weights_bytes: network.weights_bytes() as u64,
                load_ms: 0.0,
                threads,
            },
            path: path.to_owned(),
            network,
            tokenizer: opened.tokenizer,
            step,
            context,
            logits: Vec::new(),
        };
        let mut sequence = runner.sequence(0, 1);
        runner.read(&mut sequence, &[0])?;
        runner.facts.load_ms = begun.elapsed().as_secs_f64() * 1e3;
        Ok(runner)
    }

    pub fn vocabulary(&self) -> usize {
        self.network.vocabulary()
    }

    /// Tokens of the longest sequence.
    pub fn context(&self) -> usize {
        self.context
    }

    /// The sequence of this number, of `tokens` at most; others of as many tokens do not overlap it.
    pub fn sequence(&self, number: usize, tokens: usize) -> Sequence {
        let each = tokens.div_ceil(PAGE_TOKENS);
        let first = number * each;
        Sequence {
            pages: (first..first + each).map(|page| page as u32).collect(),
            computed: 0,
        }
    }

    /// Reads tokens as a prompt, and returns the logits behind the last.
    pub fn read(
        &mut self,
        sequence: &mut Sequence,
        tokens: &[u32],
    ) -> Result<&[f32], MeasureError> {
        let mut last = None;
        for (at, part) in tokens.chunks(self.step).enumerate() {
            let ends = (at + 1) * self.step >= tokens.len();
            let wanted = if ends { Wanted::Last } else { Wanted::None };
            let chunk = chunk(sequence, part, wanted);
            self.logits
                .resize(if ends { self.network.vocabulary() } else { 0 }, 0.0);
            let stepped = self.network.step(&[chunk], &mut self.logits);
            stepped.map_err(|error| failed(&self.path, error.to_string()))?;
            sequence.computed += part.len();
            last = ends.then_some(());
        }
        match last {
            Some(()) => Ok(&self.logits),
            None => Err(failed(&self.path, "an input has no tokens".to_owned())),
        }
    }

    /// Computes a token of each sequence, and returns the likeliest next ones.
    pub fn next(
        &mut self,
        sequences: &mut [Sequence],
        tokens: &[u32],
    ) -> Result<Vec<u32>, MeasureError> {
        let chunks: Vec<Chunk> = (sequences.iter().zip(tokens))
            .map(|(sequence, token)| chunk(sequence, std::slice::from_ref(token), Wanted::Last))
            .collect();
        let width = self.network.vocabulary();
        self.logits.resize(chunks.len() * width, 0.0);
        let stepped = self.network.step(&chunks, &mut self.logits);
        stepped.map_err(|error| failed(&self.path, error.to_string()))?;
        for sequence in sequences {
            sequence.computed += 1;
        }
        Ok(self.logits.chunks_exact(width).map(likeliest).collect())
    }

    /// The logits behind each of a few tokens, at most as many as are computed in one step.
    pub fn all_logits(
        &mut self,
        sequence: &mut Sequence,
        tokens: &[u32],
    ) -> Result<&[f32], MeasureError> {
        let chunk = chunk(sequence, tokens, Wanted::All);
        self.logits
            .resize(tokens.len() * self.network.vocabulary(), 0.0);
        let stepped = self.network.step(&[chunk], &mut self.logits);
        stepped.map_err(|error| failed(&self.path, error.to_string()))?;
        sequence.computed += tokens.len();
        Ok(&self.logits)
    }

    /// Tokens that [`Runner::all_logits`] takes at once.
    pub fn step(&self) -> usize {
        self.step
    }

    /// The tokens of each input, cut to `most`.
    pub fn tokens(&self, inputs: &Inputs, most: usize) -> Result<Vec<Vec<u32>>, MeasureError> {
        let read = |input: &super::Input| {
            let tokens = self.tokenizer.encode(input.first());
            let mut tokens = tokens.map_err(|error| failed(&self.path, error.to_string()))?;
            tokens.truncate(most);
            Ok(tokens)
        };
        inputs.items.iter().map(read).collect()
    }
}

fn chunk<'a>(sequence: &'a Sequence, tokens: &'a [u32], wanted: Wanted) -> Chunk<'a> {
    Chunk {
        tokens,
        start: sequence.computed,
        pages: &sequence.pages,
        wanted,
    }
}

pub fn failed(path: &Path, problem: String) -> MeasureError {
    MeasureError::Model(ModelError::Invalid {
        file: path.to_owned(),
        problem,
    })
}
