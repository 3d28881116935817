//! The working memory of one team.

use crate::aligned::Aligned;
use crate::block_linear::BlockRows;
use crate::error::ShapeError;
use crate::paged::PagedScratch;

use super::Decoder;

/// Rows of one member that go through the feed-forward layers together, so that the wide rows
/// between them stay in cache.
pub(super) const INNER_ROWS: usize = 96;

/// Working memory for steps of up to some rows over contexts of up to some tokens. Made once, used
/// for step after step; a step allocates nothing.
pub struct DecoderWorkspace {
    pub(super) max_rows: usize,
    pub(super) max_context: usize,
    pub(super) members: usize,
    pub(super) sizes: Sizes,
    pub(super) hidden: Aligned<f32>,
    pub(super) normed: Aligned<f32>,
    pub(super) normed_quant: BlockRows,
    pub(super) qkv: Aligned<f32>,
    pub(super) context: Aligned<f32>,
    pub(super) context_quant: BlockRows,
    /// What a branch with a norm after it adds to the hidden rows.
    pub(super) branch: Aligned<f32>,
    pub(super) inner: Aligned<f32>,
    pub(super) inner_quant: BlockRows,
    /// Cosines and sines: for each rope, for each row.
    pub(super) tables: Aligned<f32>,
    pub(super) scratch: Aligned<f32>,
    pub(super) plan: Plan,
}

/// The sizes of a decoder that its workspaces depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) isa: crate::Isa,
    pub(super) width: usize,
    pub(super) query: usize,
    pub(super) qkv: usize,
    pub(super) head_dim: usize,
    pub(super) inner: usize,
    pub(super) ropes: usize,
}

/// What is known of the rows of a step.
#[derive(Default)]
pub(super) struct Plan {
    /// For each row its chunk and its position.
    pub(super) rows: Vec<(usize, usize)>,
    /// The first row of each chunk.
    pub(super) first: Vec<usize>,
    /// The rows whose logits are wanted.
    pub(super) wanted: Vec<usize>,
    /// The step that last wrote each page.
    pub(super) pages: Vec<u64>,
    pub(super) steps: u64,
}

impl Decoder {
    pub(super) fn sizes(&self) -> Sizes {
        let shape = &self.parts.shape;
        Sizes {
            isa: self.isa,
            width: shape.width,
            query: shape.query_width(),
            qkv: shape.qkv_width(),
            head_dim: shape.head_dim,
            inner: shape.inner,
            ropes: self.parts.ropes.len(),
        }
    }

    /// Bytes that a workspace will hold.
    pub fn workspace_bytes(&self, max_rows: usize, max_context: usize, members: usize) -> usize {
        let sizes = self.sizes();
        let inner_rows = INNER_ROWS * members;
        let floats = max_rows * (3 * sizes.width + sizes.query + sizes.qkv)
            + inner_rows * sizes.inner
            + sizes.ropes * max_rows * sizes.head_dim
            + members * PagedScratch::values_for(max_context, sizes.head_dim);
        4 * floats
            + BlockRows::bytes_for(max_rows, sizes.width)
            + BlockRows::bytes_for(max_rows, sizes.query)
            + BlockRows::bytes_for(inner_rows, sizes.inner)
    }
}

impl DecoderWorkspace {
    /// Room for steps of `max_rows` tokens of sequences of up to `max_context` tokens, on a team of
    /// `members`.
    pub fn new(decoder: &Decoder, max_rows: usize, max_context: usize, members: usize) -> Self {
        let sizes = decoder.sizes();
        let inner_rows = INNER_ROWS * members;
        let scratch = PagedScratch::values_for(max_context, sizes.head_dim);
        Self {
            max_rows,
            max_context,
            members,
            sizes,
            hidden: Aligned::zeroed(max_rows * sizes.width),
            normed: Aligned::zeroed(max_rows * sizes.width),
            normed_quant: quant(sizes, max_rows, sizes.width),
            qkv: Aligned::zeroed(max_rows * sizes.qkv),
            context: Aligned::zeroed(max_rows * sizes.query),
            context_quant: quant(sizes, max_rows, sizes.query),
            branch: Aligned::zeroed(max_rows * sizes.width),
            inner: Aligned::zeroed(inner_rows * sizes.inner),
            inner_quant: quant(sizes, inner_rows, sizes.inner),
            tables: Aligned::zeroed(sizes.ropes * max_rows * sizes.head_dim),
            scratch: Aligned::zeroed(members * scratch),
            plan: Plan {
                rows: Vec::with_capacity(max_rows),
                first: Vec::with_capacity(max_rows),
                wanted: Vec::with_capacity(max_rows),
                ..Plan::default()
            },
        }
    }

    /// Rows of the largest step.
    pub fn max_rows(&self) -> usize {
        self.max_rows
    }

    /// Tokens of the longest sequence.
    pub fn max_context(&self) -> usize {
        self.max_context
    }
}

/// Quantized rows, or none where the width has no whole blocks: such a layer's weights are floats.
fn quant(sizes: Sizes, rows: usize, cols: usize) -> BlockRows {
    let made: Result<BlockRows, ShapeError> = BlockRows::new(sizes.isa, rows, cols);
    made.unwrap_or_else(|_| BlockRows::none(sizes.isa))
}
