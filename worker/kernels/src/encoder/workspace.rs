//! The working memory of one thread.

use super::Encoder;
use crate::aligned::Aligned;
use crate::attention::AttentionScratch;
use crate::isa::Isa;
use crate::quant::QuantRows;

/// Rows that go through both feed-forward layers together, so that the wide rows between them stay
/// in cache.
pub(super) const INNER_ROWS: usize = 96;

/// Working memory for chunks up to a number of rows. Made once, used for batch after batch.
pub struct Workspace {
    /// Of the encoders that it fits.
    pub(super) shape: Shape,
    pub(super) max_rows: usize,
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
        let own = &self.own;
        let floats = [&self.qkv, &own.hidden, &own.context, &own.inner].map(Aligned::bytes);
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
            qkv: Aligned::zeroed(max_rows * 3 * width),
            own: Buffers {
                hidden: Aligned::zeroed(max_rows * width),
                quant: QuantRows::new(isa, max_rows, width),
                context: Aligned::zeroed(max_rows * width),
                inner: Aligned::zeroed(INNER_ROWS * inner),
                inner_quant: QuantRows::new(isa, INNER_ROWS, inner),
                scratch: AttentionScratch::new(max_rows, head_dim),
            },
        }
    }
}
