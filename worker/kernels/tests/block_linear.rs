//! Linear layers from every type of block, on every isa, against their definition.

mod plain;
mod reference;

use plain::Matrix;
use reference::Noise;
use tidegate_kernels::{
    Activation, BlockLinear, BlockRows, BlockType, Epilogue, Input, Isa, RawWeights, ShapeError,
    Store,
};

/// Rows, outputs: around every tile and panel.
const SHAPES: [(usize, usize); 9] = [
    (1, 1),
    (2, 15),
    (3, 33),
    (4, 64),
    (5, 7),
    (6, 31),
    (7, 32),
    (13, 100),
    (100, 17),
];

/// What the activations are after quantization.
fn dequantized(rows: &BlockRows, row: usize) -> Vec<f32> {
    let blocks = rows.cols() / 32;
    rows.row(row)
        .iter()
        .enumerate()
        .map(|(i, &q)| f32::from(q) * rows.scales()[row * blocks + i / 32])
        .collect()
}

#[test]
fn every_type_multiplies_as_it_dequantizes() -> Result<(), ShapeError> {
    let mut noise = Noise::new(1);
    for kind in BlockType::ALL {
        for (m, n) in SHAPES {
            for k in [256, 768] {
                let matrix = Matrix::random(&mut noise, kind, n, k).with_bias(&mut noise);
                let x = noise.normals(m * k, 1.0);
                for isa in Isa::available() {
                    check(&matrix, isa, &x)?;
                }
            }
        }
    }
    Ok(())
}

fn check(matrix: &Matrix, isa: Isa, x: &[f32]) -> Result<(), ShapeError> {
    let (k, n, m) = (matrix.cols, matrix.rows, x.len() / matrix.cols);
    let linear = matrix.pack(isa)?;
    let mut blocks = BlockRows::new(isa, m, k)?;
    blocks.quantize(0, x)?;
    let mut out = vec![1.0; m * n];
    let epilogue = Epilogue {
        activation: Activation::None,
        store: Store::Add,
    };
    let input = Input {
        float: x,
        blocks: &blocks,
    };
    linear.forward(input, 0..m, epilogue, &mut out)?;
    // Six bits with a scale for sixteen weights become eight with one for 32.
    let limit = if matrix.kind == BlockType::Q6K {
        2e-2
    } else {
        2e-3
    };
    for (r, out) in out.chunks_exact(n).enumerate().step_by(m / 4 + 1) {
        let x = if linear.reads_floats() {
            x[r * k..(r + 1) * k].to_vec()
        } else {
            dequantized(&blocks, r)
        };
        for (c, (found, expected)) in out.iter().zip(matrix.run(&x)).enumerate() {
            let apart = (found - 1.0 - expected).abs();
            assert!(
                apart < limit * (1.0 + expected.abs()),
                "{} {isa} {m} x {k} x {n} at {r}, {c}: {} for {expected}",
                matrix.kind,
                found - 1.0
            );
        }
    }
    let mut channel = vec![0.0; k];
    for c in 0..n {
        linear.channel(c, &mut channel)?;
        for (found, expected) in channel.iter().zip(matrix.row(c)) {
            assert!(
                (found - expected).abs() < limit * 0.5,
                "{} {isa}",
                matrix.kind
            );
        }
    }
    Ok(())
}

/// One result alone, and the same among others, bit for bit.
#[test]
fn a_row_does_not_depend_on_its_company() -> Result<(), ShapeError> {
    let mut noise = Noise::new(2);
    for kind in BlockType::ALL {
        let (m, k, n) = (29, 512, 70);
        let matrix = Matrix::random(&mut noise, kind, n, k);
        let x = noise.normals(m * k, 1.0);
        for isa in Isa::available() {
            let linear = matrix.pack(isa)?;
            let mut blocks = BlockRows::new(isa, m, k)?;
            blocks.quantize(0, &x)?;
            let input = Input {
                float: &x,
                blocks: &blocks,
            };
            let mut whole = vec![0.0; m * n];
            linear.forward(input, 0..m, Epilogue::default(), &mut whole)?;
            for count in 1..=8 {
                let mut part = vec![0.0; count * n];
                let rows = 11..11 + count;
                linear.forward(input, rows.clone(), Epilogue::default(), &mut part)?;
                assert!(
                    part == whole[11 * n..(11 + count) * n],
                    "{kind} {isa} {count}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn no_type_grows_much_where_it_can_stay() -> Result<(), ShapeError> {
    let mut noise = Noise::new(3);
    for (kind, file) in [
        (BlockType::Q4_0, 18),
        (BlockType::Q4_1, 20),
        (BlockType::Q5_0, 22),
        (BlockType::Q5_1, 24),
        (BlockType::Q8_0, 34),
    ] {
        let matrix = Matrix::random(&mut noise, kind, 64, 512);
        for isa in Isa::available() {
            let packed = matrix.pack(isa)?.bytes();
            assert!(
                packed <= 64 * 512 / 32 * file + 64,
                "{kind} {isa}: {packed}"
            );
        }
    }
    Ok(())
}

#[test]
fn weights_that_are_not_what_they_say_are_refused() {
    let refused = |rows, cols, bytes: usize| {
        let raw = RawWeights {
            kind: BlockType::Q8_0,
            rows,
            cols,
            bytes: &vec![0; bytes],
        };
        BlockLinear::pack(Isa::best(), &raw, None)
            .err()
            .map(|error| error.what)
    };
    assert_eq!(refused(2, 32, 68), None);
    assert_eq!(refused(2, 32, 67), Some("bytes of the weights"));
    assert_eq!(refused(usize::MAX, 32, 68), Some("bytes of the weights"));
    assert_eq!(refused(2, 33, 68), Some("columns in whole blocks"));
    assert_eq!(refused(0, 32, 0), Some("rows"));
    assert_eq!(refused(2, 0, 0), Some("columns"));
}
