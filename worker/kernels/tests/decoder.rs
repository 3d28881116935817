//! The decoder equals a plain one, and a token's logits do not depend on what it shares a step with.

mod plain;
mod reference;

use std::error::Error;

use plain::{FAMILIES, Family, Model};
use reference::Noise;
use tidegate_kernels::{
    BlockType, Chunk, Decoder, DecoderWorkspace, Isa, KvCache, KvType, PAGE_TOKENS, StepError,
    Team, Wanted,
};

type Outcome = Result<(), Box<dyn Error>>;

const CONTEXT: usize = 128;

/// A decoder with what it needs to run.
struct Bench {
    decoder: Decoder,
    team: Team,
    cache: KvCache,
    workspace: DecoderWorkspace,
}

impl Bench {
    fn new(model: &Model, isa: Isa, members: usize, kind: KvType) -> Result<Self, Box<dyn Error>> {
        let decoder = model.pack(isa)?;
        Ok(Self {
            team: Team::new(members)?,
            cache: KvCache::new(decoder.kv_shape(), 64, kind),
            workspace: DecoderWorkspace::new(&decoder, 300, CONTEXT, members),
            decoder,
        })
    }

    fn step(&mut self, chunks: &[Chunk<'_>]) -> Result<Vec<f32>, StepError> {
        let rows: usize = chunks.iter().map(Chunk::logit_rows).sum();
        let mut out = vec![0.0; rows * self.decoder.shape().vocab];
        self.decoder.step(
            &mut self.team,
            &mut self.cache,
            &mut self.workspace,
            chunks,
            &mut out,
        )?;
        Ok(out)
    }
}

/// Four pages, not in order.
fn pages(sequence: usize) -> Vec<u32> {
    (0..CONTEXT / PAGE_TOKENS)
        .map(|i| ((sequence * 4 + i) * 29 % 64) as u32)
        .collect()
}

fn tokens(noise: &mut Noise, model: &Model, len: usize) -> Vec<u32> {
    (0..len)
        .map(|_| noise.below(model.shape.vocab) as u32)
        .collect()
}

/// The largest difference, and the largest value.
fn distance(a: &[f32], b: &[f32]) -> (f32, f32) {
    let size = b.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let apart = a
        .iter()
        .zip(b)
        .fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    (apart, size)
}

#[test]
fn every_family_equals_a_plain_decoder() -> Outcome {
    for family in FAMILIES {
        for (kind, cache, limit) in [
            (BlockType::F32, KvType::F32, 2e-5),
            (BlockType::F32, KvType::F16, 2e-3),
            (BlockType::Bf16, KvType::F32, 2e-5),
            (BlockType::Q8_0, KvType::F16, 0.05),
        ] {
            let model = Model::random(family, kind, 3);
            let tokens = tokens(&mut Noise::new(4), &model, 90);
            let expected = model.logits(&tokens).concat();
            for isa in Isa::available() {
                let mut bench = Bench::new(&model, isa, 2, cache)?;
                let chunk = Chunk {
                    tokens: &tokens,
                    start: 0,
                    pages: &pages(0),
                    logits: Wanted::All,
                };
                let found = bench.step(&[chunk])?;
                let (apart, size) = distance(&found, &expected);
                println!("{family:?} {kind} {cache:?} {isa}: {apart:.1e} of {size:.1}");
                assert!(
                    apart < limit * size,
                    "{family:?} {kind} {isa}: {apart} of {size}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn a_sequence_does_not_depend_on_its_cuts_its_company_or_the_team() -> Outcome {
    for (family, kind) in [
        (Family::Llama, BlockType::Q4_1),
        (Family::Gemma3, BlockType::Q8_0),
        (Family::Qwen2, BlockType::Q4K),
        (Family::Phi3, BlockType::F16),
    ] {
        let model = Model::random(family, kind, 5);
        let noise = &mut Noise::new(6);
        let texts: Vec<Vec<u32>> = [100, 37, 61, 90, 5]
            .map(|len| tokens(noise, &model, len))
            .into();
        for isa in Isa::available() {
            let mut bench = Bench::new(&model, isa, 1, KvType::F16)?;
            let mut whole = Vec::new();
            for (i, text) in texts.iter().enumerate() {
                let chunk = Chunk {
                    tokens: text,
                    start: 0,
                    pages: &pages(i),
                    logits: Wanted::All,
                };
                whole.push(bench.step(&[chunk])?);
            }
            for members in [1, 2, 3] {
                let mut bench = Bench::new(&model, isa, members, KvType::F16)?;
                cut_at_random(
                    &mut bench,
                    &texts,
                    &whole,
                    noise,
                    &format!("{family:?} {isa} {members}"),
                )?;
            }
        }
    }
    Ok(())
}

/// Steps through all texts side by side in pieces of random length and compares every row.
fn cut_at_random(
    bench: &mut Bench,
    texts: &[Vec<u32>],
    whole: &[Vec<f32>],
    noise: &mut Noise,
    what: &str,
) -> Outcome {
    let vocab = bench.decoder.shape().vocab;
    let tables: Vec<_> = (0..texts.len()).map(pages).collect();
    let mut done = vec![0; texts.len()];
    while done
        .iter()
        .zip(texts)
        .any(|(done, text)| *done < text.len())
    {
        let longest = [1, 1, 3, 40][noise.below(4)];
        let mut chunks = Vec::new();
        let mut expected = Vec::new();
        for (i, text) in texts.iter().enumerate() {
            let len = (1 + noise.below(longest)).min(text.len() - done[i]);
            if len == 0 || noise.below(5) == 0 {
                continue;
            }
            chunks.push(Chunk {
                tokens: &text[done[i]..done[i] + len],
                start: done[i],
                pages: &tables[i],
                logits: Wanted::All,
            });
            expected.extend_from_slice(&whole[i][done[i] * vocab..(done[i] + len) * vocab]);
            done[i] += len;
        }
        let found = bench.step(&chunks)?;
        assert!(found == expected, "{what} after {done:?}");
    }
    Ok(())
}

#[test]
fn wanted_rows_come_in_order_and_full_pages_can_be_shared() -> Outcome {
    let model = Model::random(Family::Qwen3, BlockType::Q8_0, 7);
    let noise = &mut Noise::new(8);
    let text = tokens(noise, &model, 70);
    let mut bench = Bench::new(&model, Isa::best(), 2, KvType::F16)?;
    let vocab = model.shape.vocab;
    let chunk = |tokens, start, pages, logits| Chunk {
        tokens,
        start,
        pages,
        logits,
    };
    let all = bench.step(&[chunk(&text, 0, &[1, 2, 3], Wanted::All)])?;
    // Another sequence begins with the same 64 tokens: it reads the first one's pages.
    let found = bench.step(&[
        chunk(&text[69..70], 69, &[1, 2, 3], Wanted::Last),
        chunk(&text[..3], 0, &[9], Wanted::None),
        chunk(&text[64..70], 64, &[1, 2, 4], Wanted::Last),
    ])?;
    assert!(found[..vocab] == all[69 * vocab..] && found[vocab..] == all[69 * vocab..]);
    let refused = bench.step(&[
        chunk(&text[69..70], 69, &[1, 2, 3], Wanted::None),
        chunk(&text[64..70], 64, &[1, 2, 3], Wanted::None),
    ]);
    assert_eq!(refused, Err(StepError::SharedPage { page: 3 }));
    let refused = bench.step(&[
        chunk(&text[..5], 0, &[2], Wanted::None),
        chunk(&text[64..70], 64, &[1, 2, 5], Wanted::None),
    ]);
    assert_eq!(refused, Err(StepError::SharedPage { page: 2 }));
    Ok(())
}
