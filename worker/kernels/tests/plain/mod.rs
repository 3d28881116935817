//! The same decoder in plain f32, one sequence and one token at a time: no isas, no packing, no
//! pages, nothing shared with the crate but the reading of a file's blocks.
#![allow(dead_code)]

use tidegate_kernels::{
    Activation, BlockLinear, BlockType, Decoder, DecoderLayer, DecoderParts, DecoderShape, Isa,
    RawWeights, RmsNorm, Rope, RopePairs, ShapeError,
};

use crate::reference::{Noise, activation};

/// A matrix in a file's encoding, and what it says in f32.
pub struct Matrix {
    pub kind: BlockType,
    pub rows: usize,
    pub cols: usize,
    pub bytes: Vec<u8>,
    /// What the bytes say.
    pub values: Vec<f32>,
    pub bias: Option<Vec<f32>>,
}

/// Bytes whose floats are moderate: random weights under scales of about `size`.
pub fn random_bytes(noise: &mut Noise, kind: BlockType, blocks: usize, size: f32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let half = |noise: &mut Noise, size: f32| f16(size * (0.5 + noise.unit().abs() / 2.0));
    for _ in 0..blocks {
        let mut block: Vec<u8> = (0..kind.block_bytes())
            .map(|_| noise.bits() as u8)
            .collect();
        let mut put = |at: usize, x: u16| block[at..at + 2].copy_from_slice(&x.to_le_bytes());
        match kind {
            BlockType::F32 => block.copy_from_slice(&(noise.normal() * size).to_le_bytes()),
            BlockType::F16 => put(0, f16(noise.normal() * size)),
            BlockType::Bf16 => put(0, ((noise.normal() * size).to_bits() >> 16) as u16),
            BlockType::Q8_0 => put(0, half(noise, size / 64.0)),
            BlockType::Q4_0 => put(0, half(noise, size / 4.0)),
            BlockType::Q5_0 => put(0, half(noise, size / 8.0)),
            BlockType::Q4_1 | BlockType::Q5_1 => {
                let steps = if kind == BlockType::Q4_1 { 8.0 } else { 16.0 };
                put(0, half(noise, 2.0 * size / steps));
                put(2, half(noise, 2.0 * size) | 0x8000);
            }
            BlockType::Q4K | BlockType::Q5K => {
                let steps = if kind == BlockType::Q4K { 8.0 } else { 16.0 };
                put(0, half(noise, 2.0 * size / steps / 32.0));
                put(2, half(noise, 2.0 * size / 32.0));
            }
            BlockType::Q6K => put(208, half(noise, size / 16.0 / 64.0)),
        }
        bytes.extend(block);
    }
    bytes
}

/// A normal binary16.
fn f16(x: f32) -> u16 {
    let bits = x.to_bits();
    let exponent = (bits >> 23 & 255) as i32 - 112;
    let sign = (bits >> 16) as u16 & 0x8000;
    if exponent <= 0 {
        return sign;
    }
    sign | (exponent as u16) << 10 | (bits >> 13) as u16 & 0x3FF
}

impl Matrix {
    pub fn random(noise: &mut Noise, kind: BlockType, rows: usize, cols: usize) -> Self {
        let blocks = rows * cols / kind.block_len();
        let size = 1.0 / (cols as f32).sqrt();
        let mut matrix = Self {
            kind,
            rows,
            cols,
            bytes: random_bytes(noise, kind, blocks, size),
            values: vec![0.0; rows * cols],
            bias: None,
        };
        let mut values = std::mem::take(&mut matrix.values);
        for (r, row) in values.chunks_exact_mut(cols).enumerate() {
            matrix.raw().dequantize_row(r, row).expect("a row");
        }
        matrix.values = values;
        matrix
    }

    pub fn with_bias(mut self, noise: &mut Noise) -> Self {
        self.bias = Some(noise.normals(self.rows, 0.2));
        self
    }

