//! chrF (Popović 2015): how close texts are, by their sequences of letters. Pure arithmetic.

use std::collections::HashMap;

/// Letters of the longest sequence that is counted.
const ORDER: usize = 6;

/// How much more a letter that is missed weighs than one too many: its square.
const BETA: f64 = 2.0;

/// The F-score of sequences of letters, spaces left out, over all pairs of a text that is expected
/// and one that was found: precision and recall are means over the lengths of the sequences.
pub fn chrf<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> f64 {
    let mut totals = [(0usize, 0usize, 0usize); ORDER];
    for (expected, found) in pairs {
        for (order, (common, of_expected, of_found)) in totals.iter_mut().enumerate() {
            let (expected, found) = (sequences(expected, order + 1), sequences(found, order + 1));
            *of_expected += expected.values().sum::<usize>();
            *of_found += found.values().sum::<usize>();
            *common += found
                .iter()
                .map(|(letters, count)| expected.get(letters).map_or(0, |other| *count.min(other)))
                .sum::<usize>();
        }
    }
    let counted = totals
        .iter()
        .filter(|(_, expected, found)| *expected > 0 && *found > 0);
    let shares = counted.map(|&(common, expected, found)| {
        (
            common as f64 / found as f64,
            common as f64 / expected as f64,
        )
    });
    let shares: Vec<(f64, f64)> = shares.collect();
    if shares.is_empty() {
        return 100.0;
    }
    let mean =
        |part: fn(&(f64, f64)) -> f64| shares.iter().map(part).sum::<f64>() / shares.len() as f64;
    let (precision, recall) = (mean(|share| share.0), mean(|share| share.1));
    let weighed = BETA * BETA * precision + recall;
    match weighed > 0.0 {
        true => 100.0 * (1.0 + BETA * BETA) * precision * recall / weighed,
        false => 0.0,
    }
}

/// How often each sequence of so many letters is in a text.
fn sequences(text: &str, order: usize) -> HashMap<Vec<char>, usize> {
    let letters: Vec<char> = text
        .chars()
        .filter(|letter| !letter.is_whitespace())
        .collect();
    let mut counts = HashMap::new();
    for sequence in letters.windows(order) {
        *counts.entry(sequence.to_vec()).or_insert(0) += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reckoned by hand.
    #[test]
    fn texts_are_as_close_as_their_sequences_of_letters() {
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 0.01, "{found}");
        near(chrf([("the cat sat", "the cat sat")].into_iter()), 100.0);
        near(chrf([("abc", "xyz")].into_iter()), 0.0);
        // One letter of "abcd" is another: 3/4 of single letters, 2/3, 1/2 and 0 of longer ones.
        near(
            chrf([("abcd", "abcx")].into_iter()),
            100.0 * (0.75 + 2.0 / 3.0 + 0.5) / 4.0,
        );
    }
}
