//! Embedding tables in int8, one scale a row, and the sum of the tables' rows for each token.

use crate::error::{ShapeError, at_least, at_most, exactly};
use crate::quant::quantize_weights;
use crate::simd::rows::{read, write};
use crate::simd::{Kernel, Simd};
use crate::tier::Tier;

/// A table of embeddings: row i is `values[i * cols..][..cols]`, each worth `scales[i]` a step.
#[derive(Clone, Debug)]
pub struct Table {
    cols: usize,
    values: Vec<i8>,
    scales: Vec<f32>,
}

impl Table {
    /// # Errors
    /// `values` is not one row of `cols` for each scale, or there is none.
    pub fn new(values: Vec<i8>, scales: Vec<f32>, cols: usize) -> Result<Self, ShapeError> {
        at_least("embedding width", 1, cols)?;
        at_least("embedding rows", 1, scales.len())?;
        exactly(
            "embedding values",
            scales.len().saturating_mul(cols),
            values.len(),
        )?;
        Ok(Self {
            cols,
            values,
            scales,
        })
    }

    /// Quantizes a table of f32.
    ///
    /// # Errors
    /// As [`Table::new`].
    pub fn quantize(values: &[f32], cols: usize) -> Result<Self, ShapeError> {
        let (values, scales) = quantize_weights(values, cols)?;
        Self::new(values, scales, cols)
    }

    pub fn rows(&self) -> usize {
        self.scales.len()
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Memory held by the table.
    pub fn bytes(&self) -> usize {
        self.values.len() + size_of_val(self.scales.as_slice())
    }

    /// Writes row `ids[i]` to row i of `out`, or adds it there.
    ///
    /// # Errors
    /// An id is outside the table, or `out` is not `ids.len()` rows of [`Table::cols`].
    pub fn gather(
        &self,
        tier: Tier,
        ids: impl Iterator<Item = usize> + Clone,
        store: crate::Store,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        exactly(
            "embedding output",
            ids.clone().count() * self.cols,
            out.len(),
        )?;
        for id in ids.clone() {
            at_most("last embedding row", self.rows() - 1, id)?;
        }
        tier.run(Gather {
            table: self,
            ids,
            add: store == crate::Store::Add,
            out,
        });
        Ok(())
    }
}

struct Gather<'a, I> {
    table: &'a Table,
    ids: I,
    add: bool,
    out: &'a mut [f32],
}

impl<I: Iterator<Item = usize>> Kernel for Gather<'_, I> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let cols = self.table.cols;
        for (id, out) in self.ids.zip(self.out.chunks_exact_mut(cols)) {
            let values = &self.table.values[id * cols..][..cols];
            let scale = s.splat(self.table.scales[id]);
            for at in (0..cols).step_by(S::LANES) {
                let x = bytes(s, values, at);
                let start = if self.add {
                    read(s, out, at, 0.0)
                } else {
                    s.splat(0.0)
                };
                write(s, out, at, s.mul_add(x, scale, start));
            }
        }
    }
}

/// The vector at `at` of a row of bytes, zero past its end.
#[inline(always)]
fn bytes<S: Simd>(s: S, values: &[i8], at: usize) -> S::F {
    let rest = &values[at..];
    if rest.len() >= S::LANES {
        // SAFETY: a whole vector is left.
        return unsafe { s.load_i8(rest.as_ptr()) };
    }
    let mut last = [0i8; crate::simd::MAX_PANEL];
    last[..rest.len()].copy_from_slice(rest);
    // SAFETY: the copy is longer than a vector.
    unsafe { s.load_i8(last.as_ptr()) }
}
