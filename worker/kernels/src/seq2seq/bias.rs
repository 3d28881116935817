//! Biases by distance: a bucket for each distance, a value for each bucket and head (Raffel et al.,
//! 2020, section 2.1).
//!
//! An encoder looks both ways and gives each direction half of the buckets. A decoder looks back
//! alone and has all of them for that, so its buckets are other ones from distance 8 on.

use super::Seq2SeqShape;
use crate::attention::bucket;
use crate::paged::Bias;

/// A bias for each head and distance up to a length.
pub(super) struct Biases {
    /// A row of `len` values for each head.
    values: Vec<f32>,
    len: usize,
    /// The place of distance zero in a row.
    center: usize,
}

impl Biases {
    /// For queries that see keys before and after them, up to the longest source.
    pub(super) fn both_ways(table: &[f32], shape: &Seq2SeqShape) -> Self {
        let last = shape.max_source as i64 - 1;
        Self::new(table, shape, -last..=last, |distance| {
            bucket(distance, shape.buckets, shape.max_distance)
        })
    }

    /// For queries that see keys before them alone, up to the longest target.
    pub(super) fn backward(table: &[f32], shape: &Seq2SeqShape) -> Self {
        let last = shape.max_target as i64 - 1;
        Self::new(table, shape, -last..=0, |distance| {
            backward_bucket(distance.unsigned_abs() as usize, shape)
        })
    }

    fn new(
        table: &[f32],
        shape: &Seq2SeqShape,
        distances: std::ops::RangeInclusive<i64>,
        bucket: impl Fn(i64) -> usize,
    ) -> Self {
        let center = distances.start().unsigned_abs() as usize;
        let buckets: Vec<usize> = distances.map(bucket).collect();
        let heads = 0..shape.heads;
        Self {
            values: heads
                .flat_map(|head| buckets.iter().map(move |at| table[at * shape.heads + head]))
                .collect(),
            len: buckets.len(),
            center,
        }
    }

    pub(super) fn view(&self) -> Bias<'_> {
        Bias {
            values: &self.values,
            len: self.len,
            center: self.center,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.values.as_slice())
    }
}

/// Half of the buckets for exact distances, the others logarithmic up to `max_distance`.
fn backward_bucket(far: usize, shape: &Seq2SeqShape) -> usize {
    let exact = shape.buckets / 2;
    if far < exact {
        return far;
    }
    let ratio = (far as f32 / exact as f32).ln() / (shape.max_distance as f32 / exact as f32).ln();
    (exact + (ratio * (shape.buckets - exact) as f32) as usize).min(shape.buckets - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::Activation;

    /// As transformers' `_relative_position_bucket` has them for a decoder, in f32.
    #[test]
    fn a_decoder_has_all_buckets_for_what_lies_before() {
        let shape = Seq2SeqShape {
            width: 32,
            heads: 1,
            head_dim: 32,
            inner: 32,
            vocab: 8,
            activation: Activation::Relu,
            buckets: 32,
            max_distance: 128,
            max_source: 1,
            max_target: 1,
        };
        for (far, bucket) in [
            (0, 0),
            (7, 7),
            (8, 8),
            (9, 9),
            (15, 15),
            (16, 16),
            (18, 16),
            (19, 17),
            (21, 18),
            (32, 21),
            (64, 26),
            (100, 30),
            (112, 30),
            (113, 31),
            (128, 31),
            (200, 31),
        ] {
            assert_eq!(backward_bucket(far, &shape), bucket, "distance {far}");
        }
    }
}
