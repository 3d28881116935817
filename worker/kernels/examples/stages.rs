//! What each stage of an int8 encoder costs on this machine, beside what the machine could do at
//! best.
//!
//! `cargo run --release -p tidegate-kernels --example stages [-- ISA]`
//!
//! Every figure is the best of many short rounds, with the median and the worst beside it: on a
//! shared machine the best round is the one that was disturbed least.

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use tidegate_kernels::{
    Activation, Attention, AttentionScratch, Epilogue, Isa, LayerNorm, Linear, Mask, Pooling,
    QuantRows, Queries, Store, Table, activate, normalize, peak, pool, quantize_weights,
};

/// MiniLM-L6: what the budget is made for.
const HIDDEN: usize = 384;
const INNER: usize = 1536;
const HEADS: usize = 12;
const LAYERS: usize = 6;
const LEN: usize = 45;
const ROUNDS: usize = 41;
const ROUND: Duration = Duration::from_millis(4);

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Best, median and worst seconds of one call.
struct Spread {
    best: f64,
    median: f64,
    worst: f64,
}

fn main() -> Outcome<()> {
    let isa = match std::env::args().nth(1) {
        Some(name) => Isa::named(&name)?,
        None => Isa::best(),
    };
    println!("isa {isa}; best of {ROUNDS} rounds of {ROUND:?}\n");
    let peak = peaks(isa);
    linears(isa, peak)?;
    stages(isa)
}

/// Keeps the compiler from leaving the work out.
fn keep<T>(result: T) {
    black_box(result);
}

/// Calls `work` repeatedly and returns what one call took, over the rounds.
fn measure(mut work: impl FnMut()) -> Spread {
    work();
    let mut seconds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            let mut calls = 0;
            while begin.elapsed() < ROUND {
                work();
                calls += 1;
            }
            begin.elapsed().as_secs_f64() / f64::from(calls)
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    Spread {
        best: seconds[0],
        median: seconds[ROUNDS / 2],
        worst: seconds[ROUNDS - 1],
    }
}

/// Prints and returns the int8 peak of one thread in MAC/s.
fn peaks(isa: Isa) -> f64 {
    let rounds = 12_500;
    let one = measure(|| {
        black_box(peak(isa, rounds));
    });
    let work = peak(isa, rounds) as f64;
    let two = measure(|| {
        std::thread::scope(|scope| {
            scope.spawn(|| black_box(peak(isa, rounds)));
            black_box(peak(isa, rounds));
        })
    });
    println!("int8 peak, GMAC/s        best  median   worst");
    for (name, work, s) in [("1 thread", work, &one), ("2 threads", 2.0 * work, &two)] {
        let [best, median, worst] = [s.best, s.median, s.worst].map(|t| work / t / 1e9);
        println!("  {name:<20} {best:>7.1} {median:>7.1} {worst:>7.1}");
    }
    work / one.best
}

fn linears(isa: Isa, peak: f64) -> Outcome<()> {
    println!("\nlinear, GMAC/s           best  median   worst   of peak");
    for (k, n) in [
        (HIDDEN, HIDDEN),
        (HIDDEN, INNER),
        (INNER, HIDDEN),
        (HIDDEN, 3 * HIDDEN),
    ] {
        let layer = linear(isa, k, n)?;
        for m in [1, 8, 32, 128, 512, 1440] {
            let x = rows(isa, m, k)?;
            let mut out = vec![0.0; m * n];
            let s = measure(|| {
                let done = layer.forward(&x, 0..m, Epilogue::default(), &mut out);
                black_box(done.is_ok());
            });
            let work = (m * k * n) as f64;
            let [best, median, worst] = [s.best, s.median, s.worst].map(|t| work / t / 1e9);
            println!(
                "  {m:>4} x {k:>4} x {n:>4}    {best:>7.1} {median:>7.1} {worst:>7.1}   {:>5.1} %",
                100.0 * work / s.best / peak
            );
        }
    }
    Ok(())
}

