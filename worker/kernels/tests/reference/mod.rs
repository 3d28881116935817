//! The same encoder in plain f32: no isas, no packing, no quantization, nothing shared with the
//! crate.
#![allow(dead_code)]

use tidegate_kernels::{
    Activation, Attention, Dense as Packed, Embeddings, Encoder, EncoderParts, FloatLinear, Isa,
    Layer, LayerNorm, Linear, RelativeBias, ShapeError, Table, quantize_weights,
};

/// Values that are the same in every run.
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Any 32 bits (xorshift64*, Vigna, 2016).
    pub fn bits(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as u32
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.bits() as usize % end
    }

    /// In -1..1.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 8) as f32 / (1u32 << 23) as f32 - 1.0
    }

    /// Roughly normal, of variance one.
    pub fn normal(&mut self) -> f32 {
        (0..6).map(|_| self.unit()).sum::<f32>() / 2f32.sqrt()
    }

    pub fn normals(&mut self, len: usize, deviation: f32) -> Vec<f32> {
        (0..len).map(|_| self.normal() * deviation).collect()
    }
}

/// Which layers are quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    Int8,
    F32,
    /// Every layer's second feed-forward layer in f32, the others in int8.
    Mixed,
}

/// One linear layer: `weight` is one row of inputs for each output.
pub struct Dense {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

pub struct Norm {
    pub gain: Vec<f32>,
    pub bias: Vec<f32>,
}

pub struct Block {
    pub qkv: Dense,
    pub out: Dense,
    pub attention_norm: Norm,
    pub up: Dense,
    pub down: Dense,
    pub output_norm: Norm,
}

pub struct Model {
    pub width: usize,
    pub heads: usize,
    pub activation: Activation,
    pub eps: f32,
    pub words: Vec<f32>,
    pub positions: Option<Vec<f32>>,
    pub first_position: usize,
    pub kinds: Option<Vec<f32>>,
    pub norm: Norm,
    pub blocks: Vec<Block>,
    /// Bias by head and key - query + max_len - 1, with max_len.
    pub relative: Option<(Vec<f32>, usize)>,
}

impl Dense {
    pub fn random(noise: &mut Noise, inputs: usize, outputs: usize) -> Self {
        let weight = noise.normals(inputs * outputs, 1.0 / (inputs as f32).sqrt());
        Self {
            weight,
            bias: noise.normals(outputs, 0.1),
        }
    }

    pub fn run(&self, x: &[f32]) -> Vec<f32> {
        let rows = self.weight.chunks_exact(x.len()).zip(&self.bias);
        rows.map(|(row, bias)| dot(row, x) + bias).collect()
    }

    fn pack(&self, isa: Isa, precision: Precision) -> Result<Packed, ShapeError> {
        let k = self.weight.len() / self.bias.len();
        if precision == Precision::F32 {
            let packed = FloatLinear::pack(isa, &self.weight, Some(&self.bias), k)?;
            return Ok(Packed::F32(packed));
        }
        let (weights, scale) = quantize_weights(&self.weight, k)?;
        let packed = Linear::pack(isa, &weights, &scale, Some(&self.bias), k)?;
        Ok(Packed::Int8(packed))
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 16];
    let (a16, b16) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest: f32 = a16
        .remainder()
        .iter()
        .zip(b16.remainder())
        .map(|(a, b)| a * b)
        .sum();
    for (a, b) in a16.zip(b16) {
        for i in 0..16 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum::<f32>() + rest
}

impl Norm {
    pub fn random(noise: &mut Noise, width: usize) -> Self {
        let gain = (0..width).map(|_| 1.0 + 0.2 * noise.unit()).collect();
        Self {
            gain,
            bias: noise.normals(width, 0.1),
        }
    }

    pub fn run(&self, x: &mut [f32], eps: f32) {
        let n = x.len() as f64;
        let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let variance = x
            .iter()
            .map(|&x| (f64::from(x) - mean).powi(2))
            .sum::<f64>()
            / n;
        let deviation = (variance + f64::from(eps)).sqrt();
        for ((x, gain), bias) in x.iter_mut().zip(&self.gain).zip(&self.bias) {
            *x = ((f64::from(*x) - mean) / deviation) as f32 * gain + bias;
        }
    }

    fn layer_norm(&self, eps: f32) -> Result<LayerNorm, ShapeError> {
        LayerNorm::new(self.gain.clone(), self.bias.clone(), eps)
    }
}

/// The activation in f64; Phi by its series (Abramowitz and Stegun 26.2.11).
pub fn activation(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::None => x,
        Activation::Gelu => x * phi(x),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }
        Activation::Relu => x.max(0.0),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Tanh => x.tanh(),
    }
}

fn phi(x: f64) -> f64 {
    if x.abs() > 8.0 {
        return if x > 0.0 { 1.0 } else { 0.0 };
    }
    let (mut term, mut sum, mut i) = (x, x, 1.0);
    while term.abs() > 1e-18 {
        i += 2.0;
        term *= x * x / i;
        sum += term;
    }
    0.5 + sum * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

pub fn softmax(row: &mut [f32]) {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|&x| f64::from(x - max).exp()).sum();
    for x in row {
        *x = (f64::from(*x - max).exp() / sum) as f32;
    }
}

