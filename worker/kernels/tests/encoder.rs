//! The encoder against the plain one, for each family's structure, and against itself over threads
//! and batches.

mod reference;

use std::error::Error;

use reference::{Block, Dense, Model, Noise, Norm, Order, Precision, cosine};
use tidegate_kernels::{
    Activation, Batch, EncodeError, Encoder, Isa, Output, Pooling, ShapeError, Workspace,
};

const VOCABULARY: usize = 50;

/// What tells the families apart.
struct Family {
    name: &'static str,
    activation: Activation,
    first_position: usize,
    kinds: bool,
    relative: bool,
    /// Norms before each branch, rotations, gates, and windows in two layers of three.
    modern: bool,
}

/// Of the layers of the modern family that have a window: with 45 and 130 tokens far less than a text.
const WINDOW: usize = 5;

const FAMILIES: [Family; 5] = [
    Family {
        name: "BERT",
        activation: Activation::Gelu,
        first_position: 0,
        kinds: true,
        relative: false,
        modern: false,
    },
    Family {
        name: "RoBERTa",
        activation: Activation::GeluTanh,
        first_position: 2,
        kinds: true,
        relative: false,
        modern: false,
    },
    Family {
        name: "DistilBERT",
        activation: Activation::Relu,
        first_position: 0,
        kinds: false,
        relative: false,
        modern: false,
    },
    Family {
        name: "MPNet",
        activation: Activation::Gelu,
        first_position: 2,
        kinds: false,
        relative: true,
        modern: false,
    },
    Family {
        name: "ModernBERT",
        activation: Activation::Gelu,
        first_position: 0,
        kinds: false,
        relative: false,
        modern: true,
    },
];

fn model(family: &Family, (width, heads, inner): (usize, usize, usize)) -> Model {
    let mut noise = Noise::new(7);
    let modern = family.modern;
    let block = |noise: &mut Noise, index: usize| Block {
        qkv: Dense::random(noise, width, 3 * width),
        rotation: modern.then_some(if index == 0 { 160_000.0 } else { 10_000.0 }),
        window: (modern && index > 0).then_some(WINDOW),
        out: Dense::random(noise, width, width),
        attention_norm: (!modern || index > 0).then(|| Norm::random(noise, width)),
        up: Dense::random(noise, width, inner),
        gate: modern.then(|| Dense::random(noise, width, inner)),
        down: Dense::random(noise, inner, width),
        output_norm: Norm::random(noise, width),
    };
    Model {
        width,
        heads,
        activation: family.activation,
        eps: 1e-5,
        words: noise.normals(VOCABULARY * width, 1.0),
        positions: (!modern).then(|| noise.normals(300 * width, 0.3)),
        first_position: family.first_position,
        kinds: family.kinds.then(|| noise.normals(2 * width, 0.3)),
        norm: Norm::random(&mut noise, width),
        order: match modern {
            true => Order::Before,
            false => Order::After,
        },
        blocks: (0..3).map(|index| block(&mut noise, index)).collect(),
        final_norm: modern.then(|| Norm::random(&mut noise, width)),
        relative: family
            .relative
            .then(|| (noise.normals(heads * 511, 1.0), 256)),
    }
}

struct Texts {
    ids: Vec<u32>,
    kinds: Vec<u32>,
    offsets: Vec<usize>,
}

impl Texts {
    fn new(lengths: &[usize]) -> Self {
        let mut noise = Noise::new(8);
        let mut offsets = vec![0];
        lengths
            .iter()
            .for_each(|len| offsets.push(offsets[offsets.len() - 1] + len));
        let tokens = offsets[lengths.len()];
        Self {
            ids: (0..tokens)
                .map(|_| noise.below(VOCABULARY) as u32)
                .collect(),
            kinds: (0..tokens).map(|_| noise.below(2) as u32).collect(),
            offsets,
        }
    }

    fn batch(&self) -> Result<Batch<'_>, ShapeError> {
        Batch::new(&self.ids, Some(&self.kinds), &self.offsets)
    }
}

fn hidden(encoder: &Encoder, batch: &Batch<'_>, threads: usize) -> Result<Vec<f32>, EncodeError> {
    let mut workspaces: Vec<_> = (0..threads).map(|_| Workspace::new(encoder, 256)).collect();
    let mut out = vec![0.0; batch.tokens() * encoder.width()];
    encoder.run(batch, Output::Hidden, &mut workspaces, &mut out)?;
    Ok(out)
}

/// The least cosine between a token's row and that of the plain encoder.
const CLOSENESS: [(Precision, f64); 3] = [
    (Precision::Int8, 0.999),
    (Precision::Mixed, 0.999),
    (Precision::F32, 0.999_999),
];

