//! One member's part of a step, from token ids to logits.
//!
//! With many rows a member computes its share of the rows from end to end, and members meet only
//! where attention needs the others' keys. With few rows, as when each sequence decodes one token,
//! they share the output channels of each layer, so that each weight is read once, and meet after
//! each.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::workspace::{INNER_ROWS, Plan};
use super::{Chunk, Decoder, DecoderLayer};
use crate::block_linear::{BlockLinear, BlockView, Multiply};
use crate::blocks::RUN;
use crate::linear::{Activation, Epilogue, Store};
use crate::paged::{Attend, CacheView, PAGE_TOKENS, PagedScratch, Place, Visible, softcap};
use crate::quant::split;
use crate::rms_norm::RmsNorm;
use crate::rope::Rope;
use crate::simd::{Kernel, MAX_PANEL, Simd};
use crate::team::{Broken, Member, SharedRows};

const REPLACE: Epilogue = Epilogue {
    activation: Activation::None,
    store: Store::Replace,
};
const ADD: Epilogue = Epilogue {
    activation: Activation::None,
    store: Store::Add,
};

/// Queries of one sequence that are one piece of attention's work.
const QUERY_BLOCK: usize = 32;

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
        nth(self.plan.rows.len(), member, 1)
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
            (0..self.plan.rows.len(), nth(linear.n, member, MAX_PANEL))
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

    /// Norms and rotates the queries and keys of some rows, and stores keys and values.
    fn store_keys(&self, layer: &DecoderLayer, index: usize, rows: Range<usize>) {
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
    fn attend(&self, layer: &DecoderLayer, index: usize, member: Member<'_>) {
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

    fn quantize_context(&self, layer: &DecoderLayer, rows: Range<usize>) {
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

    fn feed_forward(
        &self,
        layer: &DecoderLayer,
        from: Source<'_>,
        member: Member<'_>,
    ) -> Result<(), Broken> {
        if !self.by_rows {
            let rows = 0..self.plan.rows.len();
            self.widen(
                layer,
                from,
                rows.clone(),
                0,
                nth(layer.up.n, member, MAX_PANEL),
            );
            member.wait()?;
            self.narrow(layer, rows, 0, nth(layer.down.n, member, MAX_PANEL));
            return Ok(());
        }
        let own = self.own_rows(member);
        let first = member.index * INNER_ROWS;
        for start in own.clone().step_by(INNER_ROWS) {
            let rows = start..own.end.min(start + INNER_ROWS);
            self.widen(layer, from, rows.clone(), first, 0..layer.up.n);
            self.narrow(layer, rows, first, 0..layer.down.n);
        }
        Ok(())
    }

    /// activation(gate(x)) * up(x) of some rows, to the inner rows from `first` on.
    fn widen(
        &self,
        layer: &DecoderLayer,
        from: Source<'_>,
        rows: Range<usize>,
        first: usize,
        columns: Range<usize>,
    ) {
        let shape = &self.decoder.parts.shape;
        let to = Target {
            rows: self.inner,
            stride: shape.inner,
            first: 0,
        };
        let gate = Some((&layer.gate, shape.activation));
        let part = (rows.clone(), columns.clone());
        self.multiply(&layer.up, gate, from, first, part, REPLACE, to);
        if !layer.down.reads_floats() && !columns.is_empty() {
            self.decoder.isa.run(QuantizeRows {
                from: self.inner.pointer(first * shape.inner + columns.start),
                stride: shape.inner,
                to: self.inner_quant,
                rows: first..first + rows.len(),
                columns,
            });
        }
    }

    /// Adds the branch of the inner rows from `first` on to some rows, as [`Pass::add`] does.
    fn narrow(
        &self,
        layer: &DecoderLayer,
        rows: Range<usize>,
        first: usize,
        columns: Range<usize>,
    ) {
        let (epilogue, to) = self.branch_target(layer.post_feed_forward_norm.is_some());
        let from = Source {
            float: self.inner,
            quant: self.inner_quant,
        };
        let inner = first..first + rows.len();
        self.multiply(
            &layer.down,
            None,
            from,
            rows.start,
            (inner, columns),
            epilogue,
            to,
        );
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
            from: Rows::Wanted(nth(wanted.len(), member, 1)),
        });
        member.wait()?;
        let (head, vocab) = (self.decoder.head(), parts.shape.vocab);
        let columns = nth(vocab, member, MAX_PANEL);
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

/// This member's range of `len` things that are cut at multiples of `unit`.
fn nth(len: usize, member: Member<'_>, unit: usize) -> Range<usize> {
    let mut parts = split(len, member.count, unit);
    parts.nth(member.index).unwrap_or(len..len)
}

/// Rows to normalize.
enum Rows {
    /// To their own places.
    Own(Range<usize>),
    /// Wanted rows by their order, to the places of that order.
    Wanted(Range<usize>),
}

struct NormRows<'a> {
    pass: &'a Pass<'a>,
    norm: &'a RmsNorm,
    post: Option<&'a RmsNorm>,
    from: Rows,
}

impl Kernel for NormRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let pass = self.pass;
        let width = pass.decoder.parts.shape.width;
        let (range, wanted) = match self.from {
            Rows::Own(rows) => (rows, false),
            Rows::Wanted(rows) => (rows, true),
        };
        for to in range {
            let row = if wanted { pass.plan.wanted[to] } else { to };
            // SAFETY: this member alone writes these rows; hidden rows of others are read after a
            // barrier.
            unsafe {
                if let Some(post) = self.post {
                    add_normed(s, pass, post, row);
                }
                let normed = pass.normed.pointer(to * width);
                self.norm.row(s, pass.hidden.pointer(row * width), normed);
                let quant = pass.normed_quant;
                if quant.blocks != 0 {
                    quant.put(s, to, 0, quant.blocks, normed);
                }
            }
        }
    }
}

struct AddNormed<'a> {
    pass: &'a Pass<'a>,
    post: &'a RmsNorm,
    rows: Range<usize>,
}

impl Kernel for AddNormed<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in self.rows {
            // SAFETY: the row is this member's own.
            unsafe { add_normed(s, self.pass, self.post, row) }
        }
    }
}

/// hidden += post(branch).
///
/// # Safety
/// Nobody else uses this row of either now.
#[inline(always)]
unsafe fn add_normed<S: Simd>(s: S, pass: &Pass<'_>, post: &RmsNorm, row: usize) {
    let width = post.cols();
    let (branch, hidden) = (
        pass.branch.pointer(row * width),
        pass.hidden.pointer(row * width),
    );
    // SAFETY: the caller's promise; both have a row there.
    unsafe {
        post.row(s, branch, branch);
        for at in (0..width).step_by(S::LANES) {
            let n = S::LANES.min(width - at);
            let x = s.load_n(hidden.add(at), n, 0.0);
            let y = s.add(x, s.load_n(branch.add(at), n, 0.0));
            s.store_n(hidden.add(at), n, y);
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

/// Quantizes some columns of some rows, the first of which begin at `from`.
struct QuantizeRows<'a> {
    from: *const f32,
    stride: usize,
    to: BlockView<'a>,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Kernel for QuantizeRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (first, blocks) = (self.columns.start / RUN, self.columns.len() / RUN);
        for (r, row) in self.rows.enumerate() {
            // SAFETY: rows and columns are this member's own and in both matrices.
            unsafe {
                let from = self.from.add(r * self.stride);
                self.to.put(s, row, first, blocks, from);
            }
        }
    }
}

struct Softcap<'a> {
    row: &'a mut [f32],
    cap: f32,
}

impl Kernel for Softcap<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        softcap(s, self.row, self.cap);
    }
}
