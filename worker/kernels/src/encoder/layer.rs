//! One member's rows of one chunk, from token ids to the last hidden state.

use std::ops::Range;

use super::batch::Chunk;
use super::run::EncodeError;
use super::workspace::{Buffers, INNER_ROWS};
use super::{Encoder, Layer, Norms};
use crate::attention::{Mask, Queries};
use crate::error::ShapeError;
use crate::linear::{Activation, Dense, Epilogue, Rows, Store};
use crate::norm::LayerNorm;
use crate::team::{Barrier, SharedRows};

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
    /// Used in turn, see [`crate::encoder`]; one buffer twice if the member is alone.
    pub(super) qkv: [SharedRows<'a>; 2],
    pub(super) barrier: &'a Barrier,
}

impl Share<'_> {
    /// Computes this member's rows and returns the chunk's last hidden state: every member's rows.
    pub(super) fn run(&self, own: &mut Buffers) -> Result<&[f32], EncodeError> {
        let parts = &self.encoder.parts;
        self.embed(own)?;
        let followers = parts.layers.iter().skip(1).map(Some).chain([None]);
        let buffers = self.qkv.iter().cycle();
        for ((layer, next), qkv) in parts.layers.iter().zip(followers).zip(buffers) {
            self.attend(layer, qkv, own)?;
            self.feed_forward(layer, own)?;
            if let Norms::After { output, .. } = &layer.norms {
                self.norm(output, next.map(|next| &next.qkv), own)?;
            }
        }
        if let Some(norm) = &parts.final_norm {
            self.norm(norm, None, own)?;
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
    fn embed(&self, own: &mut Buffers) -> Result<(), ShapeError> {
        let (isa, width) = (self.encoder.parts.isa, self.encoder.width());
        let tables = &self.encoder.parts.embeddings;
        for (sequence, rows) in self.chunk.overlaps(self.rows.clone()) {
            let first = self.chunk.first_token();
            let tokens = first + rows.start..first + rows.end;
            let to =
                &mut own.hidden[(rows.start - self.rows.start) * width..][..rows.len() * width];
            tables.words.gather(
                isa,
                self.chunk.batch.ids(tokens.clone()),
                Store::Replace,
                to,
            )?;
            if let Some(table) = &tables.positions {
                let positions = rows.map(|row| row - sequence.start + tables.first_position);
                table.gather(isa, positions, Store::Add, to)?;
            }
            if let Some(table) = &tables.kinds {
                table.gather(isa, self.chunk.batch.kinds(tokens), Store::Add, to)?;
            }
        }
        let mut layers = self.encoder.parts.layers.iter();
        let reader = layers.next();
        let reader = reader.filter(|layer| layer.norms.before_attention().is_none());
        self.norm(&tables.norm, reader.map(|layer| &layer.qkv), own)
    }

    /// Normalizes `hidden`, and quantizes it if the layer that reads it next wants that.
    fn norm(
        &self,
        norm: &LayerNorm,
        reader: Option<&Dense>,
        own: &mut Buffers,
    ) -> Result<(), ShapeError> {
        let hidden = &mut own.hidden[..self.rows.len() * self.encoder.width()];
        if reader.is_some_and(Dense::reads_int8) {
            norm.apply_quantize(hidden, &mut own.quant)
        } else {
            norm.apply(self.encoder.parts.isa, hidden)
        }
    }

    /// Normalizes `hidden` to `context`, which is free where a layer begins and between its branches,
    /// and quantizes it if its reader wants that.
    fn norm_aside(
        &self,
        norm: &LayerNorm,
        reader: &Dense,
        own: &mut Buffers,
    ) -> Result<(), ShapeError> {
        let values = self.rows.len() * self.encoder.width();
        let (from, to) = (&own.hidden[..values], &mut own.context[..values]);
        if reader.reads_int8() {
            norm.apply_quantize_from(from, to, &mut own.quant)
        } else {
            norm.apply_from(self.encoder.parts.isa, from, to)
        }
    }

    /// Rotates the queries and keys of this member's rows, if the layer does.
    fn rotate(&self, layer: &Layer, qkv: &mut [f32]) -> Result<(), ShapeError> {
        let (parts, width) = (&self.encoder.parts, 3 * self.encoder.width());
        let Some(rope) = layer.rope else {
            return Ok(());
        };
        for (sequence, rows) in self.chunk.overlaps(self.rows.clone()) {
            let own = &mut qkv[(rows.start - self.rows.start) * width..][..rows.len() * width];
            let first = rows.start - sequence.start;
            parts.ropes[rope].rotate(parts.isa, parts.attention, first, own)?;
        }
        Ok(())
    }

    /// hidden += attention(x), x being `hidden`, or its norm where that comes first.
    fn attend(
        &self,
        layer: &Layer,
        shared: &SharedRows<'_>,
        own: &mut Buffers,
    ) -> Result<(), EncodeError> {
        let (parts, count, width) = (&self.encoder.parts, self.rows.len(), self.encoder.width());
        // SAFETY: members' rows do not overlap, and the buffer's last readers have passed a barrier
        // since.
        let mine = unsafe { shared.write(self.rows.start * 3 * width..self.rows.end * 3 * width) };
        let float = match layer.norms.before_attention() {
            Some(norm) => {
                self.norm_aside(norm, &layer.qkv, own)?;
                &own.context
            }
            None => &own.hidden,
        };
        let x = Rows {
            float,
            quant: &own.quant,
        };
        layer.qkv.forward(x, 0..count, REPLACE, mine)?;
        self.rotate(layer, mine)?;
        self.barrier.wait()?;
        // SAFETY: all rows were written before the barrier; the next write comes after another.
        let qkv = unsafe { shared.read(0..self.chunk.rows() * 3 * width) };
        for (sequence, queries) in self.chunk.overlaps(self.rows.clone()) {
            let first = (queries.start - self.rows.start) * width;
            let context = &mut own.context[first..][..queries.len() * width];
            let mask = match (layer.window, &parts.relative_bias) {
                (Some(window), _) => Mask::Window(window),
                (None, Some(bias)) => Mask::Bias(bias),
                (None, None) => Mask::None,
            };
            let from = Queries {
                qkv,
                sequence,
                queries,
            };
            parts
                .attention
                .run(parts.isa, from, mask, &mut own.scratch, context)?;
        }
        if layer.out.reads_int8() {
            own.quant.quantize(0, &own.context[..count * width])?;
        }
        let x = Rows {
            float: &own.context,
            quant: &own.quant,
        };
        let hidden = &mut own.hidden[..count * width];
        layer.out.forward(x, 0..count, ADD, hidden)?;
        match &layer.norms {
            Norms::After { attention, .. } => self.norm(attention, Some(&layer.up), own)?,
            Norms::Before { feed_forward, .. } => self.norm_aside(feed_forward, &layer.up, own)?,
        }
        Ok(())
    }

    /// hidden += feed_forward(x), x being `hidden`, or its norm where that comes first.
    fn feed_forward(&self, layer: &Layer, own: &mut Buffers) -> Result<(), ShapeError> {
        let (count, width, inner) = (self.rows.len(), self.encoder.width(), layer.up.outputs());
        let aside = matches!(layer.norms, Norms::Before { .. });
        let activate = Epilogue {
            activation: layer.activation,
            store: match layer.gate {
                Some(_) => Store::Multiply,
                None => Store::Replace,
            },
        };
        for first in (0..count).step_by(INNER_ROWS) {
            let end = count.min(first + INNER_ROWS);
            let wide = &mut own.inner[..(end - first) * inner];
            let x = Rows {
                float: if aside { &own.context } else { &own.hidden },
                quant: &own.quant,
            };
            if let Some(gate) = &layer.gate {
                gate.forward(x, first..end, REPLACE, wide)?;
            }
            layer.up.forward(x, first..end, activate, wide)?;
            if layer.down.reads_int8() {
                own.inner_quant.quantize(0, wide)?;
            }
            let x = Rows {
                float: wide,
                quant: &own.inner_quant,
            };
            let hidden = &mut own.hidden[first * width..end * width];
            layer.down.forward(x, 0..end - first, ADD, hidden)?;
        }
        Ok(())
    }
}
