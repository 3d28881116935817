//! A real checkpoint in int8: how close it stays to f32, and how fast it is.
//!
//! `cargo run --release -p tidegate-kernels --example minilm -- MODEL.safetensors IDS [TIER]`
//!
//! MODEL is a BERT checkpoint of MiniLM-L6's shape (384 wide, 12 heads). IDS holds one text a line,
//! as token ids separated by spaces. The reference is the plain f32 encoder of the tests.

#[path = "../tests/reference/mod.rs"]
mod reference;

use std::error::Error;
use std::time::Instant;

use reference::{Block, Dense, Model, Norm, cosine, mean_embedding};
use safetensors::SafeTensors;
use tidegate_kernels::{Activation, Arena, Batch, Encoder, Output, Pooling, Tier};

type Outcome<T> = Result<T, Box<dyn Error>>;

const WIDTH: usize = 384;
const COMPARED: usize = 200;
const ROUNDS: usize = 15;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().collect();
    let [_, model, ids, tier @ ..] = args.as_slice() else {
        return Err("usage: minilm MODEL.safetensors IDS [TIER]".into());
    };
    let tier = tier
        .first()
        .map_or(Ok(Tier::best()), |name| Tier::named(name))?;
    let texts = read_ids(&std::fs::read_to_string(ids)?)?;
    let model = read_model(&std::fs::read(model)?)?;
    let encoder = model.quantized(tier)?;
    println!(
        "tier {tier}, {} texts, {:.1} MB of weights",
        texts.len(),
        encoder.bytes() as f64 / 1e6
    );
    compare(&model, &encoder, &texts[..COMPARED.min(texts.len())])?;
    throughput(&encoder, &texts)?;
    latency(&encoder, &texts)
}

fn read_ids(text: &str) -> Outcome<Vec<Vec<u32>>> {
    let line = |line: &str| line.split_whitespace().map(|id| Ok(id.parse()?)).collect();
    text.lines().map(line).collect()
}

fn read_model(file: &[u8]) -> Outcome<Model> {
    let tensors = SafeTensors::deserialize(file)?;
    let get = |name: String| -> Outcome<Vec<f32>> {
        let bytes = tensors.tensor(&name)?.data().chunks_exact(4);
        Ok(bytes
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect())
    };
    let dense = |name: &str| -> Outcome<Dense> {
        Ok(Dense {
            weight: get(format!("{name}.weight"))?,
            bias: get(format!("{name}.bias"))?,
        })
    };
    let norm = |name: &str| -> Outcome<Norm> {
        Ok(Norm {
            gain: get(format!("{name}.weight"))?,
            bias: get(format!("{name}.bias"))?,
        })
    };
    let block = |i: usize| -> Outcome<Block> {
        let at = format!("encoder.layer.{i}");
        let mut qkv = dense(&format!("{at}.attention.self.query"))?;
        for part in ["key", "value"] {
            let part = dense(&format!("{at}.attention.self.{part}"))?;
            qkv.weight.extend(part.weight);
            qkv.bias.extend(part.bias);
        }
        Ok(Block {
            qkv,
            out: dense(&format!("{at}.attention.output.dense"))?,
            attention_norm: norm(&format!("{at}.attention.output.LayerNorm"))?,
            up: dense(&format!("{at}.intermediate.dense"))?,
            down: dense(&format!("{at}.output.dense"))?,
            output_norm: norm(&format!("{at}.output.LayerNorm"))?,
        })
    };
    Ok(Model {
        width: WIDTH,
        heads: 12,
        activation: Activation::Gelu,
        eps: 1e-12,
        words: get("embeddings.word_embeddings.weight".into())?,
        positions: Some(get("embeddings.position_embeddings.weight".into())?),
        first_position: 0,
        kinds: Some(get("embeddings.token_type_embeddings.weight".into())?),
        norm: norm("embeddings.LayerNorm")?,
        blocks: (0..6).map(block).collect::<Outcome<_>>()?,
        relative: None,
    })
}

/// Ids end to end, and offsets.
fn joined(texts: &[Vec<u32>]) -> (Vec<u32>, Vec<usize>) {
    let mut offsets = vec![0];
    for text in texts {
        offsets.push(offsets[offsets.len() - 1] + text.len());
    }
    (texts.concat(), offsets)
}

