//! Draws a token from what `top_k`, `top_p` and `min_p` leave of a row of logits.

use super::{Random, Sampling, likeliest};

/// Draws a token.
pub(super) fn draw(sampling: &Sampling, logits: &[f32], random: &mut Random) -> u32 {
    let best = likeliest(logits);
    let max = logits.get(best as usize).copied().unwrap_or(0.0);
    if !max.is_finite() {
        return best;
    }
    let scale = 1.0 / sampling.temperature;
    // Relative to the likeliest, which has 1.
    let weight = |logit: f32| {
        let weight = f64::from(((logit - max) * scale).exp());
        if weight.is_nan() { 0.0 } else { weight }
    };
    let drawn = random.unit();
    if sampling.top_k == 0 && sampling.top_p >= 1.0 && sampling.min_p <= 0.0 {
        let all = logits.iter().enumerate();
        return pick(
            all.map(|(token, &logit)| (token as u32, weight(logit))),
            drawn,
            best,
        );
    }
    let kept = kept(sampling, logits, &weight);
    let weights = kept.iter().map(|&(token, logit)| (token, weight(logit)));
    pick(weights, drawn, best)
}

/// The token at `drawn` of the total weight.
fn pick(weights: impl Iterator<Item = (u32, f64)> + Clone, drawn: f64, otherwise: u32) -> u32 {
    let total: f64 = weights.clone().map(|(_, weight)| weight).sum();
    let mut left = drawn * total;
    let mut last = otherwise;
    for (token, weight) in weights {
        if weight > 0.0 {
            last = token;
            left -= weight;
            if left < 0.0 {
                return token;
            }
        }
    }
    last
}

/// What the cuts leave, the likeliest first.
fn kept(sampling: &Sampling, logits: &[f32], weight: &impl Fn(f32) -> f64) -> Vec<(u32, f32)> {
    let total: f64 = match sampling.top_k {
        0 => logits.iter().map(|&logit| weight(logit)).sum(),
        _ => 0.0,
    };
    let mut wanted = match sampling.top_k {
        0 => 256,
        top_k => top_k,
    };
    loop {
        let mut kept = largest(logits, wanted);
        let total = match sampling.top_k {
            0 => total,
            _ => kept.iter().map(|&(_, logit)| weight(logit)).sum(),
        };
        let all = kept.len() >= logits.len() || sampling.top_k > 0;
        let before = kept.len();
        cut(sampling, &mut kept, total, weight);
        if all || kept.len() < before {
            return kept;
        }
        // The cut may lie further down.
        wanted *= 8;
    }
}

/// Keeps those that `top_p` and `min_p` leave, at least one.
fn cut(sampling: &Sampling, kept: &mut Vec<(u32, f32)>, total: f64, weight: &impl Fn(f32) -> f64) {
    let enough = f64::from(sampling.top_p) * total;
    let least = f64::from(sampling.min_p);
    let mut sum = 0.0;
    let mut count = 0;
    for &(_, logit) in kept.iter() {
        let weight = weight(logit);
        if count > 0 && (sum >= enough || weight < least) {
            break;
        }
        sum += weight;
        count += 1;
    }
    kept.truncate(count);
}

/// The tokens of the largest logits, the largest first, of equals the first token first. Those that
/// are no number are left out.
pub(super) fn largest(logits: &[f32], count: usize) -> Vec<(u32, f32)> {
    let numbers = logits
        .iter()
        .enumerate()
        .filter(|(_, logit)| !logit.is_nan());
    let mut all: Vec<(u32, f32)> = numbers
        .map(|(token, &logit)| (token as u32, logit))
        .collect();
    let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if count < all.len() && count > 0 {
        all.select_nth_unstable_by(count - 1, order);
    }
    all.truncate(count);
    all.sort_unstable_by(order);
    all
}
