//! The linear layer in f32, packed and finished like the int8 one.

use std::ops::Range;

use super::epilogue::Epilogue;
use crate::aligned::Aligned;
use crate::error::{ShapeError, at_least, exactly};
use crate::isa::Isa;
use crate::product::{Finish, Product};
use crate::simd::{Kernel, Simd};

/// Rows that stay close while every panel passes over them.
const BLOCK_ROWS: usize = 64;

/// A linear layer y = x W^T + b in f32, packed for one isa.
pub struct FloatLinear {
    isa: Isa,
    k: usize,
    n: usize,
    /// `[channel / panel][feature][channel % panel]`, a panel being two vectors, padded with zeros.
    panels: Aligned<f32>,
    bias: Aligned<f32>,
}

impl FloatLinear {
    /// Packs `weights`, one output channel of `k` values after another. The weights are read once
    /// and not kept.
    ///
    /// # Errors
    /// `weights` is not whole channels, there is none, or `bias` is not one value a channel.
    pub fn pack(
        isa: Isa,
        weights: &[f32],
        bias: Option<&[f32]>,
        k: usize,
    ) -> Result<Self, ShapeError> {
        at_least("input features", 1, k)?;
        at_least("weights", k, weights.len())?;
        exactly("weights", weights.len() / k * k, weights.len())?;
        if let Some(bias) = bias {
            exactly("bias", weights.len() / k, bias.len())?;
        }
        let bias = bias.unwrap_or(&[]);
        Ok(isa.run(Pack {
            isa,
            weights,
            bias,
            k,
        }))
    }

    /// Input features a row.
    pub fn inputs(&self) -> usize {
        self.k
    }

    /// Output channels.
    pub fn outputs(&self) -> usize {
        self.n
    }

    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Memory held by the packed layer.
    pub fn bytes(&self) -> usize {
        self.panels.bytes() + self.bias.bytes()
    }

    /// Multiplies `x`, rows of [`FloatLinear::inputs`] values, into `out`, as many rows of
    /// [`FloatLinear::outputs`].
    ///
    /// # Errors
    /// `x` is not whole rows, or `out` has another length.
    pub fn forward(
        &self,
        x: &[f32],
        epilogue: Epilogue,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        let rows = x.len() / self.k;
        exactly("linear input", rows * self.k, x.len())?;
        exactly("linear output", rows * self.n, out.len())?;
        self.isa.run(Forward {
            linear: self,
            x,
            epilogue,
            out,
        });
        Ok(())
    }
}

struct Pack<'a> {
    isa: Isa,
    weights: &'a [f32],
    bias: &'a [f32],
    k: usize,
}

impl Kernel for Pack<'_> {
    type Output = FloatLinear;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> FloatLinear {
        let (k, n) = (self.k, self.weights.len() / self.k);
        let panel = 2 * S::LANES;
        let columns = n.next_multiple_of(panel);
        let mut panels = Aligned::zeroed(columns * k);
        for (c, channel) in self.weights.chunks_exact(k).enumerate() {
            let first = c / panel * panel * k + c % panel;
            for (d, &weight) in channel.iter().enumerate() {
                panels[first + d * panel] = weight;
            }
        }
        FloatLinear {
            isa: self.isa,
            k,
            n,
            panels,
            bias: Aligned::padded(self.bias, columns),
        }
    }
}

struct Forward<'a> {
    linear: &'a FloatLinear,
    x: &'a [f32],
    epilogue: Epilogue,
    out: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let rows = self.x.len() / self.linear.k;
        for first in (0..rows).step_by(BLOCK_ROWS) {
            let block = first..rows.min(first + BLOCK_ROWS);
            for channel in (0..self.linear.n).step_by(2 * S::LANES) {
                self.panel(s, block.clone(), channel);
            }
        }
    }
}

impl Forward<'_> {
    /// One panel of channels over a block of rows.
    #[inline(always)]
    fn panel<S: Simd>(&mut self, s: S, block: Range<usize>, channel: usize) {
        let (k, n) = (self.linear.k, self.linear.n);
        for row in block.clone().step_by(S::TILE_ROWS) {
            let product = Product {
                a: self.x[row * k..].as_ptr(),
                a_stride: k,
                b: self.linear.panels[channel * k..].as_ptr(),
                depth: k,
                finish: Dressed {
                    bias: self.linear.bias[channel..].as_ptr(),
                    epilogue: self.epilogue,
                },
                out: self.out[row * n + channel..].as_mut_ptr(),
                out_stride: n,
                columns: (2 * S::LANES).min(n - channel),
            };
            // SAFETY: the rows are in the input and the output, both checked; panels and bias are
            // padded to two vectors.
            unsafe { product.run(s, S::TILE_ROWS.min(block.end - row)) }
        }
    }
}

/// Bias, activation and residual.
struct Dressed {
    /// Of the panel's channels.
    bias: *const f32,
    epilogue: Epilogue,
}

impl Finish for Dressed {
    #[inline(always)]
    unsafe fn put<S: Simd>(&self, s: S, _: usize, v: usize, x: S::F, to: *mut f32, left: usize) {
        // SAFETY: the bias holds two vectors; at most `left` values of the output are touched.
        unsafe {
            let x = s.add(x, s.load(self.bias.add(v * S::LANES)));
            let y = self.epilogue.activation.apply(s, x);
            self.epilogue.store.put(s, y, to, left);
        }
    }
}
