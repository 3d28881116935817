//! Relative position bias: a number for each head and distance, added to the scores.

use crate::error::{ShapeError, at_least, exactly};

/// Biases by head and by distance from query to key (Raffel et al., T5, 2020, section 2.1; also
/// MPNet).
#[derive(Clone, Debug)]
pub struct RelativeBias {
    heads: usize,
    max_len: usize,
    /// `heads` rows of `2 * max_len - 1`: the bias at distance key - query + max_len - 1.
    values: Vec<f32>,
}

impl RelativeBias {
    /// `values` is one row a head, of the biases for key - query = -(max_len - 1) ..= max_len - 1.
    ///
    /// # Errors
    /// `values` has another length, or `max_len` is zero.
    pub fn new(values: Vec<f32>, heads: usize, max_len: usize) -> Result<Self, ShapeError> {
        at_least("longest sequence", 1, max_len)?;
        exactly("relative biases", heads * (2 * max_len - 1), values.len())?;
        Ok(Self {
            heads,
            max_len,
            values,
        })
    }

    /// From a table of `buckets` rows of `heads` values, as checkpoints hold it, by the
    /// bidirectional rule of T5 (as above): half the buckets for each direction, half of those for
    /// exact distances, the others logarithmic up to `max_distance`.
    ///
    /// # Errors
    /// `table` has another length, there are fewer than four buckets, or `max_len` is zero.
    pub fn from_buckets(
        table: &[f32],
        heads: usize,
        buckets: usize,
        max_distance: usize,
        max_len: usize,
    ) -> Result<Self, ShapeError> {
        at_least("relative buckets", 4, buckets)?;
        exactly("relative bias table", heads * buckets, table.len())?;
        let last = max_len as i64 - 1;
        let mut values = Vec::with_capacity(heads * (2 * max_len).saturating_sub(1));
        for head in 0..heads {
            let row = (-last..=last).map(|distance| bucket(distance, buckets, max_distance));
            values.extend(row.map(|bucket| table[bucket * heads + head]));
        }
        Self::new(values, heads, max_len)
    }

    pub fn heads(&self) -> usize {
        self.heads
    }

    pub fn max_len(&self) -> usize {
        self.max_len
    }

    /// The biases of one query for the keys 0..len of its sequence.
    pub(super) fn row(&self, head: usize, query: usize, len: usize) -> &[f32] {
        let first = head * (2 * self.max_len - 1) + self.max_len - 1 - query;
        &self.values[first..first + len]
    }
}

/// The bucket of a distance key - query.
pub(crate) fn bucket(distance: i64, buckets: usize, max_distance: usize) -> usize {
    let half = buckets / 2;
    let side = if distance > 0 { half } else { 0 };
    let far = distance.unsigned_abs() as usize;
    let exact = half / 2;
    if far < exact {
        return side + far;
    }
    let ratio = (far as f32 / exact as f32).ln() / (max_distance as f32 / exact as f32).ln();
    side + (exact + (ratio * (half - exact) as f32) as usize).min(half - 1)
}
