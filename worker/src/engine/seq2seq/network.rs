//! The kernels' encoder and decoder as what the scheduler steps.

use thiserror::Error;
use tidegate_kernels::{
    KvCache, PAGE_TOKENS, Seq2Seq, Seq2SeqWorkspace, ShapeError, StepError, Team,
};
use tidegate_seq2seq::{self as seq2seq, Limits};

use super::plan::kv_type;

/// A model with its caches, its working memory and its team.
pub struct Network {
    model: Seq2Seq,
    sources: KvCache,
    targets: KvCache,
    workspace: Seq2SeqWorkspace,
    team: Team,
}

#[derive(Debug, Error)]
pub enum NetworkError {
    #[error(transparent)]
    Step(#[from] StepError),
    #[error(transparent)]
    Shape(#[from] ShapeError),
    #[error("the computing threads cannot be started: {0}")]
    Team(std::io::Error),
}

impl Network {
    pub fn new(
        model: Seq2Seq,
        quantized: bool,
        limits: &Limits,
        threads: usize,
    ) -> Result<Network, NetworkError> {
        let team = Team::new(threads).map_err(NetworkError::Team)?;
        let (shape, rows) = (model.kv_shape(), rows(limits));
        Ok(Network {
            sources: KvCache::new(shape, limits.source_pages, kv_type(quantized)),
            targets: KvCache::new(shape, limits.target_pages, kv_type(quantized)),
            workspace: Seq2SeqWorkspace::new(&model, rows, team.members()),
            team,
            model,
        })
    }

    /// Bytes of the weights as they are packed.
    pub fn weights_bytes(&self) -> usize {
        self.model.bytes()
    }

    /// Bytes that the caches take when every page is used.
    pub fn cache_bytes(&self) -> usize {
        self.sources.bytes() + self.targets.bytes()
    }
}

/// Tokens of a page, as limits need it.
pub const PAGE: usize = PAGE_TOKENS;

/// Rows of the largest call. Short sources take a page of the encoder's each, of which it has one
/// for every eight rows.
fn rows(limits: &Limits) -> usize {
    limits.targets.max(limits.source_tokens)
}

impl seq2seq::Network for Network {
    type Error = NetworkError;

    fn vocabulary(&self) -> usize {
        self.model.shape().vocab
    }

    fn encode(&mut self, sources: &[seq2seq::Source<'_>]) -> Result<(), NetworkError> {
        let mut rest = sources;
        while !rest.is_empty() {
            let fits = |count: &usize| {
                let lengths = rest[..*count].iter().map(|source| source.tokens.len());
                self.workspace.holds(lengths)
            };
            let count = (1..=rest.len()).take_while(fits).last().unwrap_or(1);
            let (now, later) = rest.split_at(count);
            rest = later;
            let now: Vec<_> = now.iter().map(source).collect();
            let Network {
                model,
                sources,
                workspace,
                team,
                ..
            } = self;
            model.encode(team, sources, workspace, &now)?;
        }
        Ok(())
    }

    fn step(
        &mut self,
        targets: &[seq2seq::Target<'_>],
        logits: &mut [f32],
    ) -> Result<(), NetworkError> {
        let now: Vec<_> = targets.iter().map(target).collect();
        let Network {
            model,
            sources,
            targets,
            workspace,
            team,
        } = self;
        model.step(team, targets, sources, workspace, &now, logits)?;
        Ok(())
    }

    fn copy_page(&mut self, from: u32, to: u32) -> Result<(), NetworkError> {
        Ok(self.targets.copy_page(from, to)?)
    }
}

fn source<'a>(source: &seq2seq::Source<'a>) -> tidegate_kernels::Source<'a> {
    tidegate_kernels::Source {
        tokens: source.tokens,
        pages: source.pages,
    }
}

fn target<'a>(target: &seq2seq::Target<'a>) -> tidegate_kernels::Target<'a> {
    tidegate_kernels::Target {
        token: target.token,
        position: target.position,
        pages: target.pages,
        source: target.source.pages,
        source_len: target.source.tokens.len(),
    }
}
