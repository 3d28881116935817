//! How fast a decoder of a known shape computes prompts and tokens on this machine, with random
//! weights.
//!
//! `cargo run --release -p tidegate-kernels --example decode [-- SHAPE [THREADS [ISA]]]`
//!
//! Shapes: `smollm2-q4_1`, `smollm2-q4_0`, `qwen2-q8_0`, `qwen2-q4_k_m`. Figures are tokens a second,
//! the best and the median of some rounds.

use std::error::Error;
use std::time::Instant;

use tidegate_kernels::{
    Activation, BlockLinear, BlockType, Chunk, Decoder, DecoderLayer, DecoderParts, DecoderShape,
    DecoderWorkspace, Isa, KvCache, KvType, PAGE_TOKENS, RawWeights, RmsNorm, Rope, RopePairs,
    ShapeError, Team, Wanted,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

const PROMPT: usize = 512;
const SEQUENCES: usize = 8;
const ROUNDS: usize = 5;
/// Tokens of a round of decoding.
const TOKENS: usize = 12;

/// Which type each matrix has.
#[derive(Clone, Copy)]
struct Types {
    embedding: BlockType,
    attention: BlockType,
    values: BlockType,
    wide: BlockType,
    /// By turns from layer to layer.
    down: [BlockType; 2],
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "smollm2-q4_1".into());
    let threads = arguments.next().map_or(Ok(2), |n| n.parse())?;
    let isa = match arguments.next() {
        Some(name) => Isa::named(&name)?,
        None => Isa::best(),
    };
    let decoder = decoder(isa, &name)?;
    println!(
        "{name} on {isa}, {threads} threads: {:.1} MB of weights",
        decoder.bytes() as f64 / 1e6
    );
    let mut bench = Bench {
        team: Team::new(threads)?,
        cache: KvCache::new(decoder.kv_shape(), 256, KvType::F16),
        workspace: DecoderWorkspace::new(&decoder, PROMPT, 1024, threads),
        out: vec![0.0; SEQUENCES * decoder.shape().vocab],
        decoder,
    };
    let prefill = bench.prefill()?;
    report("prefill 512", PROMPT, prefill);
    let one = bench.decode(&[128])?;
    report("decode, one sequence", TOKENS, one);
    let lengths: Vec<usize> = (0..SEQUENCES).map(|i| 40 + 31 * i).collect();
    let many = bench.decode(&lengths)?;
    report("decode, 8 unequal sequences", TOKENS * SEQUENCES, many);
    Ok(())
}

fn report(what: &str, tokens: usize, mut seconds: Vec<f64>) {
    seconds.sort_by(f64::total_cmp);
    let rate = |s: f64| tokens as f64 / s;
    println!(
        "  {what:<30} {:>8.1} {:>8.1}",
        rate(seconds[0]),
        rate(seconds[seconds.len() / 2])
    );
}

struct Bench {
    decoder: Decoder,
    team: Team,
    cache: KvCache,
    workspace: DecoderWorkspace,
    out: Vec<f32>,
}

