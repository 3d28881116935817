//! The int8 product is the same on every isa, and its epilogue means what it says.

mod reference;

use reference::{Noise, activation};
use tidegate_kernels::{
    Activation, Epilogue, Isa, Linear, QuantRows, ShapeError, Store, quantize_weights,
};

/// Rows, inputs, outputs: around every tile, panel and group, and what models use.
const SHAPES: [(usize, usize, usize); 22] = [
    (1, 1, 1),
    (1, 3, 2),
    (2, 4, 15),
    (3, 5, 16),
    (4, 7, 17),
    (5, 8, 31),
    (6, 9, 32),
    (7, 15, 33),
    (8, 16, 63),
    (9, 17, 64),
    (10, 31, 65),
    (11, 33, 7),
    (12, 64, 8),
    (13, 65, 100),
    (129, 12, 33),
    (130, 16, 1),
    (1, 384, 384),
    (16, 384, 96),
    (2, 1000, 40),
    (3, 896, 32),
    (17, 1536, 48),
    (1, 4864, 33),
];

struct Case {
    k: usize,
    weights: Vec<i8>,
    x: Vec<f32>,
}

/// What the values are like: anything, or only the ends of their ranges.
#[derive(Clone, Copy)]
enum Values {
    Any,
    Extreme,
}

impl Case {
    fn new(noise: &mut Noise, (m, k, n): (usize, usize, usize), values: Values) -> Self {
        let weight = |noise: &mut Noise| match values {
            Values::Any => noise.bits() as i8,
            Values::Extreme => [i8::MIN, i8::MAX][noise.below(2)],
        };
        let act = |noise: &mut Noise| match values {
            Values::Any => noise.normal(),
            Values::Extreme => [-1.0, 1.0][noise.below(2)],
        };
        Self {
            k,
            weights: (0..n * k).map(|_| weight(noise)).collect(),
            x: (0..m * k).map(|_| act(noise)).collect(),
        }
    }

    /// Packs and sums on one isa.
    fn sums(&self, isa: Isa, m: usize) -> Result<Vec<i32>, ShapeError> {
        let n = self.weights.len() / self.k;
        let linear = Linear::pack(isa, &self.weights, &vec![1.0; n], None, self.k)?;
        let mut rows = QuantRows::new(isa, m, self.k);
        rows.quantize(0, &self.x)?;
        let mut out = vec![0; m * n];
        linear.sums(&rows, 0..m, &mut out)?;
        Ok(out)
    }

    /// The sums in i64 from the definition of the quantization.
    fn expected(&self) -> Vec<i64> {
        let row = |x: &[f32]| -> Vec<i64> {
            let low = x.iter().copied().fold(f32::INFINITY, f32::min);
            let high = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let factor = if high > low {
                255.0 / (high - low)
            } else {
                0.0
            };
            x.iter()
                .map(|x| ((x - low) * factor).round_ties_even() as i64)
                .collect()
        };
        let rows = self.x.chunks_exact(self.k).map(row);
        let dot = |a: &[i64], w: &[i8]| a.iter().zip(w).map(|(a, &w)| a * i64::from(w)).sum();
        rows.flat_map(|a| self.weights.chunks_exact(self.k).map(move |w| dot(&a, w)))
            .collect()
    }
}