    pub fn raw(&self) -> RawWeights<'_> {
        RawWeights {
            kind: self.kind,
            rows: self.rows,
            cols: self.cols,
            bytes: &self.bytes,
        }
    }

    pub fn pack(&self, isa: Isa) -> Result<BlockLinear, ShapeError> {
        BlockLinear::pack(isa, &self.raw(), self.bias.as_deref())
    }

    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.cols..][..self.cols]
    }

    pub fn run(&self, x: &[f32]) -> Vec<f32> {
        (0..self.rows)
            .map(|r| {
                let dot: f64 = self
                    .row(r)
                    .iter()
                    .zip(x)
                    .map(|(w, x)| f64::from(*w) * f64::from(*x))
                    .sum();
                dot as f32 + self.bias.as_ref().map_or(0.0, |bias| bias[r])
            })
            .collect()
    }
}

pub struct Layer {
    pub attention_norm: Vec<f32>,
    pub queries: Matrix,
    pub keys: Matrix,
    pub values: Matrix,
    pub head_norms: Option<[Vec<f32>; 2]>,
    pub output: Matrix,
    pub post_norms: Option<[Vec<f32>; 2]>,
    pub feed_forward_norm: Vec<f32>,
    pub gate: Matrix,
    pub up: Matrix,
    pub down: Matrix,
    pub window: Option<usize>,
    pub rope: usize,
}

pub struct Model {
    pub shape: DecoderShape,
    pub eps: f32,
    pub tokens: Matrix,
    pub ropes: Vec<Rope>,
    pub layers: Vec<Layer>,
    pub output_norm: Vec<f32>,
    pub head: Option<Matrix>,
}

/// What differs between architectures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Llama,
    Qwen2,
    Qwen3,
    Gemma3,
    Phi3,
}

pub const FAMILIES: [Family; 5] = [
    Family::Llama,
    Family::Qwen2,
    Family::Qwen3,
    Family::Gemma3,
    Family::Phi3,
];

impl Model {
    pub fn random(family: Family, kind: BlockType, seed: u64) -> Self {
        let noise = &mut Noise::new(seed);
        let (width, heads, kv_heads, head_dim, inner, vocab) = match family {
            Family::Gemma3 => (256, 4, 1, 96, 512, 77),
            Family::Phi3 => (256, 4, 4, 64, 256, 100),
            _ => (256, 8, 2, 32, 512, 130),
        };
        let gemma = family == Family::Gemma3;
        let shape = DecoderShape {
            width,
            heads,
            kv_heads,
            head_dim,
            inner,
            vocab,
            activation: if gemma {
                Activation::GeluTanh
            } else {
                Activation::Silu
            },
            attention_scale: 1.0 / (head_dim as f32).sqrt(),
            attention_softcap: gemma.then_some(30.0),
            logit_softcap: gemma.then_some(20.0),
            embedding_scale: if gemma { (width as f32).sqrt() } else { 1.0 },
        };
        let mut ropes = vec![Rope::new(
            if family == Family::Llama {
                RopePairs::Adjacent
            } else {
                RopePairs::Halves
            },
            if family == Family::Phi3 {
                head_dim / 2
            } else {
                head_dim
            },
            10_000.0,
        )];
        if gemma {
            ropes.push(Rope::new(RopePairs::Halves, head_dim, 1_000_000.0));
        }
        if family == Family::Phi3 {
            ropes[0].magnitude = 1.19;
        }
        let gain = |noise: &mut Noise, len: usize| -> Vec<f32> {
            (0..len).map(|_| 1.0 + 0.2 * noise.normal()).collect()
        };
        let layers = (0..3)
            .map(|i| {
                let bias = |noise: &mut Noise, matrix: Matrix| {
                    if family == Family::Qwen2 {
                        matrix.with_bias(noise)
                    } else {
                        matrix
                    }
                };
                let mut projection = |rows| {
                    let matrix = Matrix::random(noise, kind, rows, width);
                    bias(noise, matrix)
                };
                let (query, key) = (heads * head_dim, kv_heads * head_dim);
                let (queries, keys, values) = (projection(query), projection(key), projection(key));
                let heads = matches!(family, Family::Qwen3 | Family::Gemma3);
                Layer {
                    attention_norm: gain(noise, width),
                    queries,
                    keys,
                    values,
                    head_norms: heads.then(|| [gain(noise, head_dim), gain(noise, head_dim)]),
                    output: Matrix::random(noise, kind, width, query),
                    post_norms: gemma.then(|| [gain(noise, width), gain(noise, width)]),
                    feed_forward_norm: gain(noise, width),
                    gate: Matrix::random(noise, kind, inner, width),
                    up: Matrix::random(noise, kind, inner, width),
                    down: Matrix::random(noise, kind, width, inner),
                    window: (gemma && i != 2).then_some(37),
                    rope: usize::from(gemma && i == 2),
                }
            })
            .collect();
        Self {
            eps: 1e-5,
            tokens: Matrix::random(noise, kind, vocab, width),
            ropes,
            layers,
            output_norm: gain(noise, width),
            head: (family != Family::Qwen2).then(|| Matrix::random(noise, kind, vocab, width)),
            shape,
        }
    }

