//! Embedding tables, in int8 with one scale a row or in f32, and the sum of the tables' rows for
//! each token.

use crate::error::{ShapeError, at_least, at_most, exactly};
use crate::isa::Isa;
use crate::linear::Store;
use crate::quant::quantize_weights;
use crate::simd::rows::{read, write};
use crate::simd::{Kernel, Simd};

/// A table of embeddings, rows of `cols` values.
#[derive(Clone, Debug)]
pub struct Table {
    cols: usize,
    rows: usize,
    values: Values,
}

#[derive(Clone, Debug)]
enum Values {
    /// Each value of row i is worth `scales[i]` a step.
    Int8 {
        values: Vec<i8>,
        scales: Vec<f32>,
    },
    F32(Vec<f32>),
}

impl Table {
    /// In int8: row i is `values[i * cols..][..cols]`, each worth `scales[i]` a step.
    ///
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
            rows: scales.len(),
            values: Values::Int8 { values, scales },
        })
    }

    /// In f32.
    ///
    /// # Errors
    /// `values` is not whole rows of `cols`, or there is none.
    pub fn float(values: Vec<f32>, cols: usize) -> Result<Self, ShapeError> {
        at_least("embedding width", 1, cols)?;
        at_least("embedding values", cols, values.len())?;
        let rows = values.len() / cols;
        exactly("embedding values", rows * cols, values.len())?;
        Ok(Self {
            cols,
            rows,
            values: Values::F32(values),
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
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Memory held by the table.
    pub fn bytes(&self) -> usize {
        match &self.values {
            Values::Int8 { values, scales } => values.len() + size_of_val(scales.as_slice()),
            Values::F32(values) => size_of_val(values.as_slice()),
        }
    }

    /// Writes row `ids[i]` to row i of `out`, or adds it there, or multiplies what is there by it.
    ///
    /// # Errors
    /// An id is outside the table, or `out` is not `ids.len()` rows of [`Table::cols`].
    pub fn gather(
        &self,
        isa: Isa,
        ids: impl Iterator<Item = usize> + Clone,
        store: Store,
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
        isa.run(Gather {
            table: self,
            ids,
            store,
            out,
        });
        Ok(())
    }
}

struct Gather<'a, I> {
    table: &'a Table,
    ids: I,
    store: Store,
    out: &'a mut [f32],
}

impl<I: Iterator<Item = usize>> Kernel for Gather<'_, I> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let cols = self.table.cols;
        for (id, out) in self.ids.zip(self.out.chunks_exact_mut(cols)) {
            let row = self.table.row(id);
            for at in (0..cols).step_by(S::LANES) {
                let start = match self.store {
                    Store::Add => read(s, out, at, 0.0),
                    Store::Replace | Store::Multiply => s.splat(0.0),
                };
                let x = match row {
                    Row::Int8 { values, scale } => {
                        s.mul_add(bytes(s, values, at), s.splat(scale), start)
                    }
                    Row::F32(values) => s.add(read(s, values, at, 0.0), start),
                };
                let x = match self.store {
                    Store::Multiply => s.mul(x, read(s, out, at, 0.0)),
                    Store::Replace | Store::Add => x,
                };
                write(s, out, at, x);
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Row<'a> {
    Int8 { values: &'a [i8], scale: f32 },
    F32(&'a [f32]),
}

impl Table {
    #[inline(always)]
    fn row(&self, id: usize) -> Row<'_> {
        let part = id * self.cols..(id + 1) * self.cols;
        match &self.values {
            Values::Int8 { values, scales } => Row::Int8 {
                values: &values[part],
                scale: scales[id],
            },
            Values::F32(values) => Row::F32(&values[part]),
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