impl Bench {
    fn step(&mut self, chunks: &[Chunk<'_>]) -> Outcome<()> {
        let rows: usize = chunks.iter().map(Chunk::logit_rows).sum();
        let out = &mut self.out[..rows * self.decoder.shape().vocab];
        Ok(self.decoder.step(
            &mut self.team,
            &mut self.cache,
            &mut self.workspace,
            chunks,
            out,
        )?)
    }

    fn prefill(&mut self) -> Outcome<Vec<f64>> {
        let tokens: Vec<u32> = (0..PROMPT).map(|i| (i * 37 % 1000) as u32).collect();
        let pages: Vec<u32> = (0..PROMPT.div_ceil(PAGE_TOKENS) as u32).collect();
        let chunk = Chunk {
            tokens: &tokens,
            start: 0,
            pages: &pages,
            logits: Wanted::Last,
        };
        self.step(&[chunk])?;
        (0..ROUNDS)
            .map(|_| {
                let begin = Instant::now();
                self.step(&[chunk])?;
                Ok(begin.elapsed().as_secs_f64())
            })
            .collect()
    }

    /// Decodes sequences that have some tokens already, whatever those are.
    fn decode(&mut self, lengths: &[usize]) -> Outcome<Vec<f64>> {
        let pages: Vec<Vec<u32>> = (0..lengths.len() as u32)
            .map(|i| (i * 16..(i + 1) * 16).collect())
            .collect();
        (0..ROUNDS)
            .map(|_| {
                let begin = Instant::now();
                for at in 0..TOKENS {
                    let chunks: Vec<_> = lengths
                        .iter()
                        .zip(&pages)
                        .map(|(length, pages)| Chunk {
                            tokens: &[7],
                            start: length + at,
                            pages,
                            logits: Wanted::Last,
                        })
                        .collect();
                    self.step(&chunks)?;
                }
                Ok(begin.elapsed().as_secs_f64())
            })
            .collect()
    }
}

fn decoder(isa: Isa, name: &str) -> Outcome<Decoder> {
    let same = |kind, embedding| Types {
        embedding,
        attention: kind,
        values: kind,
        wide: kind,
        down: [kind; 2],
    };
    let (shape, types, layers) = match name {
        "smollm2-q4_1" => (smollm2(), same(BlockType::Q4_1, BlockType::Q8_0), 30),
        "smollm2-q4_0" => (smollm2(), same(BlockType::Q4_0, BlockType::Q8_0), 30),
        "qwen2-q8_0" => (qwen2(), same(BlockType::Q8_0, BlockType::Q8_0), 24),
        // Rows of 896 are no whole blocks of 256: llama-quantize takes these types instead.
        "qwen2-q4_k_m" => {
            let types = Types {
                embedding: BlockType::Q8_0,
                attention: BlockType::Q5_0,
                values: BlockType::Q8_0,
                wide: BlockType::Q5_0,
                down: [BlockType::Q4K, BlockType::Q6K],
            };
            (qwen2(), types, 24)
        }
        other => return Err(format!("no shape {other:?}").into()),
    };
    let mut noise = 1;
    let layers = (0..layers).map(|i| layer(isa, &shape, types, i, &mut noise));
    let layers: Vec<_> = layers.collect::<Result<_, _>>()?;
    let head_dim = shape.head_dim;
    let parts = DecoderParts {
        tokens: linear(isa, types.embedding, shape.vocab, shape.width, &mut noise)?,
        ropes: vec![Rope::new(RopePairs::Halves, head_dim, 10_000.0)],
        layers,
        output_norm: RmsNorm::new(vec![1.0; shape.width], 1e-5)?,
        head: None,
        shape,
    };
    Ok(Decoder::new(isa, parts)?)
}

fn smollm2() -> DecoderShape {
    DecoderShape {
        width: 576,
        heads: 9,
        kv_heads: 3,
        head_dim: 64,
        inner: 1536,
        vocab: 49_152,
        activation: Activation::Silu,
        attention_scale: 0.125,
        attention_softcap: None,
        logit_softcap: None,
        embedding_scale: 1.0,
    }
}

fn qwen2() -> DecoderShape {
    DecoderShape {
        width: 896,
        heads: 14,
        kv_heads: 2,
        inner: 4864,
        vocab: 151_936,
        ..smollm2()
    }
}

fn layer(
    isa: Isa,
    shape: &DecoderShape,
    types: Types,
    index: usize,
    noise: &mut u64,
) -> Result<DecoderLayer, ShapeError> {
    let (width, inner) = (shape.width, shape.inner);
    let (query, key) = (
        shape.heads * shape.head_dim,
        shape.kv_heads * shape.head_dim,
    );
    Ok(DecoderLayer {
        attention_norm: RmsNorm::new(vec![1.0; width], 1e-5)?,
        queries: linear(isa, types.attention, query, width, noise)?,
        keys: linear(isa, types.attention, key, width, noise)?,
        values: linear(isa, types.values, key, width, noise)?,
        query_norm: None,
        key_norm: None,
        output: linear(isa, types.attention, width, query, noise)?,
        post_attention_norm: None,
        feed_forward_norm: RmsNorm::new(vec![1.0; width], 1e-5)?,
        gate: linear(isa, types.wide, inner, width, noise)?,
        up: linear(isa, types.wide, inner, width, noise)?,
        down: linear(isa, types.down[index % 2], width, inner, noise)?,
        post_feed_forward_norm: None,
        window: None,
        rope: 0,
    })
}

/// Random weights: blocks of noise whose scales and minima are 2^-9, or its negative.
fn linear(
    isa: Isa,
    kind: BlockType,
    rows: usize,
    cols: usize,
    noise: &mut u64,
) -> Result<BlockLinear, ShapeError> {
    let mut bytes = vec![0u8; rows * cols / kind.block_len() * kind.block_bytes()];
    for word in bytes.chunks_mut(8) {
        *noise = noise
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let random = noise.rotate_left(17).to_le_bytes();
        let len = word.len();
        word.copy_from_slice(&random[..len]);
    }
    let halves: &[usize] = match kind {
        BlockType::Q6K => &[208],
        BlockType::Q4_1 | BlockType::Q5_1 | BlockType::Q4K | BlockType::Q5K => &[0, 2],
        _ => &[0],
    };
    for block in bytes.chunks_exact_mut(kind.block_bytes()) {
        for &at in halves {
            let half: u16 = if at == 2 { 0x9800 } else { 0x1800 };
            block[at..at + 2].copy_from_slice(&half.to_le_bytes());
        }
    }
    let raw = RawWeights {
        kind,
        rows,
        cols,
        bytes: &bytes,
    };
    BlockLinear::pack(isa, &raw, None)
}
