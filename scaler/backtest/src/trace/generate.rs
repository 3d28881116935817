//! Demands that are not recorded but made up, to see one behaviour at a time.
//!
//! Rates are requests per second, times are seconds; arrivals are Poisson.

use super::{Demand, Segment};

/// The grid on which sloping rates are drawn.
const GRAIN_S: f64 = 5.0;

/// The same rate all the time.
pub fn constant(per_s: f64, span_s: f64) -> Demand {
    pieces(&[(span_s, per_s)])
}

/// From one rate to another at once, at `at_s`.
pub fn step(from_per_s: f64, to_per_s: f64, at_s: f64, span_s: f64) -> Demand {
    pieces(&[(at_s, from_per_s), (span_s, to_per_s)])
}

/// A straight line from one rate to another.
pub fn ramp(from_per_s: f64, to_per_s: f64, span_s: f64) -> Demand {
    sloping(span_s, |at_s| {
        from_per_s + (to_per_s - from_per_s) * at_s / span_s
    })
}

/// `on_s` of the high rate, then `off_s` of the low one, again and again.
pub fn on_off(high_per_s: f64, low_per_s: f64, on_s: f64, off_s: f64, span_s: f64) -> Demand {
    let mut parts = Vec::new();
    let mut ends_s = 0.0;
    while ends_s < span_s && on_s + off_s > 0.0 {
        parts.push((span_s.min(ends_s + on_s), high_per_s));
        parts.push((span_s.min(ends_s + on_s + off_s), low_per_s));
        ends_s += on_s + off_s;
    }
    pieces(&parts)
}

/// A base rate, and at `at_s` a crowd: it grows to the peak within `rise_s`, and from then on
/// half of what is left of it goes away every `half_life_s`.
pub fn flash_crowd(
    base_per_s: f64,
    peak_per_s: f64,
    at_s: f64,
    rise_s: f64,
    half_life_s: f64,
    span_s: f64,
) -> Demand {
    sloping(span_s, |now_s| {
        let since_s = now_s - at_s;
        let crowd = match since_s {
            early if early < 0.0 => 0.0,
            rising if rising < rise_s => rising / rise_s,
            falling => 0.5_f64.powf((falling - rise_s) / half_life_s),
        };
        base_per_s + (peak_per_s - base_per_s) * crowd
    })
}

/// Pieces of constant rate, each up to its end.
fn pieces(parts: &[(f64, f64)]) -> Demand {
    let mut begins_s = 0.0;
    let segments = parts.iter().map(|(ends_s, per_s)| {
        let requests = per_s * (ends_s - begins_s);
        begins_s = *ends_s;
        segment(*ends_s, requests)
    });
    Demand::new(segments.collect())
}

fn sloping(span_s: f64, per_s_at: impl Fn(f64) -> f64) -> Demand {
    let count = (span_s / GRAIN_S).ceil() as usize;
    let parts: Vec<(f64, f64)> = (0..count)
        .map(|index| {
            let begins_s = index as f64 * GRAIN_S;
            let ends_s = span_s.min(begins_s + GRAIN_S);
            (ends_s, per_s_at((begins_s + ends_s) / 2.0))
        })
        .collect();
    pieces(&parts)
}

fn segment(ends_s: f64, requests: f64) -> Segment {
    Segment {
        ends_s,
        requests,
        dispersion: 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shape_expects_what_its_curve_encloses() {
        assert_eq!(constant(5.0, 60.0).requests(), 300.0);
        assert_eq!(step(1.0, 3.0, 20.0, 60.0).requests(), 20.0 + 120.0);
        assert!((ramp(0.0, 10.0, 600.0).requests() - 3000.0).abs() < 1e-6);
        assert_eq!(on_off(4.0, 0.0, 10.0, 20.0, 65.0).requests(), 100.0);
        let crowd = flash_crowd(1.0, 9.0, 100.0, 0.0, 50.0, 2000.0);
        let expected = 2000.0 + 8.0 * 50.0 / std::f64::consts::LN_2;
        assert!((crowd.requests() / expected - 1.0).abs() < 0.01);
    }
}
