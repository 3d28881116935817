//! Rotary position embeddings (Su et al., 2021, equation 34).
//!
//! Scalings differ only in the frequencies and in a factor on the result; who loads a model
//! computes both.

use crate::error::{ShapeError, at_most};

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
