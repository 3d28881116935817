//! One member's part of a step, from token ids to logits.
//!
//! With many rows a member computes its share of the rows from end to end, and members meet only
//! where attention needs the others' keys. With few rows, as when each sequence decodes one token,
//! they share the output channels of each layer, so that each weight is read once, and meet after
//! each.

mod attention;
mod feed_forward;
mod rows;

use std::ops::Range;
use std::sync::atomic::AtomicUsize;

use self::rows::{AddNormed, NormRows, Rows, Softcap};
use super::workspace::Plan;
use super::{Chunk, Decoder, DecoderLayer};
use crate::block_linear::{BlockLinear, BlockView, Multiply};
use crate::linear::{Activation, Epilogue, Store};
use crate::paged::CacheView;
use crate::rms_norm::RmsNorm;
use crate::simd::MAX_PANEL;
use crate::team::{Broken, Member, SharedRows};

const REPLACE: Epilogue = Epilogue {
    activation: Activation::None,
    store: Store::Replace,
};
const ADD: Epilogue = Epilogue {
    activation: Activation::None,
    store: Store::Add,
};

/// What the members of a step share. Every buffer has a row for each row of the step.
pub(super) struct Pass<'a> {
    pub(super) decoder: &'a Decoder,
    pub(super) chunks: &'a [Chunk<'a>],
    pub(super) plan: &'a Plan,
    /// Whether members share the rows rather than the channels.
    pub(super) by_rows: bool,
    pub(super) cache: CacheView<'a>,
    pub(super) hidden: SharedRows<'a>,
    pub(super) normed: SharedRows<'a>,
    pub(super) normed_quant: BlockView<'a>,
    pub(super) qkv: SharedRows<'a>,
    pub(super) context: SharedRows<'a>,
    pub(super) context_quant: BlockView<'a>,
    pub(super) branch: SharedRows<'a>,
    /// For each member INNER_ROWS rows.
    pub(super) inner: SharedRows<'a>,
    pub(super) inner_quant: BlockView<'a>,
    pub(super) tables: SharedRows<'a>,
    /// For each member one.
    pub(super) scratch: SharedRows<'a>,
    pub(super) max_rows: usize,
    pub(super) max_context: usize,
    pub(super) out: SharedRows<'a>,
    /// Pieces of attention's work that were taken, over all layers.
    pub(super) taken: AtomicUsize,
}

/// Rows that a layer reads.
#[derive(Clone, Copy)]
struct Source<'a> {
    float: SharedRows<'a>,
    quant: BlockView<'a>,
}

impl<'a> Pass<'a> {
    /// Rows that are worth a member of their own.
    pub(super) const ROWS_OF_ONE: usize = 24;

    pub(super) fn run(&self, member: Member<'_>) -> Result<(), Broken> {
        let own = self.own_rows(member);
        self.embed(own.clone());
        let mut post = None;
        let normed = Source {
            float: self.normed,
            quant: self.normed_quant,
        };
        for (i, layer) in self.decoder.parts.layers.iter().enumerate() {
            self.norm(&layer.attention_norm, post, own.clone());
            self.meet(member)?;
            self.project(layer, normed, member);
            self.meet(member)?;
            self.store_keys(layer, i, own.clone());
            member.wait()?;
            self.attend(layer, i, member);
            member.wait()?;
            self.quantize_context(layer, own.clone());
            self.meet(member)?;
            self.add(&layer.output, layer.post_attention_norm.is_some(), member);
            self.meet(member)?;
            self.norm(
                &layer.feed_forward_norm,
                layer.post_attention_norm.as_ref(),
                own.clone(),
            );
            self.meet(member)?;
            self.feed_forward(layer, normed, member)?;
            self.meet(member)?;
            post = layer.post_feed_forward_norm.as_ref();
        }
        self.logits(post, own, normed, member)
    }

    /// The rows that only this member changes, apart from the channels of a layer's result.
    fn own_rows(&self, member: Member<'_>) -> Range<usize> {
        member.share(self.plan.rows.len(), 1)
    }

    /// Members wait for each other where they share channels.
    fn meet(&self, member: Member<'_>) -> Result<(), Broken> {
        if self.by_rows { Ok(()) } else { member.wait() }
    }

    /// Rows and columns of a layer's result that this member computes.
    fn part(&self, linear: &BlockLinear, member: Member<'_>) -> (Range<usize>, Range<usize>) {
        if self.by_rows {
            (self.own_rows(member), 0..linear.n)
        } else {
            (0..self.plan.rows.len(), member.share(linear.n, MAX_PANEL))
        }
    }

