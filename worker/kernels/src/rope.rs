//! Rotary position embeddings (Su et al., 2021, equation 34).
//!
//! Scalings differ only in the frequencies and in a factor on the result; who loads a model
//! computes both.

use crate::attention::Attention;
use crate::error::{ShapeError, at_least, at_most, exactly};
use crate::isa::Isa;
use crate::simd::{Kernel, Simd};

/// Which two values of a head are one pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopePairs {
    /// 2i and 2i + 1, as llama's GGUF files have them.
    Adjacent,
    /// i and i + half ("NEOX").
    Halves,
}

/// Pair i of a head is rotated by position * `inverse_frequencies[i]` and multiplied with
/// `magnitude`; values past the last pair stay.
#[derive(Clone, Debug)]
pub struct Rope {
    pub pairs: RopePairs,
    pub inverse_frequencies: Vec<f32>,
    pub magnitude: f32,
}

impl Rope {
    /// Frequencies base^(-2i / dims), without scaling.
    pub fn new(pairs: RopePairs, dims: usize, base: f32) -> Self {
        let frequency = |i: usize| base.powf(-2.0 * i as f32 / dims as f32);
        Self {
            pairs,
            inverse_frequencies: (0..dims / 2).map(frequency).collect(),
            magnitude: 1.0,
        }
    }

    pub(crate) fn check(&self, head_dim: usize) -> Result<(), ShapeError> {
        at_most(
            "rotated pairs",
            head_dim / 2,
            self.inverse_frequencies.len(),
        )
    }

    /// Cosine and sine of each pair at a position, times the magnitude: `to[..pairs]` and
    /// `to[pairs..2 * pairs]`.
    pub(crate) fn table(&self, position: usize, to: &mut [f32]) {
        let (cosines, sines) = to.split_at_mut(self.inverse_frequencies.len());
        for ((frequency, cosine), sine) in self.inverse_frequencies.iter().zip(cosines).zip(sines) {
            let (s, c) = (position as f32 * frequency).sin_cos();
            (*cosine, *sine) = (c * self.magnitude, s * self.magnitude);
        }
    }

    /// Rotates one head by a table of [`Rope::table`].
    #[inline(always)]
    pub(crate) fn rotate(&self, head: &mut [f32], table: &[f32]) {
        let half = self.inverse_frequencies.len();
        let (cosines, sines) = table.split_at(half);
        match self.pairs {
            RopePairs::Adjacent => {
                let pairs = head.chunks_exact_mut(2);
                for ((pair, c), s) in pairs.zip(cosines).zip(sines) {
                    let (x, y) = (pair[0], pair[1]);
                    (pair[0], pair[1]) = (x * c - y * s, x * s + y * c);
                }
            }
            RopePairs::Halves => {
                let (first, second) = head.split_at_mut(half);
                let pairs = first.iter_mut().zip(second);
                for (((x, y), c), s) in pairs.zip(cosines).zip(sines) {
                    (*x, *y) = (*x * c - *y * s, *x * s + *y * c);
                }
            }
        }
    }
}

/// The cosines and sines of a [`Rope`] at every position up to a length, for those who rotate the
/// same positions in layer after layer.
#[derive(Clone, Debug)]
pub struct RopeTable {
    rope: Rope,
    max_len: usize,
    /// A table of [`Rope::table`] for each position.
    values: Vec<f32>,
}

impl RopeTable {
    /// # Errors
    /// There is no pair or no position.
    pub fn new(rope: Rope, max_len: usize) -> Result<Self, ShapeError> {
        at_least("rotated pairs", 1, rope.inverse_frequencies.len())?;
        at_least("rotated positions", 1, max_len)?;
        let width = 2 * rope.inverse_frequencies.len();
        let mut values = vec![0.0; max_len * width];
        for (position, to) in values.chunks_exact_mut(width).enumerate() {
            rope.table(position, to);
        }
        Ok(Self {
            rope,
            max_len,
            values,
        })
    }

    /// Positions.
    pub fn max_len(&self) -> usize {
        self.max_len
    }

    /// Memory held.
    pub fn bytes(&self) -> usize {
        Self::bytes_for(self.rope.inverse_frequencies.len(), self.max_len)
    }

    /// Bytes that a table of so many pairs and positions will hold.
    pub fn bytes_for(pairs: usize, max_len: usize) -> usize {
        2 * pairs * max_len * size_of::<f32>()
    }

    pub(crate) fn check(&self, head_dim: usize) -> Result<(), ShapeError> {
        self.rope.check(head_dim)
    }

    /// Rotates the queries and keys of `rows`, rows of queries, keys and values side by side, of which
    /// the first is at position `first`.
    ///
    /// # Errors
    /// `rows` is not whole rows, or a position is past the last.
    pub(crate) fn rotate(
        &self,
        isa: Isa,
        shape: Attention,
        first: usize,
        rows: &mut [f32],
    ) -> Result<(), ShapeError> {
        let stride = 3 * shape.width();
        let count = rows.len() / stride.max(1);
        exactly("queries, keys and values", count * stride, rows.len())?;
        at_most("positions", self.max_len, first.saturating_add(count))?;
        isa.run(Rotate {
            table: self,
            shape,
            first,
            rows,
        });
        Ok(())
    }
}

struct Rotate<'a> {
    table: &'a RopeTable,
    shape: Attention,
    first: usize,
    rows: &'a mut [f32],
}

impl Kernel for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let (rope, width) = (&self.table.rope, self.shape.width());
        let tables = self
            .table
            .values
            .chunks_exact(2 * rope.inverse_frequencies.len());
        let rows = self.rows.chunks_exact_mut(3 * width);
        for (row, table) in rows.zip(tables.skip(self.first)) {
            for head in row[..2 * width].chunks_exact_mut(self.shape.head_dim) {
                rope.rotate(head, table);
            }
        }
    }
}