#[test]
fn every_family_stays_close_to_f32() -> Result<(), Box<dyn Error>> {
    let texts = Texts::new(&[1, 2, 9, 45, 130, 17]);
    for family in &FAMILIES {
        for shape in [(64, 4, 128), (60, 3, 100)] {
            let plain = model(family, shape);
            for isa in Isa::available() {
                for (precision, closeness) in CLOSENESS {
                    let encoder = plain.packed(isa, precision)?;
                    let found = hidden(&encoder, &texts.batch()?, 1)?;
                    for range in texts.offsets.windows(2).map(|pair| pair[0]..pair[1]) {
                        let kinds = family.kinds.then_some(&texts.kinds[range.clone()]);
                        let expected = plain.hidden(&texts.ids[range.clone()], kinds);
                        let found = &found[range.start * shape.0..range.end * shape.0];
                        let rows = found
                            .chunks_exact(shape.0)
                            .zip(expected.chunks_exact(shape.0));
                        let least = rows.map(|(a, b)| cosine(a, b)).fold(1.0, f64::min);
                        assert!(
                            least > closeness,
                            "{} in {precision:?} on {isa}, {} tokens: {least}",
                            family.name,
                            range.len()
                        );
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn neither_batch_nor_threads_change_a_bit() -> Result<(), Box<dyn Error>> {
    let lengths = [40, 3, 200, 90, 1, 60, 70, 5];
    let texts = Texts::new(&lengths);
    for family in &FAMILIES {
        for isa in Isa::available() {
            for precision in [Precision::Int8, Precision::Mixed, Precision::F32] {
                let encoder = model(family, (64, 4, 128)).packed(isa, precision)?;
                let batch = hidden(&encoder, &texts.batch()?, 1)?;
                for threads in [2, 3, 8] {
                    assert!(
                        hidden(&encoder, &texts.batch()?, threads)? == batch,
                        "{} threads, {isa}",
                        threads
                    );
                }
                for range in texts.offsets.windows(2).map(|pair| pair[0]..pair[1]) {
                    let offsets = [0, range.len()];
                    let alone = Batch::new(
                        &texts.ids[range.clone()],
                        Some(&texts.kinds[range.clone()]),
                        &offsets,
                    )?;
                    for threads in [1, 2, 5] {
                        let found = hidden(&encoder, &alone, threads)?;
                        assert!(
                            found == batch[range.start * 64..range.end * 64],
                            "{threads} threads, {isa}"
                        );
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn pooled_outputs_come_from_the_hidden_rows() -> Result<(), Box<dyn Error>> {
    let texts = Texts::new(&[4, 33, 1]);
    let encoder = model(&FAMILIES[0], (64, 4, 128)).packed(Isa::best(), Precision::Int8)?;
    let rows = hidden(&encoder, &texts.batch()?, 1)?;
    for threads in [1, 2] {
        let mut workspaces: Vec<_> = (0..threads).map(|_| Workspace::new(&encoder, 64)).collect();
        let mut out = vec![0.0; 3 * 64];
        encoder.run(
            &texts.batch()?,
            Output::Pooled(Pooling::Cls),
            &mut workspaces,
            &mut out,
        )?;
        for (out, first) in out.chunks_exact(64).zip(&texts.offsets) {
            assert_eq!(out, &rows[first * 64..][..64]);
        }
        encoder.run(
            &texts.batch()?,
            Output::Embedding(Pooling::Mean),
            &mut workspaces,
            &mut out,
        )?;
        for (out, pair) in out.chunks_exact(64).zip(texts.offsets.windows(2)) {
            let expected = reference::mean_embedding(&rows[pair[0] * 64..pair[1] * 64], 64);
            assert!(out.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused_before_any_work() -> Result<(), Box<dyn Error>> {
    let encoder = model(&FAMILIES[3], (64, 4, 128)).packed(Isa::best(), Precision::Int8)?;
    assert_eq!(encoder.max_len(), Some(256));
    let texts = Texts::new(&[30, 20]);
    let mut out = vec![0.0; 2 * 64];
    let mut run = |batch: &Batch<'_>, room: usize, threads: usize, len: usize| {
        let mut workspaces: Vec<_> = (0..threads)
            .map(|_| Workspace::new(&encoder, room))
            .collect();
        match encoder.run(
            batch,
            Output::Embedding(Pooling::Mean),
            &mut workspaces,
            &mut out[..len],
        ) {
            Err(EncodeError::Shape(error)) => Some(error.what),
            Err(EncodeError::Broken) => Some("broken"),
            Ok(()) => None,
        }
    };
    assert_eq!(
        run(&texts.batch()?, 29, 1, 128),
        Some("tokens of a sequence")
    );
    assert_eq!(run(&texts.batch()?, 30, 0, 128), Some("workspaces"));
    assert_eq!(run(&texts.batch()?, 30, 1, 127), Some("encoder output"));
    assert_eq!(run(&texts.batch()?, 30, 1, 128), None);
    let other = model(&FAMILIES[3], (60, 3, 128)).packed(Isa::best(), Precision::Int8)?;
    let mut workspaces = [Workspace::new(&other, 30)];
    let wrong = encoder.run(
        &texts.batch()?,
        Output::Pooled(Pooling::Cls),
        &mut workspaces,
        &mut vec![0.0; 128],
    );
    assert!(
        matches!(wrong, Err(EncodeError::Shape(error)) if error.what.starts_with("workspaces made"))
    );
    let mut unknown = [3; 11];
    for at in [1, 10] {
        unknown = [3; 11];
        unknown[at] = VOCABULARY as u32;
        let one = Batch::new(&unknown, None, &[0, 11])?;
        for threads in [1, 2] {
            let what = run(&one, 30, threads, 64);
            assert_eq!(what, Some("last embedding row"), "{threads} threads");
        }
    }
    for offsets in [
        &[0, 5, 5, 11][..],
        &[0, 12],
        &[1, 11],
        &[],
        &[0, 8, 7, 11],
        &[0, usize::MAX, 11],
    ] {
        assert!(Batch::new(&unknown, None, offsets).is_err(), "{offsets:?}");
    }
    Ok(())
}

#[test]
fn an_arena_holds_what_was_foretold() -> Result<(), ShapeError> {
    for (width, heads, inner) in [(64, 4, 128), (60, 3, 100), (384, 12, 1536)] {
        let encoder =
            model(&FAMILIES[0], (width, heads, inner)).packed(Isa::best(), Precision::Int8)?;
        for rows in [1, 64, 300] {
            let foretold = Workspace::bytes_for(width, width / heads, inner, rows);
            let held = Workspace::new(&encoder, rows).bytes();
            // Each buffer ends with a whole cache line.
            assert!(
                (foretold..foretold + 10 * 64).contains(&held),
                "{foretold} {held}"
            );
        }
    }
    Ok(())
}