    /// Embeddings and the rotations of each row.
    fn embed(&self, rows: Range<usize>) {
        let parts = &self.decoder.parts;
        let (width, dim) = (parts.shape.width, parts.shape.head_dim);
        for row in rows {
            let (chunk, position) = self.plan.rows[row];
            let chunk = &self.chunks[chunk];
            let token = chunk.tokens[position - chunk.start] as usize;
            // SAFETY: the row is this member's own.
            let hidden = unsafe { self.hidden.write(row * width..(row + 1) * width) };
            // Tokens were checked when the step was.
            let found = parts.tokens.channel(token, hidden);
            debug_assert!(found.is_ok());
            if parts.shape.embedding_scale != 1.0 {
                hidden
                    .iter_mut()
                    .for_each(|x| *x *= parts.shape.embedding_scale);
            }
            for (i, rope) in parts.ropes.iter().enumerate() {
                let at = (i * self.max_rows + row) * dim;
                // SAFETY: as above.
                let table = unsafe { self.tables.write(at..at + dim) };
                rope.table(position, table);
            }
        }
    }

    /// Takes in the branch that waits for its norm, then normalizes.
    fn norm(&self, norm: &RmsNorm, post: Option<&RmsNorm>, rows: Range<usize>) {
        self.decoder.isa.run(NormRows {
            pass: self,
            norm,
            post,
            from: Rows::Own(rows),
        });
    }

    fn project(&self, layer: &DecoderLayer, from: Source<'_>, member: Member<'_>) {
        let shape = &self.decoder.parts.shape;
        let (query, key) = (shape.query_width(), shape.key_width());
        let to = [0, query, query + key];
        for (linear, first) in [&layer.queries, &layer.keys, &layer.values]
            .into_iter()
            .zip(to)
        {
            let (rows, columns) = self.part(linear, member);
            let to = Target {
                rows: self.qkv,
                stride: shape.qkv_width(),
                first,
            };
            self.multiply(linear, None, from, rows.start, (rows, columns), REPLACE, to);
        }
    }

    /// Adds the context's branch to the hidden rows, or leaves it for the norm that follows it.
    fn add(&self, linear: &BlockLinear, waits: bool, member: Member<'_>) {
        let (rows, columns) = self.part(linear, member);
        let from = Source {
            float: self.context,
            quant: self.context_quant,
        };
        let (epilogue, to) = self.branch_target(waits);
        self.multiply(
            linear,
            None,
            from,
            rows.start,
            (rows, columns),
            epilogue,
            to,
        );
    }

    fn branch_target(&self, waits: bool) -> (Epilogue, Target<'a>) {
        let (epilogue, rows) = if waits {
            (REPLACE, self.branch)
        } else {
            (ADD, self.hidden)
        };
        let stride = self.decoder.parts.shape.width;
        let to = Target {
            rows,
            stride,
            first: 0,
        };
        (epilogue, to)
    }

    /// The logits of the wanted rows.
    fn logits(
        &self,
        post: Option<&RmsNorm>,
        own: Range<usize>,
        from: Source<'_>,
        member: Member<'_>,
    ) -> Result<(), Broken> {
        let parts = &self.decoder.parts;
        if let Some(post) = post {
            self.decoder.isa.run(AddNormed {
                pass: self,
                post,
                rows: own,
            });
        }
        member.wait()?;
        let wanted = &self.plan.wanted;
        self.decoder.isa.run(NormRows {
            pass: self,
            norm: &parts.output_norm,
            post: None,
            from: Rows::Wanted(member.share(wanted.len(), 1)),
        });
        member.wait()?;
        let (head, vocab) = (self.decoder.head(), parts.shape.vocab);
        let columns = member.share(vocab, MAX_PANEL);
        let to = Target {
            rows: self.out,
            stride: vocab,
            first: 0,
        };
        let part = (0..wanted.len(), columns.clone());
        self.multiply(head, None, from, 0, part, REPLACE, to);
        if let Some(cap) = parts.shape.logit_softcap {
            for row in 0..wanted.len() {
                let part = row * vocab + columns.start..row * vocab + columns.end;
                // SAFETY: these columns are this member's own.
                let row = unsafe { self.out.write(part) };
                self.decoder.isa.run(Softcap { row, cap });
            }
        }
        Ok(())
    }

    /// Multiplies rows of `from` into `to`, from its row `first_row` on.
    #[allow(clippy::too_many_arguments)]
    fn multiply(
        &self,
        linear: &BlockLinear,
        gate: Option<(&BlockLinear, Activation)>,
        from: Source<'_>,
        first_row: usize,
        (rows, columns): (Range<usize>, Range<usize>),
        epilogue: Epilogue,
        to: Target<'_>,
    ) {
        if rows.is_empty() || columns.is_empty() {
            return;
        }
        let multiply = Multiply {
            linear,
            gate,
            float: from.float.pointer(0),
            blocks: from.quant,
            out: to
                .rows
                .pointer(first_row * to.stride + to.first + columns.start),
            rows,
            columns,
            epilogue,
            stride: to.stride,
        };
        // SAFETY: the rows were written by this member or before the last barrier, in the form that
        // the layer reads; this member alone writes these rows and columns of `to`; shapes were
        // checked when the decoder and the workspace were made.
        unsafe { multiply.run() };
    }
}

/// Where a layer's result goes: a part of wider rows.
#[derive(Clone, Copy)]
struct Target<'a> {
    rows: SharedRows<'a>,
    stride: usize,
    first: usize,
}
