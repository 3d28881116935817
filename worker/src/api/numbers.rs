//! What becomes of a model's numbers before they are sent: vectors are cut and brought to length
//! 1, scores to probabilities and in order. Pure.

use tidegate_kernels::{Isa, normalize};

use super::error::{ApiError, Fault};
use crate::models::{Scaling, Scoring};

/// How many of a vector's numbers are wanted of a model that gives `width`.
pub fn dimensions(asked: Option<i64>, width: usize) -> Result<usize, ApiError> {
    let Some(asked) = asked else {
        return Ok(width);
    };
    let within = usize::try_from(asked).ok();
    within
        .filter(|wanted| (1..=width).contains(wanted))
        .ok_or_else(|| {
            let message = format!("`dimensions` is {asked}; expected 1 to {width}");
            ApiError::param(Fault::Invalid, "dimensions", message)
        })
}

/// The first numbers of a vector, brought to length 1 after that if it is to be.
pub fn cut(vector: &mut Vec<f32>, dimensions: usize, scaling: Scaling) {
    vector.truncate(dimensions);
    if scaling == Scaling::Unit {
        normalize(Isa::best(), vector);
    }
}

/// The cosine of the angle between two vectors of length 1.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

/// Scores as probabilities, as the model's labels go together.
pub fn probabilities(logits: &mut [f32], scoring: Scoring) {
    match scoring {
        Scoring::OneOf => softmax(logits),
        Scoring::Each => (logits.iter_mut()).for_each(|logit| *logit = sigmoid(*logit)),
        Scoring::Number => {}
    }
}

fn softmax(logits: &mut [f32]) {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits
        .iter_mut()
        .for_each(|logit| *logit = (*logit - largest).exp());
    let sum: f32 = logits.iter().sum();
    logits.iter_mut().for_each(|part| *part /= sum);
}

/// Indices and scores, the highest first; equal ones by index.
pub fn ranking(scores: impl IntoIterator<Item = f32>) -> Vec<(usize, f32)> {
    let mut ranking: Vec<_> = scores.into_iter().enumerate().collect();
    // A stable sort.
    ranking.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    ranking
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_scores_do_not_overflow_and_probabilities_add_up() {
        let mut logits = [1000.0, 999.0, -1000.0];
        probabilities(&mut logits, Scoring::OneOf);
        assert!((logits.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((logits[0] - sigmoid(1.0)).abs() < 1e-6);
        let mut one = [-200.0];
        probabilities(&mut one, Scoring::Each);
        assert_eq!(one, [0.0]);
        let mut each = [0.0, 0.0];
        probabilities(&mut each, Scoring::Each);
        assert_eq!(each, [0.5, 0.5]);
    }

    #[test]
    fn equal_scores_stay_in_order() {
        let ranking = ranking([0.5, 0.9, 0.5]);
        assert_eq!(ranking, [(1, 0.9), (0, 0.5), (2, 0.5)]);
    }

    #[test]
    fn a_shorter_vector_is_of_length_1_again() {
        let mut vector = vec![3.0, 4.0, 12.0];
        cut(&mut vector, 2, Scaling::Unit);
        assert!((vector[0] - 0.6).abs() < 1e-6 && (vector[1] - 0.8).abs() < 1e-6);
        assert!(dimensions(Some(0), 3).is_err() && dimensions(Some(4), 3).is_err());
        assert_eq!(dimensions(Some(3), 3), Ok(3));
    }
}
