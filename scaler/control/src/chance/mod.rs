//! Random numbers by seed: the same seed gives the same numbers on every machine and in every version.
//!
//! Written out instead of taken from a crate, because no crate promises that its streams stay the
//! same, and a backtest that cannot be repeated proves nothing.

mod tail;

pub use tail::normal_tail;

/// A stream of pseudo-random numbers: xoshiro256++ (Blackman and Vigna, 2019), seeded by
/// SplitMix64. Streams of one seed with different names are independent.
#[derive(Clone, Debug)]
pub struct Chance {
    state: [u64; 4],
    /// The second of the pair that the polar method draws.
    spare_normal: Option<f64>,
}

impl Chance {
    pub fn new(seed: u64, stream: &str) -> Chance {
        let named = stream.bytes().fold(seed, |mixed, byte| {
            split_mix(&mut (mixed ^ u64::from(byte)))
        });
        let mut mixer = named;
        Chance {
            state: std::array::from_fn(|_| split_mix(&mut mixer)),
            spare_normal: None,
        }
    }

    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let drawn = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        drawn
    }

    /// Uniform in (0, 1]: never zero, so that its logarithm exists.
    pub fn unit(&mut self) -> f64 {
        ((self.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform between `low` and `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Exponential with mean 1.
    pub fn exponential(&mut self) -> f64 {
        -self.unit().ln()
    }

    /// Standard normal, by Marsaglia's polar method (SIAM Review 6, 1964).
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare_normal.take() {
            return spare;
        }
        loop {
            let (x, y) = (self.between(-1.0, 1.0), self.between(-1.0, 1.0));
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                let stretch = (-2.0 * square.ln() / square).sqrt();
                self.spare_normal = Some(y * stretch);
                return x * stretch;
            }
        }
    }

    /// Gamma with this shape and scale 1, by Marsaglia and Tsang (ACM TOMS 26, 2000).
    pub fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let boost = self.unit().powf(1.0 / shape);
            return self.gamma(shape + 1.0) * boost;
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.unit().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }
}

/// One step of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and squared coefficient of variation of many draws.
    fn moments(draws: impl Iterator<Item = f64>) -> (f64, f64) {
        let values: Vec<f64> = draws.take(200_000).collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        (mean, variance / mean.powi(2))
    }

    #[test]
    fn draws_have_the_moments_of_their_distributions() {
        let mut chance = Chance::new(1, "moments");
        let (mean, square) = moments(std::iter::repeat_with(|| chance.exponential()));
        assert!((mean - 1.0).abs() < 0.02 && (square - 1.0).abs() < 0.03);
        for shape in [0.1, 0.5, 1.0, 4.0] {
            let (mean, square) = moments(std::iter::repeat_with(|| chance.gamma(shape) / shape));
            assert!((mean - 1.0).abs() < 0.03, "shape {shape}: mean {mean}");
            assert!((square * shape - 1.0).abs() < 0.06, "shape {shape}");
        }
        let (mean, square) = moments(std::iter::repeat_with(|| 5.0 + chance.normal()));
        assert!((mean - 5.0).abs() < 0.02 && (square - 0.04).abs() < 0.001);
    }

    #[test]
    fn a_seed_repeats_and_streams_differ() {
        let draw = |seed, stream| Chance::new(seed, stream).next_u64();
        assert_eq!(draw(7, "a"), draw(7, "a"));
        assert_ne!(draw(7, "a"), draw(7, "b"));
        assert_ne!(draw(7, "a"), draw(8, "a"));
    }
}
