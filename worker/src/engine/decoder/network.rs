//! The kernels' decoder as what the scheduler steps.

use thiserror::Error;
use tidegate_generation as generation;
use tidegate_generation::Wanted;
use tidegate_kernels::{Chunk, Decoder, DecoderWorkspace, KvCache, KvType, StepError, Team};

/// A decoder with its cache, its working memory and its team.
pub struct Network {
    decoder: Decoder,
    cache: KvCache,
    workspace: DecoderWorkspace,
    team: Team,
}

#[derive(Debug, Error)]
pub enum NetworkError {
    #[error(transparent)]
    Step(#[from] StepError),
    #[error("the computing threads cannot be started: {0}")]
    Team(std::io::Error),
}

impl Network {
    /// `rows` tokens a step at most, sequences of `context` tokens at most.
    pub fn new(
        decoder: Decoder,
        pages: usize,
        rows: usize,
        context: usize,
        threads: usize,
    ) -> Result<Network, NetworkError> {
        let team = Team::new(threads).map_err(NetworkError::Team)?;
        Ok(Network {
            cache: KvCache::new(decoder.kv_shape(), pages, KvType::F16),
            workspace: DecoderWorkspace::new(&decoder, rows, context, team.members()),
            team,
            decoder,
        })
    }

    /// Bytes of the weights as they are packed.
    pub fn weights_bytes(&self) -> usize {
        self.decoder.bytes()
    }
}

impl generation::Network for Network {
    type Error = NetworkError;

    fn vocabulary(&self) -> usize {
        self.decoder.shape().vocab
    }

    fn step(
        &mut self,
        chunks: &[generation::Chunk],
        logits: &mut [f32],
    ) -> Result<(), NetworkError> {
        let chunks: Vec<Chunk> = chunks
            .iter()
            .map(|chunk| Chunk {
                tokens: chunk.tokens,
                start: chunk.start,
                pages: chunk.pages,
                logits: match chunk.wanted {
                    Wanted::None => tidegate_kernels::Wanted::None,
                    Wanted::Last => tidegate_kernels::Wanted::Last,
                    Wanted::All => tidegate_kernels::Wanted::All,
                },
            })
            .collect();
        let Network {
            decoder,
            cache,
            workspace,
            team,
        } = self;
        decoder.step(team, cache, workspace, &chunks, logits)?;
        Ok(())
    }
}
