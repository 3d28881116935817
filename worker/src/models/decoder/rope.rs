//! The frequencies of rotary positions, with the scalings that models use for longer contexts.
//! The formulas are those of transformers' modeling_rope_utils.py.

use std::f32::consts::PI;

use serde::{Deserialize, Serialize};
use tidegate_kernels::{Rope, RopePairs};

/// How frequencies are changed for a context longer than the first training's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Scaling {
    None,
    /// All divided by one factor.
    Linear {
        factor: f32,
    },
    /// Each divided by its own: what Llama 3's rule comes to, as GGUF files hold it.
    Factors(Vec<f32>),
    /// Llama 3: low ones divided, high ones kept, a ramp between.
    Llama3 {
        factor: f32,
        low: f32,
        high: f32,
        original: usize,
    },
    /// YaRN (Peng et al. 2023): by how often a pair turns within the first context.
    Yarn {
        factor: f32,
        original: usize,
        magnitude: Option<f32>,
    },
    /// Phi 3: one set of factors up to the first context, another beyond.
    Long {
        short: Vec<f32>,
        long: Vec<f32>,
        original: usize,
        magnitude: f32,
    },
}

impl Scaling {
    /// Frequencies for sequences up to `context`.
    pub fn rope(
        &self,
        pairs: RopePairs,
        dims: usize,
        base: f32,
        context: usize,
    ) -> Result<Rope, String> {
        let mut rope = Rope::new(pairs, dims, base);
        match self {
            Scaling::None => {}
            Scaling::Linear { factor } => {
                rope.inverse_frequencies
                    .iter_mut()
                    .for_each(|f| *f /= factor);
            }
            Scaling::Factors(factors) => divide(&mut rope, factors)?,
            Scaling::Llama3 {
                factor,
                low,
                high,
                original,
            } => {
                let original = *original as f32;
                for frequency in &mut rope.inverse_frequencies {
                    let turns = original * *frequency / (2.0 * PI);
                    let smooth = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    *frequency = (1.0 - smooth) * *frequency / factor + smooth * *frequency;
                }
            }
            Scaling::Yarn {
                factor,
                original,
                magnitude,
            } => {
                yarn(&mut rope, dims, base, *factor, *original);
                rope.magnitude = magnitude.unwrap_or(0.1 * factor.ln() + 1.0);
            }
            Scaling::Long {
                short,
                long,
                original,
                magnitude,
            } => {
                let factors = if context > *original { long } else { short };
                divide(&mut rope, factors)?;
                rope.magnitude = *magnitude;
            }
        }
        Ok(rope)
    }
}

fn divide(rope: &mut Rope, factors: &[f32]) -> Result<(), String> {
    let pairs = rope.inverse_frequencies.len();
    if factors.len() != pairs {
        return Err(format!(
            "{} factors for {pairs} rotated pairs",
            factors.len()
        ));
    }
    for (frequency, factor) in rope.inverse_frequencies.iter_mut().zip(factors) {
        *frequency /= factor;
    }
    Ok(())
}

/// Pairs that turn more than 32 times within the first context keep their frequency, those that
/// turn less than once are divided, a ramp between.
fn yarn(rope: &mut Rope, dims: usize, base: f32, factor: f32, original: usize) {
    let last = dims as f32 - 1.0;
    let place = |turns: f32| {
        let turned = original as f32 / (turns * 2.0 * PI);
        dims as f32 * turned.ln() / (2.0 * base.ln())
    };
    let low = place(32.0).floor().max(0.0);
    let high = place(1.0).ceil().min(last);
    let width = if high > low { high - low } else { 0.001 };
    for (pair, frequency) in rope.inverse_frequencies.iter_mut().enumerate() {
        let divided = ((pair as f32 - low) / width).clamp(0.0, 1.0);
        *frequency = divided * *frequency / factor + (1.0 - divided) * *frequency;
    }
}

/// What Phi 3 multiplies rotated values with, for a context `factor` times the first.
pub fn long_magnitude(factor: f32, original: usize) -> f32 {
    match factor > 1.0 {
        true => (1.0 + factor.ln() / (original as f32).ln()).sqrt(),
        false => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_frequencies_are_divided_and_high_ones_kept() {
        let plain = Rope::new(RopePairs::Halves, 64, 10_000.0).inverse_frequencies;
        let llama3 = Scaling::Llama3 {
            factor: 8.0,
            low: 1.0,
            high: 4.0,
            original: 8192,
        };
        let yarn = Scaling::Yarn {
            factor: 4.0,
            original: 4096,
            magnitude: None,
        };
        for (scaling, factor) in [(llama3, 8.0), (yarn, 4.0)] {
            let rope = scaling
                .rope(RopePairs::Halves, 64, 10_000.0, 100_000)
                .expect("it fits");
            assert_eq!(rope.inverse_frequencies[0], plain[0]);
            let last = rope.inverse_frequencies[31] * factor / plain[31];
            assert!((last - 1.0).abs() < 1e-5, "{last}");
        }
    }

    #[test]
    fn the_factors_of_a_context_are_taken() {
        let scaling = Scaling::Long {
            short: vec![1.0; 2],
            long: vec![2.0; 2],
            original: 10,
            magnitude: 1.5,
        };
        let first = |context| {
            let rope = scaling
                .rope(RopePairs::Halves, 4, 100.0, context)
                .expect("it fits");
            rope.inverse_frequencies[0]
        };
        assert_eq!((first(10), first(11)), (1.0, 0.5));
        assert!(scaling.rope(RopePairs::Halves, 8, 100.0, 10).is_err());
        assert!((long_magnitude(32.0, 4096) - 1.190_238).abs() < 1e-5);
    }
}