fn compare(model: &Model, encoder: &Encoder, texts: &[Vec<u32>]) -> Outcome<()> {
    let (ids, offsets) = joined(texts);
    let mut out = vec![0.0; texts.len() * WIDTH];
    let mut arenas = [Arena::new(encoder, 512), Arena::new(encoder, 512)];
    encoder.run(
        &Batch::new(&ids, None, &offsets)?,
        Output::Embedding(Pooling::Mean),
        &mut arenas,
        &mut out,
    )?;
    let expected = |text: &Vec<u32>| mean_embedding(&model.hidden(text, None), WIDTH);
    let (left, right) = texts.split_at(texts.len() / 2);
    let expected: Vec<_> = std::thread::scope(|scope| {
        let right = scope.spawn(|| right.iter().map(expected).collect::<Vec<_>>());
        let mut all: Vec<_> = left.iter().map(expected).collect();
        all.extend(right.join().unwrap_or_default());
        all
    });
    let mut cosines: Vec<f64> = expected
        .iter()
        .zip(out.chunks_exact(WIDTH))
        .map(|(a, b)| cosine(a, b))
        .collect();
    cosines.sort_by(f64::total_cmp);
    let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
    println!(
        "cosine to f32 over {} texts: mean {mean:.5}, min {:.5}",
        cosines.len(),
        cosines[0]
    );
    Ok(())
}

fn throughput(encoder: &Encoder, texts: &[Vec<u32>]) -> Outcome<()> {
    println!("tokens/s in batches of 32, by the best, median and worst time of each batch");
    for threads in [1, 2] {
        let mut arenas: Vec<_> = (0..threads).map(|_| Arena::new(encoder, 512)).collect();
        let mut seconds = [0.0; 3];
        for texts in texts.chunks(32) {
            let (ids, offsets) = joined(texts);
            let mut out = vec![0.0; texts.len() * WIDTH];
            let batch = Batch::new(&ids, None, &offsets)?;
            let mut times = Vec::new();
            for _ in 0..ROUNDS {
                let begin = Instant::now();
                encoder.run(
                    &batch,
                    Output::Embedding(Pooling::Mean),
                    &mut arenas,
                    &mut out,
                )?;
                times.push(begin.elapsed().as_secs_f64());
            }
            times.sort_by(f64::total_cmp);
            for (sum, at) in seconds.iter_mut().zip([0, ROUNDS / 2, ROUNDS - 1]) {
                *sum += times[at];
            }
        }
        let tokens: usize = texts.iter().map(Vec::len).sum();
        let [best, median, worst] = seconds.map(|s| tokens as f64 / s);
        println!("  a batch over {threads} thread(s)   {best:>7.0} {median:>7.0} {worst:>7.0}");
    }
    replicas(encoder, texts)
}

/// One thread, then two that each take their own batches, by the CPU time of each thread: what the
/// cores would do if nobody else used them.
fn replicas(encoder: &Encoder, texts: &[Vec<u32>]) -> Outcome<()> {
    let (ids, offsets) = joined(texts);
    let rate = || -> Option<f64> {
        let mut arena = [Arena::new(encoder, 512)];
        let mut out = vec![0.0; texts.len() * WIDTH];
        let batch = Batch::new(&ids, None, &offsets).ok()?;
        let mut best = f64::INFINITY;
        for _ in 0..ROUNDS {
            let begin = cpu_seconds()?;
            encoder
                .run(
                    &batch,
                    Output::Embedding(Pooling::Mean),
                    &mut arena,
                    &mut out,
                )
                .ok()?;
            best = best.min(cpu_seconds()? - begin);
        }
        Some(ids.len() as f64 / best)
    };
    let one = rate().unwrap_or(f64::NAN);
    let two = std::thread::scope(|scope| {
        let other = scope.spawn(rate);
        Some(rate()? + other.join().ok()??)
    });
    let two = two.unwrap_or(f64::NAN);
    println!("  by CPU time, best of {ROUNDS} rounds: 1 thread {one:.0}, 2 replicas {two:.0}");
    println!(
        "  that is {:.1} and {:.1} core-microseconds a token",
        1e6 / one,
        2e6 / two
    );
    Ok(())
}

/// What this thread has spent on a core (Linux only).
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(stat.split(' ').next()?.parse::<f64>().ok()? * 1e-9)
}

fn latency(encoder: &Encoder, texts: &[Vec<u32>]) -> Outcome<()> {
    println!("one text, ms                            best     p50     p99");
    let ids: Vec<u32> = texts.concat();
    for (len, threads) in [(16, 1), (16, 2), (128, 1), (128, 2), (512, 1), (512, 2)] {
        let mut arenas: Vec<_> = (0..threads).map(|_| Arena::new(encoder, 512)).collect();
        let mut out = vec![0.0; WIDTH];
        let mut times = Vec::new();
        for i in 0..200 {
            let begin = Instant::now();
            let ids = &ids[i * 7..][..len];
            let offsets = [0, len];
            let batch = Batch::new(ids, None, &offsets)?;
            encoder.run(
                &batch,
                Output::Embedding(Pooling::Mean),
                &mut arenas,
                &mut out,
            )?;
            times.push(begin.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        let (best, p50, p99) = (times[0], times[100], times[198]);
        println!(
            "  {len:>3} tokens, {threads} thread(s)             {best:>7.2} {p50:>7.2} {p99:>7.2}"
        );
    }
    Ok(())
}
