//! The gated feed-forward layer.

use std::ops::Range;

use super::{Pass, REPLACE, Source, Target};
use crate::block_linear::QuantizeRows;
use crate::decoder::DecoderLayer;
use crate::decoder::workspace::INNER_ROWS;
use crate::simd::MAX_PANEL;
use crate::team::{Broken, Member};

impl Pass<'_> {
    pub(super) fn feed_forward(
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
                member.share(layer.up.n, MAX_PANEL),
            );
            member.wait()?;
            self.narrow(layer, rows, 0, member.share(layer.down.n, MAX_PANEL));
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
}
