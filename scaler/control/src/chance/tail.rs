//! The upper tail of the normal distribution.

/// Probability that a standard normal variable exceeds `z`, within 1e-7: Abramowitz and Stegun
/// 7.1.26, by way of erfc.
pub fn normal_tail(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let coefficients = [
        1.061_405_429,
        -1.453_152_027,
        1.421_413_741,
        -0.284_496_736,
        0.254_829_592,
    ];
    let series = coefficients.iter().fold(0.0, |sum, c| (sum + c) * t);
    let tail = 0.5 * series * (-x * x).exp();
    if z >= 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_tails() {
        for (z, tail) in [(0.0, 0.5), (1.959_964, 0.025), (-1.0, 0.841_344_7)] {
            assert!((normal_tail(z) - tail).abs() < 2e-7, "{z}");
        }
    }
}
