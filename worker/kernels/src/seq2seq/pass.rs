//! One member's part of a call.
//!
//! With many rows a member computes its share of the rows from end to end, and members meet only
//! where attention needs the others' keys. With few rows, as when each target writes one token, they
//! share the output channels of each layer, so that each weight is read once, and meet after each.

use std::ops::Range;

use super::parts::{CrossAttention, FeedForward};
use super::rows::{NormRows, Row, StoreKeys};
use super::workspace::{Buffers, INNER_ROWS};
use super::{Seq2Seq, Stack};
use crate::block_linear::{BlockLinear, BlockView, Multiply, QuantizeRows};
use crate::linear::{Activation, Epilogue, Store};
use crate::paged::{Attend, Bias, CacheView, PagedScratch, Visible};
use crate::rms_norm::RmsNorm;
use crate::simd::MAX_PANEL;
use crate::team::{Broken, Member, SharedRows, Team};

const REPLACE: Epilogue = Epilogue {
    activation: Activation::None,
    store: Store::Replace,
};
const ADD: Epilogue = Epilogue {
    activation: Activation::None,
    store: Store::Add,
};

/// Rows that are worth a member of their own.
const ROWS_OF_ONE: usize = 24;

/// What the members of a call share. Every buffer has a row for each row of the call.
pub(super) struct Pass<'a> {
    pub(super) model: &'a Seq2Seq,
    stack: &'a Stack,
    pub(super) rows: &'a [Row<'a>],
    /// Rows of one sequence that are one piece of attention's work.
    pieces: &'a [Range<usize>],
    /// Whether members share the rows rather than the channels.
    by_rows: bool,
    pub(super) hidden: SharedRows<'a>,
    pub(super) normed: SharedRows<'a>,
    pub(super) normed_quant: BlockView<'a>,
    /// Queries, keys and values.
    pub(super) qkv: SharedRows<'a>,
    context: SharedRows<'a>,
    context_quant: BlockView<'a>,
    /// For each member `INNER_ROWS` rows.
    inner: SharedRows<'a>,
    inner_quant: BlockView<'a>,
    /// For each member one.
    scratch: SharedRows<'a>,
}

/// Rows that a layer reads, and where its result goes.
#[derive(Clone, Copy)]
struct From<'a> {
    float: SharedRows<'a>,
    quant: BlockView<'a>,
}

#[derive(Clone, Copy)]
struct To<'a> {
    values: SharedRows<'a>,
    /// Values from one row to the next.
    stride: usize,
    epilogue: Epilogue,
}