    pub fn pack(&self, isa: Isa) -> Result<Decoder, ShapeError> {
        let norm = |gain: &Vec<f32>| RmsNorm::new(gain.clone(), self.eps);
        let layers = self.layers.iter().map(|layer| {
            let [query_norm, key_norm] = match &layer.head_norms {
                Some(norms) => [Some(norm(&norms[0])?), Some(norm(&norms[1])?)],
                None => [None, None],
            };
            let [post_attention_norm, post_feed_forward_norm] = match &layer.post_norms {
                Some(norms) => [Some(norm(&norms[0])?), Some(norm(&norms[1])?)],
                None => [None, None],
            };
            Ok(DecoderLayer {
                attention_norm: norm(&layer.attention_norm)?,
                queries: layer.queries.pack(isa)?,
                keys: layer.keys.pack(isa)?,
                values: layer.values.pack(isa)?,
                query_norm,
                key_norm,
                output: layer.output.pack(isa)?,
                post_attention_norm,
                feed_forward_norm: norm(&layer.feed_forward_norm)?,
                gate: layer.gate.pack(isa)?,
                up: layer.up.pack(isa)?,
                down: layer.down.pack(isa)?,
                post_feed_forward_norm,
                window: layer.window,
                rope: layer.rope,
            })
        });
        let parts = DecoderParts {
            shape: self.shape.clone(),
            tokens: self.tokens.pack(isa)?,
            ropes: self.ropes.clone(),
            layers: layers.collect::<Result<_, ShapeError>>()?,
            output_norm: norm(&self.output_norm)?,
            head: match &self.head {
                Some(head) => Some(head.pack(isa)?),
                None => None,
            },
        };
        Decoder::new(isa, parts)
    }

    /// The logits after each token of one sequence.
    pub fn logits(&self, tokens: &[u32]) -> Vec<Vec<f32>> {
        let shape = &self.shape;
        let mut keys = vec![Vec::new(); self.layers.len()];
        let mut values = vec![Vec::new(); self.layers.len()];
        let mut out = Vec::new();
        for (position, &token) in tokens.iter().enumerate() {
            let mut hidden = self.tokens.row(token as usize).to_vec();
            hidden.iter_mut().for_each(|x| *x *= shape.embedding_scale);
            for (i, layer) in self.layers.iter().enumerate() {
                let x = rms(&hidden, &layer.attention_norm, self.eps);
                let (q, k, v) = (
                    layer.queries.run(&x),
                    layer.keys.run(&x),
                    layer.values.run(&x),
                );
                let norms = layer.head_norms.as_ref();
                keys[i].push(self.heads(layer, k, norms.map(|n| &n[1]), position));
                values[i].push(v);
                let q = self.heads(layer, q, norms.map(|n| &n[0]), position);
                let context = self.attend(layer, &q, &keys[i], &values[i], position);
                let mut branch = layer.output.run(&context);
                if let Some(post) = &layer.post_norms {
                    branch = rms(&branch, &post[0], self.eps);
                }
                add(&mut hidden, &branch);
                let x = rms(&hidden, &layer.feed_forward_norm, self.eps);
                let gate = layer.gate.run(&x);
                let inner: Vec<f32> = gate
                    .iter()
                    .zip(layer.up.run(&x))
                    .map(|(g, u)| activation(shape.activation, f64::from(*g)) as f32 * u)
                    .collect();
                let mut branch = layer.down.run(&inner);
                if let Some(post) = &layer.post_norms {
                    branch = rms(&branch, &post[1], self.eps);
                }
                add(&mut hidden, &branch);
            }
            let x = rms(&hidden, &self.output_norm, self.eps);
            let mut logits = self.head.as_ref().unwrap_or(&self.tokens).run(&x);
            if let Some(cap) = shape.logit_softcap {
                logits.iter_mut().for_each(|x| *x = cap * (*x / cap).tanh());
            }
            out.push(logits);
        }
        out
    }

