//! Keys and values to the cache, and each row's context from it.

use std::ops::Range;
use std::sync::atomic::Ordering;

use super::Pass;
use crate::block_linear::QuantizeRows;
use crate::decoder::{Chunk, DecoderLayer};
use crate::paged::{Attend, PAGE_TOKENS, PagedScratch, Place, Visible};
use crate::rope::Rope;
use crate::simd::{Kernel, Simd};
use crate::team::Member;

/// Queries of one sequence that are one piece of attention's work.
const QUERY_BLOCK: usize = 32;

impl Pass<'_> {
    /// Norms and rotates the queries and keys of some rows, and stores keys and values.
    pub(super) fn store_keys(&self, layer: &DecoderLayer, index: usize, rows: Range<usize>) {
        self.decoder.isa.run(StoreKeys {
            pass: self,
            layer,
            index,
            rope: &self.decoder.parts.ropes[layer.rope],
            rows,
        });
    }

    /// Takes pieces of work, each some queries of one sequence over one key head, until none is
    /// left.
    pub(super) fn attend(&self, layer: &DecoderLayer, index: usize, member: Member<'_>) {
        let shape = &self.decoder.parts.shape;
        let scratch = PagedScratch::values_for(self.max_context, shape.head_dim);
        // SAFETY: each member has a scratch of its own.
        let scratch = unsafe {
            self.scratch
                .write(member.index * scratch..(member.index + 1) * scratch)
        };
        let pieces: usize = self.chunks.iter().map(|chunk| self.pieces(chunk)).sum();
        // Every member takes one piece too many in each layer.
        let base = index * (pieces + member.count);
        loop {
            let piece = self.taken.fetch_add(1, Ordering::Relaxed) - base;
            if piece >= pieces {
                return;
            }
            self.attend_piece(layer, index, piece, scratch);
        }
    }

    fn pieces(&self, chunk: &Chunk<'_>) -> usize {
        chunk.tokens.len().div_ceil(QUERY_BLOCK) * self.decoder.parts.shape.kv_heads
    }

    /// The longest pieces of a chunk, those with the last queries, come first.
    fn attend_piece(
        &self,
        layer: &DecoderLayer,
        index: usize,
        mut piece: usize,
        scratch: &mut [f32],
    ) {
        let shape = &self.decoder.parts.shape;
        let mut chunk = 0;
        while piece >= self.pieces(&self.chunks[chunk]) {
            piece -= self.pieces(&self.chunks[chunk]);
            chunk += 1;
        }
        let (first_row, chunk) = (self.plan.first[chunk], &self.chunks[chunk]);
        let blocks = chunk.tokens.len().div_ceil(QUERY_BLOCK);
        let first = (blocks - 1 - piece / shape.kv_heads) * QUERY_BLOCK;
        let rows = QUERY_BLOCK.min(chunk.tokens.len() - first);
        let kv_head = piece % shape.kv_heads;
        let head = kv_head * (shape.heads / shape.kv_heads) * shape.head_dim;
        let row = first_row + first;
        let attend = Attend {
            shape: shape.attention(),
            cache: self.cache,
            layer: index,
            pages: chunk.pages,
            kv_head,
            queries: self.qkv.pointer(row * shape.qkv_width() + head),
            stride: shape.qkv_width(),
            start: chunk.start + first,
            rows,
            visible: Visible::Causal {
                window: layer.window,
            },
            bias: None,
            scratch,
            out: self.context.pointer(row * shape.query_width() + head),
            out_stride: shape.query_width(),
        };
        // SAFETY: queries, keys and values were written before the last barrier; only the member
        // that took this piece writes its results; pages and lengths were checked with the step.
        unsafe { attend.run(self.decoder.isa) };
    }

    pub(super) fn quantize_context(&self, layer: &DecoderLayer, rows: Range<usize>) {
        if !layer.output.reads_floats() {
            let width = self.decoder.parts.shape.query_width();
            self.decoder.isa.run(QuantizeRows {
                from: self.context.pointer(rows.start * width),
                stride: width,
                to: self.context_quant,
                rows,
                columns: 0..width,
            });
        }
    }
}

struct StoreKeys<'a> {
    pass: &'a Pass<'a>,
    layer: &'a DecoderLayer,
    index: usize,
    rope: &'a Rope,
    rows: Range<usize>,
}

impl Kernel for StoreKeys<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let pass = self.pass;
        let shape = &pass.decoder.parts.shape;
        let (dim, width) = (shape.head_dim, shape.qkv_width());
        for row in self.rows {
            let (chunk, position) = pass.plan.rows[row];
            let at = (self.layer.rope * pass.max_rows + row) * dim;
            let pairs = self.rope.inverse_frequencies.len();
            // SAFETY: the row is this member's own, and so is its position in the cache: no other
            // chunk uses that page, and no other row that slot.
            unsafe {
                let table = pass.tables.read(at..at + 2 * pairs);
                let qkv = pass.qkv.write(row * width..(row + 1) * width);
                for (head, values) in qkv
                    .chunks_exact_mut(dim)
                    .take(shape.heads + shape.kv_heads)
                    .enumerate()
                {
                    let norm = if head < shape.heads {
                        &self.layer.query_norm
                    } else {
                        &self.layer.key_norm
                    };
                    if let Some(norm) = norm {
                        norm.row(s, values.as_ptr(), values.as_mut_ptr());
                    }
                    self.rope.rotate(values, table);
                }
                for head in 0..shape.kv_heads {
                    let place = Place {
                        layer: self.index,
                        page: pass.chunks[chunk].pages[position / PAGE_TOKENS],
                        slot: position % PAGE_TOKENS,
                        head,
                    };
                    let key = &qkv[shape.query_width() + head * dim..][..dim];
                    let value = &qkv[shape.query_width() + shape.key_width() + head * dim..][..dim];
                    pass.cache.put(s, place, key.as_ptr(), value.as_ptr());
                }
            }
        }
    }
}