/// Attention of one sequence over rows of queries, keys and values side by side.
pub fn attention(
    qkv: &[f32],
    width: usize,
    heads: usize,
    relative: Option<&(Vec<f32>, usize)>,
) -> Vec<f32> {
    let (len, dim) = (qkv.len() / (3 * width), width / heads);
    let part = |row: usize, part: usize, head: usize| {
        &qkv[row * 3 * width + part * width + head * dim..][..dim]
    };
    let mut out = vec![0.0; len * width];
    for head in 0..heads {
        for query in 0..len {
            let scale = 1.0 / (dim as f32).sqrt();
            let mut scores: Vec<_> = (0..len)
                .map(|key| dot(part(query, 0, head), part(key, 1, head)) * scale)
                .collect();
            if let Some((bias, max_len)) = relative {
                for (key, score) in scores.iter_mut().enumerate() {
                    *score += bias[head * (2 * max_len - 1) + key + max_len - 1 - query];
                }
            }
            softmax(&mut scores);
            for (key, score) in scores.iter().enumerate() {
                for (d, value) in part(key, 2, head).iter().enumerate() {
                    out[query * width + head * dim + d] += score * value;
                }
            }
        }
    }
    out
}

impl Model {
    /// The last hidden state of one sequence.
    pub fn hidden(&self, ids: &[u32], kinds: Option<&[u32]>) -> Vec<f32> {
        let mut x = self.embed(ids, kinds);
        for block in &self.blocks {
            x = self.block(block, &x);
        }
        x
    }

    fn embed(&self, ids: &[u32], kinds: Option<&[u32]>) -> Vec<f32> {
        let width = self.width;
        let mut x = Vec::new();
        for (i, &id) in ids.iter().enumerate() {
            let mut row = self.words[id as usize * width..][..width].to_vec();
            let mut add = |table: &[f32], at: usize| {
                for (x, y) in row.iter_mut().zip(&table[at * width..][..width]) {
                    *x += y;
                }
            };
            if let Some(table) = &self.positions {
                add(table, i + self.first_position);
            }
            if let Some(table) = &self.kinds {
                add(table, kinds.map_or(0, |kinds| kinds[i] as usize));
            }
            self.norm.run(&mut row, self.eps);
            x.extend(row);
        }
        x
    }

    fn block(&self, block: &Block, x: &[f32]) -> Vec<f32> {
        let qkv: Vec<f32> = x
            .chunks_exact(self.width)
            .flat_map(|row| block.qkv.run(row))
            .collect();
        let mixed = attention(&qkv, self.width, self.heads, self.relative.as_ref());
        let mut out = Vec::new();
        for (row, mixed) in x
            .chunks_exact(self.width)
            .zip(mixed.chunks_exact(self.width))
        {
            let mut row = sum(row, &block.out.run(mixed));
            block.attention_norm.run(&mut row, self.eps);
            let mut inner = block.up.run(&row);
            for x in &mut inner {
                *x = activation(self.activation, f64::from(*x)) as f32;
            }
            let mut row = sum(&row, &block.down.run(&inner));
            block.output_norm.run(&mut row, self.eps);
            out.extend(row);
        }
        out
    }

    /// The same model, packed.
    pub fn packed(&self, isa: Isa, precision: Precision) -> Result<Encoder, ShapeError> {
        let table = |values: &Vec<f32>| match precision {
            Precision::F32 => Table::float(values.clone(), self.width),
            _ => Table::quantize(values, self.width),
        };
        let (most, down) = match precision {
            Precision::Mixed => (Precision::Int8, Precision::F32),
            same => (same, same),
        };
        let layer = |block: &Block| -> Result<Layer, ShapeError> {
            Ok(Layer {
                qkv: block.qkv.pack(isa, most)?,
                out: block.out.pack(isa, most)?,
                attention_norm: block.attention_norm.layer_norm(self.eps)?,
                up: block.up.pack(isa, most)?,
                activation: self.activation,
                down: block.down.pack(isa, down)?,
                output_norm: block.output_norm.layer_norm(self.eps)?,
            })
        };
        let head_dim = self.width / self.heads;
        let relative = self.relative.as_ref();
        Encoder::new(EncoderParts {
            isa,
            embeddings: Embeddings {
                words: table(&self.words)?,
                positions: self.positions.as_ref().map(table).transpose()?,
                first_position: self.first_position,
                kinds: self.kinds.as_ref().map(table).transpose()?,
                norm: self.norm.layer_norm(self.eps)?,
            },
            attention: Attention {
                heads: self.heads,
                head_dim,
                scale: 1.0 / (head_dim as f32).sqrt(),
            },
            relative_bias: relative
                .map(|(bias, max_len)| RelativeBias::new(bias.clone(), self.heads, *max_len))
                .transpose()?,
            layers: self.blocks.iter().map(layer).collect::<Result<_, _>>()?,
        })
    }
}

fn sum(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// The mean of a sequence's rows, of length one.
pub fn mean_embedding(hidden: &[f32], width: usize) -> Vec<f32> {
    let mut mean = vec![0.0; width];
    for row in hidden.chunks_exact(width) {
        for (mean, x) in mean.iter_mut().zip(row) {
            *mean += x;
        }
    }
    let length = dot(&mean, &mean).sqrt();
    mean.iter().map(|x| x / length).collect()
}

pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum::<f64>()
    };
    product(a, b) / (product(a, a) * product(b, b)).sqrt()
}