    /// Each head normalized, then rotated.
    fn heads(
        &self,
        layer: &Layer,
        mut x: Vec<f32>,
        norm: Option<&Vec<f32>>,
        position: usize,
    ) -> Vec<f32> {
        let rope = &self.ropes[layer.rope];
        for head in x.chunks_exact_mut(self.shape.head_dim) {
            if let Some(gain) = norm {
                head.copy_from_slice(&rms(head, gain, self.eps));
            }
            let half = rope.inverse_frequencies.len();
            for (i, frequency) in rope.inverse_frequencies.iter().enumerate() {
                let (a, b) = match rope.pairs {
                    RopePairs::Adjacent => (2 * i, 2 * i + 1),
                    RopePairs::Halves => (i, i + half),
                };
                let angle = f64::from(position as f32 * frequency);
                let (s, c) = angle.sin_cos();
                let m = f64::from(rope.magnitude);
                let (u, v) = (f64::from(head[a]), f64::from(head[b]));
                head[a] = (m * (u * c - v * s)) as f32;
                head[b] = (m * (u * s + v * c)) as f32;
            }
        }
        x
    }

    fn attend(
        &self,
        layer: &Layer,
        q: &[f32],
        keys: &[Vec<f32>],
        values: &[Vec<f32>],
        position: usize,
    ) -> Vec<f32> {
        let shape = &self.shape;
        let dim = shape.head_dim;
        let group = shape.heads / shape.kv_heads;
        let first = layer
            .window
            .map_or(0, |window| (position + 1).saturating_sub(window));
        let mut out = Vec::new();
        for (head, q) in q.chunks_exact(dim).enumerate() {
            let at = head / group * dim;
            let mut scores: Vec<f32> = keys[first..]
                .iter()
                .map(|k| {
                    let dot: f32 = q.iter().zip(&k[at..]).map(|(q, k)| q * k).sum();
                    let score = dot * shape.attention_scale;
                    shape
                        .attention_softcap
                        .map_or(score, |cap| cap * (score / cap).tanh())
                })
                .collect();
            crate::reference::softmax(&mut scores);
            for d in 0..dim {
                out.push(
                    scores
                        .iter()
                        .zip(&values[first..])
                        .map(|(p, v)| p * v[at + d])
                        .sum(),
                );
            }
        }
        out
    }
}

fn rms(x: &[f32], gain: &[f32], eps: f32) -> Vec<f32> {
    let mean = x.iter().map(|x| f64::from(x * x)).sum::<f64>() / x.len() as f64;
    let factor = 1.0 / (mean + f64::from(eps)).sqrt();
    x.iter()
        .zip(gain)
        .map(|(x, gain)| (f64::from(*x) * factor) as f32 * gain)
        .collect()
}

fn add(to: &mut [f32], x: &[f32]) {
    to.iter_mut().zip(x).for_each(|(to, x)| *to += x);
}