#[test]
fn every_tier_sums_exactly_the_same() -> Result<(), ShapeError> {
    let mut noise = Noise::new(1);
    for values in [Values::Any, Values::Extreme] {
        for shape in SHAPES {
            let case = Case::new(&mut noise, shape, values);
            let expected = case.expected();
            for isa in Isa::available() {
                let found: Vec<_> = case
                    .sums(isa, shape.0)?
                    .into_iter()
                    .map(i64::from)
                    .collect();
                assert!(found == expected, "{isa} at {shape:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn random_shapes_agree_between_tiers() -> Result<(), ShapeError> {
    let mut noise = Noise::new(2);
    for _ in 0..150 {
        let shape = (
            1 + noise.below(20),
            1 + noise.below(300),
            1 + noise.below(120),
        );
        let case = Case::new(&mut noise, shape, Values::Any);
        let scalar = case.sums(Isa::named("scalar").expect("always there"), shape.0)?;
        for isa in Isa::available() {
            assert!(case.sums(isa, shape.0)? == scalar, "{isa} at {shape:?}");
        }
    }
    Ok(())
}

#[test]
fn the_largest_sums_stay_inside_i32() -> Result<(), ShapeError> {
    let k = 65_536;
    let mut x = vec![1.0; k];
    x[0] = 0.0;
    let case = Case {
        k,
        weights: vec![i8::MIN; k],
        x,
    };
    for isa in Isa::available() {
        assert_eq!(case.sums(isa, 1)?, [-128 * 255 * (k as i32 - 1)], "{isa}");
    }
    let refused = Linear::pack(Isa::best(), &vec![0; k + 1], &[1.0], None, k + 1);
    assert!(refused.is_err_and(|error| error.what == "input features"));
    Ok(())
}

#[test]
fn the_epilogue_scales_shifts_activates_and_adds() -> Result<(), ShapeError> {
    let mut noise = Noise::new(3);
    let (m, k, n) = (11, 70, 45);
    let (weights, scale) = quantize_weights(&noise.normals(n * k, 0.2), k)?;
    let (bias, x, before) = (
        noise.normals(n, 0.5),
        noise.normals(m * k, 1.0),
        noise.normals(m * n, 1.0),
    );
    let kinds = [
        Activation::None,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Relu,
        Activation::Silu,
        Activation::Tanh,
    ];
    for isa in Isa::available() {
        let linear = Linear::pack(isa, &weights, &scale, Some(&bias), k)?;
        let mut rows = QuantRows::new(isa, m, k);
        rows.quantize(0, &x)?;
        let mut sums = vec![0; m * n];
        linear.sums(&rows, 0..m, &mut sums)?;
        for kind in kinds {
            for store in [Store::Replace, Store::Add, Store::Multiply] {
                let mut out = before.clone();
                linear.forward(
                    &rows,
                    0..m,
                    Epilogue {
                        activation: kind,
                        store,
                    },
                    &mut out,
                )?;
                for (i, (out, before)) in out.iter().zip(&before).enumerate() {
                    let (r, c) = (i / n, i % n);
                    let weights: i32 = weights[c * k..][..k].iter().map(|&w| i32::from(w)).sum();
                    let y = f64::from(sums[i]) * f64::from(rows.scales()[r]) * f64::from(scale[c])
                        + f64::from(rows.origins()[r]) * f64::from(weights) * f64::from(scale[c])
                        + f64::from(bias[c]);
                    let (y, before) = (activation(kind, y), f64::from(*before));
                    let expected = match store {
                        Store::Replace => y,
                        Store::Add => y + before,
                        Store::Multiply => y * before,
                    };
                    assert!(
                        (f64::from(*out) - expected).abs() < 3e-5,
                        "{isa} {kind:?} {store:?} at {r}, {c}"
                    );
                }
            }
        }
    }
    Ok(())
}

#[test]
fn parts_of_the_rows_and_columns_equal_the_whole() -> Result<(), ShapeError> {
    let mut noise = Noise::new(4);
    let (m, k, n) = (13, 96, 150);
    let (weights, scale) = quantize_weights(&noise.normals(n * k, 0.2), k)?;
    for isa in Isa::available() {
        let linear = Linear::pack(isa, &weights, &scale, None, k)?;
        let mut rows = QuantRows::new(isa, m, k);
        rows.quantize(0, &noise.normals(m * k, 1.0))?;
        let mut whole = vec![0.0; m * n];
        linear.forward(&rows, 0..m, Epilogue::default(), &mut whole)?;
        for columns in linear.split_columns(3) {
            let mut part = vec![0.0; 5 * columns.len()];
            linear.forward_columns(
                &rows,
                6..11,
                columns.clone(),
                Epilogue::default(),
                &mut part,
            )?;
            for (r, part) in part.chunks_exact(columns.len()).enumerate() {
                assert_eq!(part, &whole[(6 + r) * n..][columns.clone()], "{isa}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_wrong_shape_is_an_error_that_names_it() -> Result<(), ShapeError> {
    let isa = Isa::best();
    let what = |result: Result<(), ShapeError>| result.err().map(|error| error.what);
    let pack = |weights: usize, scale: usize, bias: usize, k: usize| {
        let (weights, scale, bias) = (vec![1; weights], vec![1.0; scale], vec![0.0; bias]);
        what(Linear::pack(isa, &weights, &scale, Some(&bias), k).map(drop))
    };
    assert_eq!(pack(7, 2, 2, 4), Some("weights"));
    assert_eq!(pack(8, 2, 3, 4), Some("bias"));
    assert_eq!(pack(0, 2, 2, 0), Some("input features"));
    assert_eq!(pack(0, 0, 0, 4), Some("output channels"));

    let linear = Linear::pack(isa, &[1; 8], &[1.0; 2], None, 4)?;
    let mut out = [0.0; 6];
    let mut forward = |x: &QuantRows, rows, len: usize| {
        what(linear.forward(x, rows, Epilogue::default(), &mut out[..len]))
    };
    assert_eq!(
        forward(&QuantRows::new(isa, 3, 5), 0..3, 6),
        Some("input features")
    );
    assert_eq!(forward(&QuantRows::new(isa, 3, 4), 0..4, 6), Some("rows"));
    assert_eq!(
        forward(&QuantRows::new(isa, 3, 4), 0..3, 5),
        Some("linear output")
    );
    let scalar = Isa::named("scalar").expect("always there");
    if scalar != isa {
        assert_eq!(
            forward(&QuantRows::new(scalar, 3, 4), 0..3, 6),
            Some("operands packed for the same isa")
        );
    }
    Ok(())
}
