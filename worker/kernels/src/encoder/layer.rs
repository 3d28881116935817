//! One member's rows of one chunk, from token ids to the last hidden state.

use std::ops::Range;

use super::arena::{INNER_ROWS, Workspace};
use super::batch::Chunk;
use super::run::EncodeError;
use super::team::{Barrier, SharedRows};
use super::{Encoder, Layer};
use crate::attention::Queries;
use crate::error::ShapeError;
use crate::linear::{Activation, Epilogue, Store};

const REPLACE: Epilogue = Epilogue {
    activation: Activation::None,
    store: Store::Replace,
};
const ADD: Epilogue = Epilogue {
    activation: Activation::None,
    store: Store::Add,
};

/// A member's part in a chunk.
pub(super) struct Share<'a> {
    pub(super) encoder: &'a Encoder,
    pub(super) chunk: &'a Chunk<'a>,
    /// The rows that this member computes.
    pub(super) rows: Range<usize>,
    /// Used in turn, see [`super::team`]; one buffer twice if the member is alone.
    pub(super) qkv: [SharedRows<'a>; 2],
    pub(super) barrier: &'a Barrier,
}

impl Share<'_> {
    /// Computes this member's rows and returns the chunk's last hidden state: every member's rows.
    pub(super) fn run(&self, own: &mut Workspace) -> Result<&[f32], EncodeError> {
        let parts = &self.encoder.parts;
        self.embed(own)?;
        for (layer, qkv) in parts.layers.iter().zip(self.qkv.iter().cycle()) {
            self.attend(layer, qkv, own)?;
            self.feed_forward(layer, own)?;
        }
        let width = self.encoder.width();
        let last = &self.qkv[parts.layers.len() % 2];
        // SAFETY: members' rows do not overlap, and this buffer was last read before the latest
        // barrier, or by this member alone.
        let to = unsafe { last.write(self.rows.start * width..self.rows.end * width) };
        to.copy_from_slice(&own.hidden[..self.rows.len() * width]);
        self.barrier.wait()?;
        // SAFETY: all rows were written before the barrier, and nobody writes this buffer again.
        Ok(unsafe { last.read(0..self.chunk.rows() * width) })
    }

    /// Words, positions and kinds, normalized and quantized.
    fn embed(&self, own: &mut Workspace) -> Result<(), ShapeError> {
        let (tier, width) = (self.encoder.parts.tier, self.encoder.width());
        let tables = &self.encoder.parts.embeddings;
        for (sequence, rows) in self.chunk.overlaps(self.rows.clone()) {
            let first = self.chunk.first_token();
            let tokens = first + rows.start..first + rows.end;
            let to =
                &mut own.hidden[(rows.start - self.rows.start) * width..][..rows.len() * width];
            tables.words.gather(
                tier,
                self.chunk.batch.ids(tokens.clone()),
                Store::Replace,
                to,
            )?;
            if let Some(table) = &tables.positions {
                let positions = rows.map(|row| row - sequence.start + tables.first_position);
                table.gather(tier, positions, Store::Add, to)?;
            }
            if let Some(table) = &tables.kinds {
                table.gather(tier, self.chunk.batch.kinds(tokens), Store::Add, to)?;
            }
        }
        tables
            .norm
            .apply_quantize(&mut own.hidden[..self.rows.len() * width], &mut own.quant)
    }

    /// x = norm(x + out(attention(qkv(x)))), from and to `hidden` and `quant`.
    fn attend(
        &self,
        layer: &Layer,
        shared: &SharedRows<'_>,
        own: &mut Workspace,
    ) -> Result<(), EncodeError> {
        let (parts, count, width) = (&self.encoder.parts, self.rows.len(), self.encoder.width());
        // SAFETY: members' rows do not overlap, and the buffer's last readers have passed a barrier
        // since.
        let mine = unsafe { shared.write(self.rows.start * 3 * width..self.rows.end * 3 * width) };
        layer.qkv.forward(&own.quant, 0..count, REPLACE, mine)?;
        self.barrier.wait()?;
        // SAFETY: all rows were written before the barrier; the next write comes after another.
        let qkv = unsafe { shared.read(0..self.chunk.rows() * 3 * width) };
        for (sequence, queries) in self.chunk.overlaps(self.rows.clone()) {
            let first = (queries.start - self.rows.start) * width;
            let context = &mut own.context[first..][..queries.len() * width];
            let bias = parts.relative_bias.as_ref();
            let from = Queries {
                qkv,
                sequence,
                queries,
            };
            parts
                .attention
                .run(parts.tier, from, bias, &mut own.scratch, context)?;
        }
        own.quant.quantize(0, &own.context[..count * width])?;
        let hidden = &mut own.hidden[..count * width];
        layer.out.forward(&own.quant, 0..count, ADD, hidden)?;
        Ok(layer
            .attention_norm
            .apply_quantize(hidden, &mut own.quant)?)
    }

    /// x = norm(x + down(activation(up(x)))), from and to `hidden` and `quant`.
    fn feed_forward(&self, layer: &Layer, own: &mut Workspace) -> Result<(), ShapeError> {
        let (count, width, inner) = (self.rows.len(), self.encoder.width(), layer.up.outputs());
        let activate = Epilogue {
            activation: layer.activation,
            store: Store::Replace,
        };
        for first in (0..count).step_by(INNER_ROWS) {
            let end = count.min(first + INNER_ROWS);
            let wide = &mut own.inner[..(end - first) * inner];
            layer.up.forward(&own.quant, first..end, activate, wide)?;
            own.inner_quant.quantize(0, wide)?;
            let hidden = &mut own.hidden[first * width..end * width];
            layer
                .down
                .forward(&own.inner_quant, 0..end - first, ADD, hidden)?;
        }
        layer
            .output_norm
            .apply_quantize(&mut own.hidden[..count * width], &mut own.quant)
    }
}
