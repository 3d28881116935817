//! How close the vectors or logits of one model are to another's. Pure arithmetic.

use super::Closeness;
use crate::models::Spread;

/// Neighbours that are looked at.
const NEIGHBOURS: usize = 10;

/// Pairs of more texts than this are too many to rank; the first ones stand for all.
const RANKED_TEXTS: usize = 1000;

/// Of vectors.
pub fn of_vectors(reference: &[Vec<f32>], candidate: &[Vec<f32>], same_space: bool) -> Closeness {
    let ranked = reference.len().min(RANKED_TEXTS);
    let ours = similarities(&reference[..ranked]);
    let theirs = similarities(&candidate[..ranked]);
    Closeness {
        cosine: same_space.then(|| cosines(reference, candidate)),
        spearman: spearman(&upper(&ours), &upper(&theirs)),
        neighbours: neighbours(&ours, &theirs),
        ..Closeness::default()
    }
}

/// Of the logits of one label or several.
pub fn of_logits(reference: &[Vec<f32>], candidate: &[Vec<f32>]) -> Closeness {
    let ours: Vec<_> = reference.iter().map(|row| probabilities(row)).collect();
    let theirs: Vec<_> = candidate.iter().map(|row| probabilities(row)).collect();
    let pairs = || ours.iter().flatten().zip(theirs.iter().flatten());
    let change = mean(pairs().map(|(a, b)| (a - b).abs()));
    let one_label = ours.iter().all(|row| row.len() == 1);
    if one_label {
        let scores = |rows: &[Vec<f64>]| rows.concat();
        return Closeness {
            spearman: spearman(&scores(&ours), &scores(&theirs)),
            probability_change: change,
            ..Closeness::default()
        };
    }
    let same = ours.iter().zip(&theirs);
    let same = same.map(|(a, b)| f64::from(u8::from(likeliest(a) == likeliest(b))));
    Closeness {
        agreement: mean(same),
        probability_change: change,
        ..Closeness::default()
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0_usize, 0.0), |(count, sum), x| (count + 1, sum + x));
    (count > 0).then(|| sum / count as f64)
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| -> f64 {
        let pairs = a.iter().zip(b);
        pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let lengths = (product(a, a) * product(b, b)).sqrt();
    match lengths > 0.0 {
        true => product(a, b) / lengths,
        false => 0.0,
    }
}

fn cosines(reference: &[Vec<f32>], candidate: &[Vec<f32>]) -> Spread {
    let pairs = reference.iter().zip(candidate);
    let mut all: Vec<f64> = pairs.map(|(a, b)| cosine(a, b)).collect();
    all.sort_by(f64::total_cmp);
    Spread {
        mean: mean(all.iter().copied()).unwrap_or(0.0),
        p1: all.get(all.len() / 100).copied().unwrap_or(0.0),
        min: all.first().copied().unwrap_or(0.0),
    }
}

/// The cosine of every two vectors, a row a vector.
fn similarities(vectors: &[Vec<f32>]) -> Vec<Vec<f64>> {
    let row = |a: &Vec<f32>| vectors.iter().map(|b| cosine(a, b)).collect();
    vectors.iter().map(row).collect()
}

/// Each pair once.
fn upper(rows: &[Vec<f64>]) -> Vec<f64> {
    let rows = rows.iter().enumerate();
    rows.flat_map(|(i, row)| row[i + 1..].iter().copied())
        .collect()
}

/// Spearman's rank correlation: Pearson's of the ranks, ties sharing their mean rank. None for
/// fewer than two values, or where all are equal.
fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    let (a, b) = (ranks(a), ranks(b));
    let middle = (a.len() as f64 - 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| -> f64 {
        let pairs = a.iter().zip(b);
        pairs.map(|(a, b)| (a - middle) * (b - middle)).sum()
    };
    let spread = (product(&a, &a) * product(&b, &b)).sqrt();
    (spread > 0.0).then(|| product(&a, &b) / spread)
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for ties in order.chunk_by(|&i, &j| values[i] == values[j]) {
        let rank = first as f64 + (ties.len() as f64 - 1.0) / 2.0;
        ties.iter().for_each(|&i| ranks[i] = rank);
        first += ties.len();
    }
    ranks
}