/// Rows and columns of a layer's result; its input's rows may begin elsewhere.
struct Part {
    from: Range<usize>,
    to: usize,
    columns: Range<usize>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        model: &'a Seq2Seq,
        stack: &'a Stack,
        buffers: &'a mut Buffers,
        (rows, pieces): (&'a [Row<'a>], &'a [Range<usize>]),
        team: &Team,
    ) -> Self {
        Self {
            model,
            stack,
            rows,
            pieces,
            by_rows: rows.len() >= ROWS_OF_ONE * team.members(),
            hidden: SharedRows::new(&mut buffers.hidden),
            normed: SharedRows::new(&mut buffers.normed),
            normed_quant: buffers.normed_quant.view_mut(),
            qkv: SharedRows::new(&mut buffers.qkv),
            context: SharedRows::new(&mut buffers.context),
            context_quant: buffers.context_quant.view_mut(),
            inner: SharedRows::new(&mut buffers.inner),
            inner_quant: buffers.inner_quant.view_mut(),
            scratch: SharedRows::new(&mut buffers.scratch),
        }
    }

    /// From token ids to the keys and values that the decoder's layers look at.
    pub(super) fn encode(
        &self,
        member: Member<'_>,
        own: CacheView<'_>,
        cross: CacheView<'_>,
    ) -> Result<(), Broken> {
        let rows = self.own_rows(member);
        self.embed(rows.clone());
        let bias = self.model.encoder_biases.view();
        for layer in &self.stack.layers {
            self.attend_to_itself(layer, 0, (own, bias), member)?;
            self.feed_forward(&layer.feed_forward, member)?;
        }
        self.norm(&self.stack.output_norm, rows.clone());
        self.meet(member)?;
        let layers = self.model.parts.decoder.layers.iter().enumerate();
        for (layer, attention) in layers.filter_map(|(i, layer)| Some((i, layer.cross.as_ref()?))) {
            self.project(&attention.source, member);
            self.meet(member)?;
            self.model.isa.run(StoreKeys {
                pass: self,
                cache: cross,
                layer,
                from: 0,
                of_source: true,
                rows: rows.clone(),
            });
            self.meet(member)?;
        }
        Ok(())
    }

    /// From one token of each target to the logits of its next.
    pub(super) fn decode(
        &self,
        member: Member<'_>,
        own: CacheView<'_>,
        sources: CacheView<'_>,
        out: SharedRows<'_>,
    ) -> Result<(), Broken> {
        let rows = self.own_rows(member);
        self.embed(rows.clone());
        let bias = self.model.decoder_biases.view();
        for (i, layer) in self.stack.layers.iter().enumerate() {
            self.attend_to_itself(layer, i, (own, bias), member)?;
            if let Some(cross) = &layer.cross {
                self.attend_to_source(cross, i, sources, member)?;
            }
            self.feed_forward(&layer.feed_forward, member)?;
        }
        self.norm(&self.stack.output_norm, rows);
        member.wait()?;
        let head = self.model.head();
        let part = Part {
            from: 0..self.rows.len(),
            to: 0,
            columns: member.share(head.n, MAX_PANEL),
        };
        let to = To {
            values: out,
            stride: head.n,
            epilogue: REPLACE,
        };
        self.multiply(head, None, self.normed(), part, to);
        Ok(())
    }

    /// The rows that only this member changes, apart from the channels of a layer's result.
    fn own_rows(&self, member: Member<'_>) -> Range<usize> {
        member.share(self.rows.len(), 1)
    }

    /// Members wait for each other where they share channels.
    fn meet(&self, member: Member<'_>) -> Result<(), Broken> {
        if self.by_rows { Ok(()) } else { member.wait() }
    }

    /// What of a layer's result this member computes.
    fn part(&self, linear: &BlockLinear, member: Member<'_>) -> Part {
        let (rows, columns) = if self.by_rows {
            (self.own_rows(member), 0..linear.n)
        } else {
            (0..self.rows.len(), member.share(linear.n, MAX_PANEL))
        };
        Part {
            to: rows.start,
            from: rows,
            columns,
        }
    }

    fn embed(&self, rows: Range<usize>) {
        let parts = &self.model.parts;
        let width = parts.shape.width;
        for row in rows {
            // SAFETY: the row is this member's own.
            let hidden = unsafe { self.hidden.write(row * width..(row + 1) * width) };
            // Tokens were checked when the call was.
            let found = parts.tokens.channel(self.rows[row].token as usize, hidden);
            debug_assert!(found.is_ok());
        }
    }

    fn norm(&self, norm: &RmsNorm, rows: Range<usize>) {
        self.model.isa.run(NormRows {
            pass: self,
            norm,
            rows,
        });
    }

    fn normed(&self) -> From<'a> {
        From {
            float: self.normed,
            quant: self.normed_quant,
        }
    }

    /// x += output(attention(norm(x))) over the sequence itself.
    fn attend_to_itself(
        &self,
        layer: &super::Seq2SeqLayer,
        index: usize,
        (cache, bias): (CacheView<'_>, Bias<'_>),
        member: Member<'_>,
    ) -> Result<(), Broken> {
        let rows = self.own_rows(member);
        self.norm(&layer.attention.norm, rows.clone());
        self.meet(member)?;
        self.project(&layer.attention.project, member);
        self.meet(member)?;
        self.model.isa.run(StoreKeys {
            pass: self,
            cache,
            layer: index,
            from: self.model.parts.shape.attended(),
            of_source: false,
            rows,
        });
        member.wait()?;
        self.attend(cache, index, Some(bias), member);
        member.wait()?;
        self.add_context(&layer.attention.output, member)
    }

    /// x += output(attention(norm(x))) over what the sequence's source became.
    fn attend_to_source(
        &self,
        cross: &CrossAttention,
        index: usize,
        sources: CacheView<'_>,
        member: Member<'_>,
    ) -> Result<(), Broken> {
        self.norm(&cross.norm, self.own_rows(member));
        self.meet(member)?;
        self.project(&cross.queries, member);
        member.wait()?;
        self.attend(sources, index, None, member);
        member.wait()?;
        self.add_context(&cross.output, member)
    }

    /// The normed rows times a layer, side by side with room for queries, keys and values.
    fn project(&self, linear: &BlockLinear, member: Member<'_>) {
        let to = To {
            values: self.qkv,
            stride: 3 * self.model.parts.shape.attended(),
            epilogue: REPLACE,
        };
        let part = self.part(linear, member);
        self.multiply(linear, None, self.normed(), part, to);
    }

    /// This member's pieces of attention, with a bias over the sequence itself, without one over its
    /// source.
    fn attend(
        &self,
        cache: CacheView<'_>,
        layer: usize,
        bias: Option<Bias<'_>>,
        member: Member<'_>,
    ) {
        let shape = &self.model.parts.shape;
        let (heads, dim, attended) = (shape.heads, shape.head_dim, shape.attended());
        let size = PagedScratch::values_for(self.model.sizes().context, dim);
        let own = member.index * size..(member.index + 1) * size;
        // SAFETY: each member has a scratch of its own.
        let scratch = unsafe { self.scratch.write(own) };
        for item in (member.index..self.pieces.len() * heads).step_by(member.count) {
            let (rows, head) = (self.pieces[item / heads].clone(), item % heads);
            let row = &self.rows[rows.start];
            let (pages, visible) = match bias {
                Some(_) => (row.pages, row.visible),
                None => (row.source, Visible::First(row.source_len)),
            };
            let attend = Attend {
                shape: shape.attention(),
                cache,
                layer,
                pages,
                kv_head: head,
                queries: self.qkv.pointer(rows.start * 3 * attended + head * dim),
                stride: 3 * attended,
                start: row.position,
                rows: rows.len(),
                visible,
                bias,
                scratch,
                out: self.context.pointer(rows.start * attended + head * dim),
                out_stride: attended,
            };
            // SAFETY: queries, keys and values were written before the last barrier; only this
            // member writes these results; pages and lengths were checked with the call.
            unsafe { attend.run(self.model.isa) };
        }
    }

    /// x += output(context).
    fn add_context(&self, output: &BlockLinear, member: Member<'_>) -> Result<(), Broken> {
        let attended = self.model.parts.shape.attended();
        if !output.reads_floats() {
            let rows = self.own_rows(member);
            self.model.isa.run(QuantizeRows {
                from: self.context.pointer(rows.start * attended),
                stride: attended,
                to: self.context_quant,
                rows,
                columns: 0..attended,
            });
            self.meet(member)?;
        }
        let from = From {
            float: self.context,
            quant: self.context_quant,
        };
        let part = self.part(output, member);
        self.multiply(output, None, from, part, self.residual());
        self.meet(member)
    }

    fn residual(&self) -> To<'a> {
        To {
            values: self.hidden,
            stride: self.model.parts.shape.width,
            epilogue: ADD,
        }
    }

    /// x += down(activation(gate(norm(x))) * up(norm(x))).
    fn feed_forward(&self, layers: &FeedForward, member: Member<'_>) -> Result<(), Broken> {
        let own = self.own_rows(member);
        self.norm(&layers.norm, own.clone());
        self.meet(member)?;
        if !self.by_rows {
            let rows = 0..self.rows.len();
            self.widen(
                layers,
                rows.clone(),
                0,
                member.share(layers.up.n, MAX_PANEL),
            );
            member.wait()?;
            self.narrow(layers, rows, 0, member.share(layers.down.n, MAX_PANEL));
            return member.wait();
        }
        let first = member.index * INNER_ROWS;
        for start in own.clone().step_by(INNER_ROWS) {
            let rows = start..own.end.min(start + INNER_ROWS);
            self.widen(layers, rows.clone(), first, 0..layers.up.n);
            self.narrow(layers, rows, first, 0..layers.down.n);
        }
        Ok(())
    }

    /// The wide rows of some rows, to the inner rows from `first` on.
    fn widen(&self, layers: &FeedForward, rows: Range<usize>, first: usize, columns: Range<usize>) {
        let shape = &self.model.parts.shape;
        let activation = shape.activation;
        let gate = layers.gate.as_ref().map(|gate| (gate, activation));
        let plain = Epilogue {
            activation,
            store: Store::Replace,
        };
        let to = To {
            values: self.inner,
            stride: shape.inner,
            epilogue: if gate.is_some() { REPLACE } else { plain },
        };
        let part = Part {
            from: rows.clone(),
            to: first,
            columns: columns.clone(),
        };
        self.multiply(&layers.up, gate, self.normed(), part, to);
        if !layers.down.reads_floats() && !columns.is_empty() {
            self.model.isa.run(QuantizeRows {
                from: self.inner.pointer(first * shape.inner + columns.start),
                stride: shape.inner,
                to: self.inner_quant,
                rows: first..first + rows.len(),
                columns,
            });
        }
    }

    /// Adds what the inner rows from `first` on become to some rows.
    fn narrow(
        &self,
        layers: &FeedForward,
        rows: Range<usize>,
        first: usize,
        columns: Range<usize>,
    ) {
        let from = From {
            float: self.inner,
            quant: self.inner_quant,
        };
        let part = Part {
            from: first..first + rows.len(),
            to: rows.start,
            columns,
        };
        self.multiply(&layers.down, None, from, part, self.residual());
    }

    fn multiply(
        &self,
        linear: &BlockLinear,
        gate: Option<(&BlockLinear, Activation)>,
        from: From<'_>,
        part: Part,
        to: To<'_>,
    ) {
        if part.from.is_empty() || part.columns.is_empty() {
            return;
        }
        let multiply = Multiply {
            linear,
            gate,
            float: from.float.pointer(0),
            blocks: from.quant,
            out: to.values.pointer(part.to * to.stride + part.columns.start),
            rows: part.from,
            columns: part.columns,
            epilogue: to.epilogue,
            stride: to.stride,
        };
        // SAFETY: the rows were written by this member or before the last barrier, in the form that
        // the layer reads; this member alone writes these rows and columns of the result; shapes
        // were checked when the model and the workspace were made.
        unsafe { multiply.run() };
    }
}
