//! The stages that work on rows: quantization, norm, softmax, activations, embeddings, pooling.

mod reference;

use reference::{Noise, Norm, activation};
use tidegate_kernels::{
    Activation, Isa, LayerNorm, Pooling, QuantRows, ShapeError, Store, Table, activate, normalize,
    pool, softmax,
};

const WIDTHS: [usize; 12] = [1, 2, 7, 8, 15, 16, 17, 33, 64, 100, 384, 1000];

fn close(found: &[f32], expected: &[f32], tolerance: f32) -> bool {
    found.len() == expected.len()
        && found
            .iter()
            .zip(expected)
            .all(|(a, b)| (a - b).abs() <= tolerance * (1.0 + b.abs()))
}

#[test]
fn a_quantized_row_is_within_half_a_step() -> Result<(), ShapeError> {
    let mut noise = Noise::new(1);
    for isa in Isa::available() {
        for cols in WIDTHS {
            let x = noise.normals(3 * cols, 2.0);
            let mut rows = QuantRows::new(isa, 4, cols);
            rows.quantize(1, &x)?;
            for (r, x) in x.chunks_exact(cols).enumerate() {
                let low = x.iter().copied().fold(f32::INFINITY, f32::min);
                let high = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                assert_eq!(rows.origins()[1 + r], low, "{isa}");
                assert_eq!(rows.scales()[1 + r], (high - low) / 255.0, "{isa}");
            }
        }
    }
    Ok(())
}

#[test]
fn norm_equals_its_definition() -> Result<(), ShapeError> {
    let mut noise = Noise::new(2);
    for isa in Isa::available() {
        for cols in WIDTHS {
            let plain = Norm::random(&mut noise, cols);
            let norm = LayerNorm::new(plain.gain.clone(), plain.bias.clone(), 1e-5)?;
            let mut x: Vec<f32> = noise
                .normals(3 * cols, 2.0)
                .iter()
                .map(|x| x + 5.0)
                .collect();
            let (mut expected, mut fused) = (x.clone(), x.clone());
            expected
                .chunks_exact_mut(cols)
                .for_each(|row| plain.run(row, 1e-5));
            let original = x.clone();
            norm.apply(isa, &mut x)?;
            assert!(close(&x, &expected, 2e-4), "{isa} at {cols}");
            let mut aside = vec![0.0; x.len()];
            norm.apply_from(isa, &original, &mut aside)?;
            assert_eq!(aside, x, "{isa}");

            let (mut rows, mut again) =
                (QuantRows::new(isa, 3, cols), QuantRows::new(isa, 3, cols));
            norm.apply_quantize(&mut fused, &mut rows)?;
            again.quantize(0, &x)?;
            assert_eq!(fused, x, "{isa}");
            assert_eq!(
                (rows.scales(), rows.origins()),
                (again.scales(), again.origins()),
                "{isa}"
            );
            let mut rows = QuantRows::new(isa, 3, cols);
            aside.fill(0.0);
            norm.apply_quantize_from(&original, &mut aside, &mut rows)?;
            assert_eq!(
                (&aside, rows.scales(), rows.origins()),
                (&x, again.scales(), again.origins()),
                "{isa}"
            );
        }
    }
    Ok(())
}

#[test]
fn softmax_equals_its_definition() -> Result<(), ShapeError> {
    let mut noise = Noise::new(3);
    for isa in Isa::available() {
        for cols in WIDTHS {
            for deviation in [0.1, 3.0, 40.0] {
                let mut x: Vec<f32> = noise
                    .normals(2 * cols, deviation)
                    .iter()
                    .map(|x| x - 300.0)
                    .collect();
                let mut expected = x.clone();
                expected.chunks_exact_mut(cols).for_each(reference::softmax);
                softmax(isa, &mut x, cols)?;
                assert!(close(&x, &expected, 1e-6), "{isa} at {cols}, {deviation}");
            }
        }
    }
    Ok(())
}