/// None where there are not more inputs than neighbours.
fn neighbours(ours: &[Vec<f64>], theirs: &[Vec<f64>]) -> Option<f64> {
    if ours.len() <= NEIGHBOURS {
        return None;
    }
    let rows = ours.iter().zip(theirs).enumerate();
    mean(rows.map(|(i, (ours, theirs))| {
        let theirs = nearest(theirs, i);
        let shared = nearest(ours, i)
            .iter()
            .filter(|j| theirs.contains(j))
            .count();
        shared as f64 / NEIGHBOURS as f64
    }))
}

/// The nearest of the others to `own`.
fn nearest(similarities: &[f64], own: usize) -> Vec<usize> {
    let mut others: Vec<usize> = (0..similarities.len()).filter(|&j| j != own).collect();
    others.sort_by(|&i, &j| similarities[j].total_cmp(&similarities[i]));
    others.truncate(NEIGHBOURS);
    others
}

/// Softmax over several labels, the logistic function of one.
fn probabilities(logits: &[f32]) -> Vec<f64> {
    if let [logit] = logits {
        return vec![1.0 / (1.0 + (-f64::from(*logit)).exp())];
    }
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = (logits.iter())
        .map(|&logit| f64::from(logit - most).exp())
        .collect();
    let all: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / all).collect()
}

fn likeliest(probabilities: &[f64]) -> Option<usize> {
    let indices = 0..probabilities.len();
    indices.max_by(|&i, &j| probabilities[i].total_cmp(&probabilities[j]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_correlate_whatever_the_values() {
        assert_eq!(spearman(&[1.0, 2.0, 30.0], &[5.0, 6.0, 7.0]), Some(1.0));
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[9.0, 4.0, 1.0]), Some(-1.0));
        // By hand: ranks 0.5 0.5 2 against 0 1 2.
        let tied = spearman(&[1.0, 1.0, 2.0], &[1.0, 2.0, 3.0]).expect("they differ");
        assert!((tied - 0.866_025).abs() < 1e-5, "{tied}");
        assert_eq!(spearman(&[1.0, 1.0], &[1.0, 2.0]), None);
    }

    #[test]
    fn a_turned_space_keeps_neighbours_but_not_cosines() {
        let points: Vec<Vec<f32>> = (0..30)
            .map(|i| vec![(i as f32 * 0.1).cos(), (i as f32 * 0.1).sin()])
            .collect();
        let turned: Vec<Vec<f32>> = points.iter().map(|p| vec![-p[1], p[0]]).collect();
        let close = of_vectors(&points, &turned, true);
        assert!(close.spearman.is_some_and(|rho| rho > 0.999));
        assert_eq!(close.neighbours, Some(1.0));
        assert!(close.cosine.is_some_and(|cosine| cosine.mean.abs() < 1e-6));
        assert_eq!(of_vectors(&points, &turned, false).cosine, None);
        assert_eq!(
            of_vectors(&points[..5], &points[..5], true).neighbours,
            None
        );
    }

    #[test]
    fn labels_agree_where_the_likeliest_is_the_same() {
        let reference = [vec![2.0, 1.0], vec![0.0, 3.0]];
        let close = of_logits(&reference, &[vec![1.5, 1.0], vec![3.0, 0.0]]);
        assert_eq!(close.agreement, Some(0.5));
        let same = of_logits(&reference, &reference);
        assert_eq!(
            (same.agreement, same.probability_change),
            (Some(1.0), Some(0.0))
        );
        let one = of_logits(&[vec![0.0], vec![2.0]], &[vec![1.0], vec![3.0]]);
        assert_eq!((one.agreement, one.spearman), (None, Some(1.0)));
        // Logistic of 1 is 0.731, of 3 is 0.953, of 2 is 0.881.
        assert!(
            one.probability_change
                .is_some_and(|change| (change - 0.1515).abs() < 1e-3)
        );
    }
}
