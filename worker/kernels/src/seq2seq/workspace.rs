//! The working memory of one team.

use super::Seq2Seq;
use crate::aligned::Aligned;
use crate::block_linear::BlockRows;
use crate::isa::Isa;
use crate::paged::{KvCache, KvType, PAGE_TOKENS, PagedScratch};

/// Rows of one member that go through the feed-forward layers together, so that the wide rows
/// between them stay in cache.
pub(super) const INNER_ROWS: usize = 96;

/// Working memory for up to some rows at once. Made once, used for call after call.
pub struct Seq2SeqWorkspace {
    pub(super) max_rows: usize,
    pub(super) members: usize,
    pub(super) sizes: Sizes,
    pub(super) buffers: Buffers,
    /// Keys and values of the encoder's layer that is being computed.
    pub(super) encoder: KvCache,
}

/// Every buffer has a row for each row at once.
pub(super) struct Buffers {
    pub(super) hidden: Aligned<f32>,
    pub(super) normed: Aligned<f32>,
    pub(super) normed_quant: BlockRows,
    pub(super) qkv: Aligned<f32>,
    pub(super) context: Aligned<f32>,
    pub(super) context_quant: BlockRows,
    /// For each member `INNER_ROWS` rows.
    pub(super) inner: Aligned<f32>,
    pub(super) inner_quant: BlockRows,
    /// For each member one.
    pub(super) scratch: Aligned<f32>,
}

/// The sizes that workspaces depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) isa: Isa,
    pub(super) width: usize,
    pub(super) heads: usize,
    pub(super) head_dim: usize,
    pub(super) inner: usize,
    pub(super) context: usize,
}

impl Seq2Seq {
    pub(super) fn sizes(&self) -> Sizes {
        let shape = &self.parts.shape;
        Sizes {
            isa: self.isa,
            width: shape.width,
            heads: shape.heads,
            head_dim: shape.head_dim,
            inner: shape.inner,
            context: shape.max_source.max(shape.max_target),
        }
    }

    /// Bytes that a workspace will hold.
    pub fn workspace_bytes(&self, max_rows: usize, members: usize) -> usize {
        let sizes = self.sizes();
        let (inner_rows, attended) = (INNER_ROWS * members, sizes.attended());
        let floats = max_rows * (2 * sizes.width + 4 * attended)
            + inner_rows * sizes.inner
            + members * PagedScratch::values_for(sizes.context, sizes.head_dim);
        let pages = pages(max_rows);
        4 * floats
            + BlockRows::bytes_for(max_rows, sizes.width)
            + BlockRows::bytes_for(max_rows, attended)
            + BlockRows::bytes_for(inner_rows, sizes.inner)
            + KvCache::bytes_for(self.encoder_kv_shape(), pages, KvType::F32)
    }
}

impl Sizes {
    pub(super) fn attended(&self) -> usize {
        self.heads * self.head_dim
    }
}

/// Pages for sources of `rows` tokens together: each begins on a page of its own, so short ones have
/// room for fewer tokens. Those that are not used take no memory.
fn pages(rows: usize) -> usize {
    rows.div_ceil(PAGE_TOKENS) + rows.div_ceil(8)
}

impl Seq2SeqWorkspace {
    /// Room for `max_rows` tokens of sources, or as many targets, at once, on a team of `members`.
    pub fn new(model: &Seq2Seq, max_rows: usize, members: usize) -> Self {
        let sizes = model.sizes();
        let (inner_rows, attended) = (INNER_ROWS * members, sizes.attended());
        let scratch = PagedScratch::values_for(sizes.context, sizes.head_dim);
        Self {
            max_rows,
            members,
            sizes,
            buffers: Buffers {
                hidden: Aligned::zeroed(max_rows * sizes.width),
                normed: Aligned::zeroed(max_rows * sizes.width),
                normed_quant: quant(sizes.isa, max_rows, sizes.width),
                qkv: Aligned::zeroed(max_rows * 3 * attended),
                context: Aligned::zeroed(max_rows * attended),
                context_quant: quant(sizes.isa, max_rows, attended),
                inner: Aligned::zeroed(inner_rows * sizes.inner),
                inner_quant: quant(sizes.isa, inner_rows, sizes.inner),
                scratch: Aligned::zeroed(members * scratch),
            },
            encoder: KvCache::new(model.encoder_kv_shape(), pages(max_rows), KvType::F32),
        }
    }

    /// Tokens of sources, or targets, at once.
    pub fn max_rows(&self) -> usize {
        self.max_rows
    }

    /// Whether sources of these lengths can be encoded together.
    pub fn holds(&self, lengths: impl Iterator<Item = usize> + Clone) -> bool {
        let pages: usize = lengths.clone().map(|len| len.div_ceil(PAGE_TOKENS)).sum();
        lengths.sum::<usize>() <= self.max_rows && pages <= self.encoder.pages()
    }
}

/// Quantized rows, or none where the width has no whole blocks: such a layer's weights are floats.
fn quant(isa: Isa, rows: usize, cols: usize) -> BlockRows {
    BlockRows::new(isa, rows, cols).unwrap_or_else(|_| BlockRows::none(isa))
}
