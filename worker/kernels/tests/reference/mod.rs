//! The same encoder in plain f32: no isas, no packing, no quantization, nothing shared with the
//! crate.
#![allow(dead_code)]

use tidegate_kernels::{
    Activation, Attention, Dense as Packed, Embeddings, Encoder, EncoderParts, FloatLinear, Isa,
    Layer, LayerNorm, Linear, Norms, RelativeBias, Rope, RopePairs, RopeTable, ShapeError, Table,
    quantize_weights,
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

/// Where layers normalize: what comes out of each branch with what goes around it, or what goes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    After,
    Before,
}

pub struct Block {
    pub qkv: Dense,
    /// The base of the frequencies by which queries and keys are rotated.
    pub rotation: Option<f32>,
    pub window: Option<usize>,
    pub out: Dense,
    /// The first norm: none in the first of blocks that normalize before.
    pub attention_norm: Option<Norm>,
    pub up: Dense,
    pub gate: Option<Dense>,
    pub down: Dense,
    /// The second norm.
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
    pub order: Order,
    pub blocks: Vec<Block>,
    pub final_norm: Option<Norm>,
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
    window: Option<usize>,
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
            for (key, score) in scores.iter_mut().enumerate() {
                if window.is_some_and(|window| query.abs_diff(key) > window) {
                    *score = f32::NEG_INFINITY;
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

/// Rotates the queries and keys of one sequence: values i and i + half of a head by position *
/// base^(-2i / dim).
fn rotate(qkv: &mut [f32], width: usize, heads: usize, base: f32) {
    let dim = width / heads;
    for (position, row) in qkv.chunks_exact_mut(3 * width).enumerate() {
        for head in row[..2 * width].chunks_exact_mut(dim) {
            let (first, second) = head.split_at_mut(dim / 2);
            for (i, (a, b)) in first.iter_mut().zip(second).enumerate() {
                let frequency = f64::from(base).powf(-2.0 * i as f64 / dim as f64);
                let (sine, cosine) = (position as f64 * frequency).sin_cos();
                let (x, y) = (f64::from(*a), f64::from(*b));
                *a = (x * cosine - y * sine) as f32;
                *b = (x * sine + y * cosine) as f32;
            }
        }
    }
}

impl Model {
    /// The last hidden state of one sequence.
    pub fn hidden(&self, ids: &[u32], kinds: Option<&[u32]>) -> Vec<f32> {
        let mut x = self.embed(ids, kinds);
        for block in &self.blocks {
            x = self.block(block, &x);
        }
        if let Some(norm) = &self.final_norm {
            for row in x.chunks_exact_mut(self.width) {
                norm.run(row, self.eps);
            }
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
        let (before, width) = (self.order == Order::Before, self.width);
        let normed = |norm: Option<&Norm>, row: &[f32]| {
            let mut row = row.to_vec();
            if let Some(norm) = norm {
                norm.run(&mut row, self.eps);
            }
            row
        };
        let first = block.attention_norm.as_ref();
        let second = Some(&block.output_norm);
        let mut qkv: Vec<f32> = x
            .chunks_exact(width)
            .flat_map(|row| block.qkv.run(&normed(first.filter(|_| before), row)))
            .collect();
        if let Some(base) = block.rotation {
            rotate(&mut qkv, width, self.heads, base);
        }
        let relative = self.relative.as_ref();
        let mixed = attention(&qkv, width, self.heads, relative, block.window);
        let mut out = Vec::new();
        for (row, mixed) in x.chunks_exact(width).zip(mixed.chunks_exact(width)) {
            let row = sum(row, &block.out.run(mixed));
            let row = normed(first.filter(|_| !before), &row);
            let wide = normed(second.filter(|_| before), &row);
            let mut inner = block.up.run(&wide);
            for x in &mut inner {
                *x = activation(self.activation, f64::from(*x)) as f32;
            }
            if let Some(gate) = &block.gate {
                inner = inner
                    .iter()
                    .zip(gate.run(&wide))
                    .map(|(x, y)| x * y)
                    .collect();
            }
            let row = sum(&row, &block.down.run(&inner));
            out.extend(normed(second.filter(|_| !before), &row));
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
        let head_dim = self.width / self.heads;
        let mut ropes = Vec::new();
        let mut layer = |block: &Block| -> Result<Layer, ShapeError> {
            if let Some(base) = block.rotation {
                let rope = Rope::new(RopePairs::Halves, head_dim, base);
                ropes.push(RopeTable::new(rope, 300)?);
            }
            Ok(Layer {
                norms: self.norms(block)?,
                qkv: block.qkv.pack(isa, most)?,
                rope: block.rotation.map(|_| ropes.len() - 1),
                window: block.window,
                out: block.out.pack(isa, most)?,
                up: block.up.pack(isa, most)?,
                activation: self.activation,
                gate: block
                    .gate
                    .as_ref()
                    .map(|gate| gate.pack(isa, most))
                    .transpose()?,
                down: block.down.pack(isa, down)?,
            })
        };
        let layers = self
            .blocks
            .iter()
            .map(&mut layer)
            .collect::<Result<_, _>>()?;
        let norm = |norm: &Norm| norm.layer_norm(self.eps);
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
            ropes,
            layers,
            final_norm: self.final_norm.as_ref().map(norm).transpose()?,
        })
    }

    fn norms(&self, block: &Block) -> Result<Norms, ShapeError> {
        let first = block
            .attention_norm
            .as_ref()
            .map(|norm| norm.layer_norm(self.eps));
        let (first, second) = (first.transpose()?, block.output_norm.layer_norm(self.eps)?);
        Ok(match (self.order, first) {
            (Order::After, Some(attention)) => Norms::After {
                attention,
                output: second,
            },
            (_, attention) => Norms::Before {
                attention,
                feed_forward: second,
            },
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
