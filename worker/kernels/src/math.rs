//! Vectorised exp and the activation functions made of it and of polynomials.
//!
//! The polynomials are minimax fits (Lawson's iteration on Chebyshev nodes, then rounded to f32);
//! the stated errors were measured over every isa and are held by tests.

use crate::error::{ShapeError, exactly};
use crate::isa::Isa;
use crate::simd::rows::{read, write};
use crate::simd::{Kernel, Simd};

/// The function that a linear layer's epilogue applies to its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    #[default]
    None,
    /// x * Phi(x) with the exact normal distribution (Hendrycks and Gimpel, 2016, section 2), max
    /// error 1e-5.
    Gelu,
    /// Its tanh form, x * sigmoid(2 * sqrt(2 / pi) * (x + 0.044715 * x^3)) (as above), max error
    /// 2e-6.
    GeluTanh,
    /// max(x, 0).
    Relu,
    /// x * sigmoid(x), max error 1e-6 * (1 + |x|).
    Silu,
    /// max error 1e-6.
    Tanh,
}

impl Activation {
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(self, s: S, x: S::F) -> S::F {
        match self {
            Self::None => x,
            Self::Gelu => gelu(s, x),
            Self::GeluTanh => gelu_tanh(s, x),
            Self::Relu => s.max(x, s.splat(0.0)),
            Self::Silu => s.mul(x, sigmoid(s, x)),
            Self::Tanh => tanh(s, x),
        }
    }
}

/// Applies the activation to every value.
///
/// # Errors
/// `out` is not as long as `x`.
pub fn activate(
    isa: Isa,
    activation: Activation,
    x: &[f32],
    out: &mut [f32],
) -> Result<(), ShapeError> {
    exactly("activation output", x.len(), out.len())?;
    isa.run(Activate { activation, x, out });
    Ok(())
}

struct Activate<'a> {
    activation: Activation,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for at in (0..self.x.len()).step_by(S::LANES) {
            let y = self.activation.apply(s, read(s, self.x, at, 0.0));
            write(s, self.out, at, y);
        }
    }
}

/// Horner's rule, coefficients from the constant upward.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(s: S, x: S::F, coefficients: &[f32; N]) -> S::F {
    let mut y = s.splat(coefficients[N - 1]);
    let mut i = N - 1;
    while i > 0 {
        i -= 1;
        y = s.mul_add(y, x, s.splat(coefficients[i]));
    }
    y
}

/// 2^f for f in -0.5..=0.5, relative error 1.5e-7.
const EXP2: [f32; 6] = [
    1.0,
    0.693_146_94,
    0.240_221_2,
    0.055_507_135,
    0.009_675_545,
    0.001_327_646_5,
];

/// 2^t, relative error 3e-7; t is kept in -126..=127.
#[inline(always)]
fn exp2<S: Simd>(s: S, t: S::F) -> S::F {
    exp2_of_negative(s, s.min(t, s.splat(127.0)))
}

/// As [`exp2`] for t below 127.5.
#[inline(always)]
pub(crate) fn exp2_of_negative<S: Simd>(s: S, t: S::F) -> S::F {
    let t = s.max(t, s.splat(-126.0));
    let whole = s.round(t);
    s.scale(polynomial(s, s.sub(t, whole), &EXP2), whole)
}

/// e^x, as [`exp2`] of x * log2(e); the rounding of that product adds |x| * 6e-8 of relative error.
#[inline(always)]
fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    exp2(s, s.mul(x, s.splat(std::f32::consts::LOG2_E)))
}

#[inline(always)]
fn sigmoid<S: Simd>(s: S, x: S::F) -> S::F {
    let one = s.splat(1.0);
    s.div(one, s.add(one, exp(s, s.sub(s.splat(0.0), x))))
}

/// 2 * sigmoid(2x) - 1.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let twice = s.add(x, x);
    s.mul_add(s.splat(2.0), sigmoid(s, twice), s.splat(-1.0))
}

#[inline(always)]
fn gelu_tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let cube = s.mul(s.mul(x, x), x);
    let inner = s.mul_add(cube, s.splat(0.044_715), x);
    s.mul(x, sigmoid(s, s.mul(inner, s.splat(1.595_769))))
}

/// t * Phi(-t) for t in 0..=5, in the variable 2t/5 - 1; absolute error 9e-6.
const GELU_TAIL: [f32; 12] = [
    0.015_523_995,
    -0.093_916_275,
    0.232_806_15,
    -0.259_796_62,
    -0.019_357_247,
    0.440_557_3,
    -0.481_068_2,
    0.006_710_477,
    0.324_345_7,
    -0.139_013_35,
    -0.072_258_38,
    0.045_459_177,
];

/// x * Phi(x) = max(x, 0) - |x| * Phi(-|x|): the second term vanishes to 1.4e-6 at 5 and is taken
/// as constant beyond, so the error does not grow with x.
#[inline(always)]
fn gelu<S: Simd>(s: S, x: S::F) -> S::F {
    let t = s.min(s.abs(x), s.splat(5.0));
    let u = s.mul_add(t, s.splat(0.4), s.splat(-1.0));
    s.sub(s.max(x, s.splat(0.0)), polynomial(s, u, &GELU_TAIL))
}
