//! Attention over pages equals its definition, with what sequence-to-sequence models need of it: a
//! bias by distance, and keys of another sequence.

mod reference;

use reference::{Noise, softmax};
use tidegate_kernels::{
    Bias, Isa, KvCache, KvShape, KvType, PagedAttention, PagedQueries, PagedScratch, ShapeError,
    Visible,
};

const LEN: usize = 75;
const PAGES: [u32; 3] = [4, 1, 3];

struct Case {
    shape: PagedAttention,
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    /// A value for each head and distance, in the middle the distance zero.
    bias: Option<Vec<f32>>,
}

impl Case {
    fn new(noise: &mut Noise, head_dim: usize, bias: bool) -> Self {
        let shape = PagedAttention {
            heads: 6,
            kv_heads: 2,
            head_dim,
            scale: 0.3,
            softcap: None,
        };
        let biases = bias.then(|| noise.normals(6 * (2 * LEN - 1), 1.0));
        Self {
            shape,
            queries: noise.normals(LEN * 6 * head_dim, 1.0),
            keys: noise.normals(LEN * 2 * head_dim, 1.0),
            values: noise.normals(LEN * 2 * head_dim, 1.0),
            bias: biases,
        }
    }

    fn expected(&self, query: usize, head: usize, keys: std::ops::Range<usize>) -> Vec<f32> {
        let dim = self.shape.head_dim;
        let q = &self.queries[(query * 6 + head) * dim..][..dim];
        let at = |rows: &[f32], key: usize, d: usize| rows[(key * 2 + head / 3) * dim + d];
        let mut scores: Vec<f32> = keys
            .clone()
            .map(|key| {
                let dot: f32 = (0..dim).map(|d| q[d] * at(&self.keys, key, d)).sum();
                let bias = self.bias.as_ref().map_or(0.0, |bias| {
                    bias[head * (2 * LEN - 1) + key + LEN - 1 - query]
                });
                dot * self.shape.scale + bias
            })
            .collect();
        softmax(&mut scores);
        (0..dim)
            .map(|d| {
                let weighted = keys.clone().zip(&scores);
                weighted.map(|(key, p)| p * at(&self.values, key, d)).sum()
            })
            .collect()
    }

    fn check(
        &self,
        isa: Isa,
        kind: KvType,
        visible: Visible,
        limit: f32,
    ) -> Result<(), ShapeError> {
        let (dim, width) = (self.shape.head_dim, 6 * self.shape.head_dim);
        let shape = KvShape {
            layers: 2,
            kv_heads: 2,
            head_dim: dim,
        };
        let mut cache = KvCache::new(shape, 6, kind);
        // In two pieces, as they come.
        let cut = 40 * 2 * dim;
        let (keys, values) = (&self.keys, &self.values);
        cache.write(isa, 1, &PAGES, 0, &keys[..cut], &values[..cut])?;
        cache.write(isa, 1, &PAGES, 40, &keys[cut..], &values[cut..])?;
        let first = 21;
        let queries = PagedQueries {
            values: &self.queries[first * width..],
            stride: width,
            start: first,
            pages: &PAGES,
            visible,
            bias: self.bias.as_ref().map(|values| Bias {
                values,
                len: 2 * LEN - 1,
                center: LEN - 1,
            }),
        };
        let mut out = vec![0.0; (LEN - first) * width];
        let mut scratch = PagedScratch::new(LEN, dim);
        self.shape
            .run(isa, &cache, 1, queries, &mut scratch, &mut out)?;
        for (i, out) in out.chunks_exact(dim).enumerate() {
            let (query, head) = (first + i / 6, i % 6);
            let keys = match visible {
                Visible::Causal { window } => {
                    (query + 1).saturating_sub(window.unwrap_or(LEN))..query + 1
                }
                Visible::First(keys) => 0..keys,
            };
            for (found, expected) in out.iter().zip(self.expected(query, head, keys)) {
                let apart = (found - expected).abs();
                assert!(
                    apart < limit,
                    "{isa} {kind:?} {visible:?} {dim}: {apart} at {query}"
                );
            }
        }
        Ok(())
    }
}

#[test]
fn attention_equals_its_definition() -> Result<(), ShapeError> {
    let mut noise = Noise::new(1);
    for isa in Isa::available() {
        for dim in [8, 20, 32, 64, 80] {
            for bias in [false, true] {
                let case = Case::new(&mut noise, dim, bias);
                for visible in [
                    Visible::Causal { window: None },
                    Visible::Causal { window: Some(11) },
                    Visible::Causal { window: Some(1) },
                    Visible::First(LEN),
                    Visible::First(33),
                ] {
                    case.check(isa, KvType::F32, visible, 2e-5)?;
                    case.check(isa, KvType::F16, visible, 5e-3)?;
                }
            }
        }
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() -> Result<(), ShapeError> {
    let isa = Isa::best();
    let shape = KvShape {
        layers: 1,
        kv_heads: 1,
        head_dim: 8,
    };
    let mut cache = KvCache::new(shape, 2, KvType::F16);
    let row = [0.0; 8];
    let mut refused = |layer, pages: &[u32], start| {
        let written = cache.write(isa, layer, pages, start, &row, &row);
        written.err().map(|error| error.what)
    };
    assert_eq!(refused(0, &[1], 31), None);
    assert_eq!(refused(0, &[1], 32), Some("pages"));
    assert_eq!(refused(0, &[2], 0), Some("page"));
    assert_eq!(refused(1, &[1], 0), Some("layer"));
    assert!(cache.copy_page(0, 2).is_err());
    cache.copy_page(1, 0)
}