/// Everything of an encoder that is not a linear layer, in microseconds of one core a token.
fn stages(isa: Isa) -> Outcome<()> {
    println!("\nstage at {LEN} tokens a sequence, us a token of a {LAYERS}-layer model");
    println!("                         best  median   worst");
    let tokens = 3 * LEN;
    let mut total = 0.0;
    let mut report = |name: &str, times: usize, s: Spread| {
        let [best, median, worst] =
            [s.best, s.median, s.worst].map(|t| t * 1e6 * times as f64 / tokens as f64);
        println!("  {name:<20} {best:>7.2} {median:>7.2} {worst:>7.2}");
        total += best;
    };
    let mut hidden = noise(tokens * HIDDEN);
    let mut quant = QuantRows::new(isa, tokens, HIDDEN);
    report("embedding gather", 3, gather(isa, tokens)?);
    let norm = LayerNorm::new(vec![1.0; HIDDEN], vec![0.1; HIDDEN], 1e-12)?;
    report(
        "norm + quantize",
        2 * LAYERS,
        measure(|| keep(norm.apply_quantize(&mut hidden, &mut quant))),
    );
    report("attention", LAYERS, attention(isa, tokens)?);
    report(
        "quantize context",
        LAYERS,
        measure(|| keep(quant.quantize(0, &hidden))),
    );
    let inner = noise(tokens * INNER);
    let mut out = inner.clone();
    report(
        "GELU",
        LAYERS,
        measure(|| keep(activate(isa, Activation::Gelu, &inner, &mut out))),
    );
    let mut wide = QuantRows::new(isa, tokens, INNER);
    report(
        "quantize inner",
        LAYERS,
        measure(|| keep(wide.quantize(0, &inner))),
    );
    let mut embedding = vec![0.0; HIDDEN];
    report(
        "pool + normalize",
        1,
        measure(|| {
            for rows in hidden.chunks_exact(LEN * HIDDEN) {
                black_box(pool(isa, Pooling::Mean, rows, &mut embedding).is_ok());
                normalize(isa, &mut embedding);
            }
        }),
    );
    println!("  {:<20} {total:>7.2}", "sum");
    Ok(())
}

fn gather(isa: Isa, tokens: usize) -> Outcome<Spread> {
    let table = Table::quantize(&noise(2000 * HIDDEN), HIDDEN)?;
    let mut out = vec![0.0; tokens * HIDDEN];
    Ok(measure(|| {
        let ids = (0..tokens).map(|i| i * 37 % 2000);
        black_box(table.gather(isa, ids, Store::Add, &mut out).is_ok());
    }))
}

fn attention(isa: Isa, tokens: usize) -> Outcome<Spread> {
    let head_dim = HIDDEN / HEADS;
    let shape = Attention {
        heads: HEADS,
        head_dim,
        scale: 1.0 / (head_dim as f32).sqrt(),
    };
    let qkv = noise(tokens * 3 * HIDDEN);
    let mut scratch = AttentionScratch::new(LEN, head_dim);
    let mut out = vec![0.0; tokens * HIDDEN];
    Ok(measure(|| {
        for first in (0..tokens).step_by(LEN) {
            let sequence = first..first + LEN;
            let out = &mut out[first * HIDDEN..][..LEN * HIDDEN];
            let from = Queries {
                qkv: &qkv,
                sequence: sequence.clone(),
                queries: sequence,
            };
            let done = shape.run(isa, from, Mask::None, &mut scratch, out);
            black_box(done.is_ok());
        }
    }))
}

fn linear(isa: Isa, k: usize, n: usize) -> Outcome<Linear> {
    let (weights, scale) = quantize_weights(&noise(k * n), k)?;
    Ok(Linear::pack(isa, &weights, &scale, Some(&noise(n)), k)?)
}

fn rows(isa: Isa, m: usize, k: usize) -> Outcome<QuantRows> {
    let mut rows = QuantRows::new(isa, m, k);
    rows.quantize(0, &noise(m * k))?;
    Ok(rows)
}

/// Values in -1..1 that are the same in every run.
fn noise(len: usize) -> Vec<f32> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}