/// The largest error over -12..=12, and at the ends of f32.
fn largest_error(isa: Isa, kind: Activation) -> Result<f64, ShapeError> {
    let mut x: Vec<f32> = (-120_000..=120_000).map(|i| i as f32 * 1e-4).collect();
    x.extend([
        -1e30,
        -1000.0,
        -88.0,
        88.0,
        1000.0,
        1e9,
        0.0,
        -0.0,
        f32::MIN_POSITIVE,
    ]);
    let mut y = vec![0.0; x.len()];
    activate(isa, kind, &x, &mut y)?;
    let error = |(x, y): (&f32, &f32)| {
        let x = f64::from(*x);
        (f64::from(*y) - activation(kind, x)).abs() / (1.0 + x.abs())
    };
    Ok(x.iter().zip(&y).map(error).fold(0.0, f64::max))
}

#[test]
fn activations_are_as_exact_as_they_say() -> Result<(), ShapeError> {
    for isa in Isa::available() {
        for (kind, limit) in [
            (Activation::None, 0.0),
            (Activation::Gelu, 1e-5),
            (Activation::GeluTanh, 2e-6),
            (Activation::Relu, 1e-7),
            (Activation::Silu, 1e-6),
            (Activation::Tanh, 1e-6),
        ] {
            let error = largest_error(isa, kind)?;
            println!("{isa} {kind:?}: {error:.1e}");
            assert!(error <= limit, "{isa} {kind:?}: {error:.1e}");
        }
    }
    Ok(())
}

#[test]
fn embeddings_are_gathered_and_added() -> Result<(), ShapeError> {
    let mut noise = Noise::new(4);
    for isa in Isa::available() {
        for cols in WIDTHS {
            let values = noise.normals(9 * cols, 1.0);
            let table = Table::quantize(&values, cols)?;
            let mut out = vec![1.0; 3 * cols];
            table.gather(isa, [8, 0, 8].into_iter(), Store::Replace, &mut out)?;
            let expected = [&values[8 * cols..], &values[..cols], &values[8 * cols..]].concat();
            assert!(close(&out, &expected, 0.02), "{isa} at {cols}");
            let once = out.clone();
            table.gather(isa, [8, 0, 8].into_iter(), Store::Add, &mut out)?;
            assert!(
                close(
                    &out,
                    &once.iter().map(|x| 2.0 * x).collect::<Vec<_>>(),
                    1e-6
                ),
                "{isa}"
            );
            table.gather(isa, [8, 0, 8].into_iter(), Store::Multiply, &mut out)?;
            let squares: Vec<_> = once.iter().map(|x| 2.0 * x * x).collect();
            assert!(close(&out, &squares, 1e-5), "{isa}");
            let outside = table.gather(isa, [9, 0, 0].into_iter(), Store::Replace, &mut out);
            assert!(outside.is_err_and(|error| error.what == "last embedding row"));
        }
    }
    Ok(())
}

#[test]
fn pooling_and_normalizing_equal_their_definitions() -> Result<(), ShapeError> {
    let mut noise = Noise::new(5);
    for isa in Isa::available() {
        for cols in WIDTHS {
            let rows = noise.normals(5 * cols, 1.0);
            let column = |c: usize| rows.iter().skip(c).step_by(cols).copied();
            let mut out = vec![0.0; cols];
            pool(isa, Pooling::Cls, &rows, &mut out)?;
            assert_eq!(out, rows[..cols]);
            pool(isa, Pooling::Max, &rows, &mut out)?;
            assert!(
                (0..cols).all(|c| out[c] == column(c).fold(f32::NEG_INFINITY, f32::max)),
                "{isa}"
            );
            pool(isa, Pooling::Mean, &rows, &mut out)?;
            let expected: Vec<f32> = (0..cols).map(|c| column(c).sum::<f32>() / 5.0).collect();
            assert!(close(&out, &expected, 1e-6), "{isa} at {cols}");
            normalize(isa, &mut out);
            let length: f32 = out.iter().map(|x| x * x).sum();
            assert!((length - 1.0).abs() < 1e-5, "{isa} at {cols}");
            let mut zero = vec![0.0; cols];
            normalize(isa, &mut zero);
            assert!(zero.iter().all(|&x| x == 0.0));
        }
    }
    Ok(())
}
