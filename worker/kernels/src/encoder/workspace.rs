//! The working memory of one thread, and that thread where several work together.

use super::Encoder;
use crate::aligned::Aligned;
use crate::attention::AttentionScratch;
use crate::isa::Isa;
use crate::quant::QuantRows;
use crate::team::{Broken, Helper};

/// Rows that go through both feed-forward layers together, so that the wide rows between them stay
/// in cache.
pub(super) const INNER_ROWS: usize = 96;

/// Working memory for chunks up to a number of rows. Made once, used for batch after batch.
pub struct Workspace {
    /// Of the encoders that it fits.
    pub(super) shape: Shape,
    pub(super) max_rows: usize,
    pub(super) memory: Memory,
    /// Computes in this memory when another thread shares its batch; started by the first that does.
    helper: Option<Helper>,
}

pub(super) struct Memory {
    /// Queries, keys and values of a chunk. Apart from `own`, because a team shares it.
    pub(super) qkv: Aligned<f32>,
    pub(super) own: Buffers,
}

/// The sizes of an encoder that its workspaces depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) isa: Isa,
    pub(super) width: usize,
    pub(super) head_dim: usize,
    /// Width of each layer's inner rows.
    pub(super) inner: usize,
}

/// What a thread never shares.
pub(super) struct Buffers {
    pub(super) hidden: Aligned<f32>,
    pub(super) quant: QuantRows,
    pub(super) context: Aligned<f32>,
    pub(super) inner: Aligned<f32>,
    pub(super) inner_quant: QuantRows,
    pub(super) scratch: AttentionScratch,
}

impl Workspace {
    /// Bytes that a workspace of these sizes will hold, on the isa that needs most.
    pub fn bytes_for(width: usize, head_dim: usize, inner: usize, max_rows: usize) -> usize {
        let floats = max_rows * 5 * width
            + INNER_ROWS * inner
            + AttentionScratch::values_for(max_rows, head_dim);
        let quants =
            QuantRows::bytes_for(max_rows, width) + QuantRows::bytes_for(INNER_ROWS, inner);
        floats * size_of::<f32>() + quants
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let Memory { qkv, own } = &self.memory;
        let floats = [qkv, &own.hidden, &own.context, &own.inner].map(Aligned::bytes);
        let quants = own.quant.bytes() + own.inner_quant.bytes();
        floats.iter().sum::<usize>() + quants + own.scratch.bytes()
    }

    /// Room for sequences of up to `max_rows` tokens; shorter ones share a chunk of as many rows,
    /// 192 being enough for full speed.
    pub fn new(encoder: &Encoder, max_rows: usize) -> Self {
        let Shape {
            isa,
            width,
            head_dim,
            inner,
        } = encoder.shape();
        Self {
            max_rows,
            shape: encoder.shape(),
            memory: Memory {
                qkv: Aligned::zeroed(max_rows * 3 * width),
                own: Buffers {
                    hidden: Aligned::zeroed(max_rows * width),
                    quant: QuantRows::new(isa, max_rows, width),
                    context: Aligned::zeroed(max_rows * width),
                    inner: Aligned::zeroed(INNER_ROWS * inner),
                    inner_quant: QuantRows::new(isa, INNER_ROWS, inner),
                    scratch: AttentionScratch::new(max_rows, head_dim),
                },
            },
            helper: None,
        }
    }

    /// The memory, and the thread that belongs to it, which is started if it is not there yet.
    pub(super) fn with_helper(&mut self) -> Result<(&mut Memory, &mut Helper), Broken> {
        let helper = match &mut self.helper {
            Some(helper) => helper,
            none => none.insert(Helper::start("encoder".to_owned()).map_err(|_| Broken)?),
        };
        Ok((&mut self.memory, helper))
    }
}
