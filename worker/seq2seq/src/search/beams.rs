//! Beam search, as transformers does it.
//!
//! Of all continuations of all hypotheses the best 2 x width are looked at (more by one width for
//! each further token that ends a text), so that a width of them goes on even if as many end. Those
//! that end count as whole texts only if they are among the best `width`.

use std::cmp::Ordering;

use super::{Patience, log_sum};

/// What a search is held to.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) width: usize,
    pub(crate) length_penalty: f32,
    pub(crate) patience: Patience,
    /// Tokens that end a text.
    pub(crate) ends: Vec<u32>,
    /// A text does not end before it has so many tokens, and ends when it has as many as that.
    pub(crate) min_tokens: usize,
    pub(crate) max_tokens: usize,
}

/// A text, with the sum of its tokens' log-probabilities while it grows, with its score once it is
/// whole.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hypothesis {
    pub(crate) tokens: Vec<u32>,
    pub(crate) score: f32,
}

/// A continuation of a hypothesis.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    parent: usize,
    token: u32,
    sum: f32,
}

#[derive(Clone, Debug)]
pub(crate) struct Beams {
    rules: Rules,
    running: Vec<Hypothesis>,
    /// The best first, at most a width of them.
    whole: Vec<Hypothesis>,
}

impl Beams {
    pub(crate) fn new(rules: Rules) -> Self {
        let first = Hypothesis {
            tokens: Vec::new(),
            score: 0.0,
        };
        Self {
            whole: Vec::with_capacity(2 * rules.width),
            running: vec![first],
            rules,
        }
    }

    /// Those that go on: their last tokens are to be computed, in this order.
    pub(crate) fn running(&self) -> &[Hypothesis] {
        &self.running
    }

    /// Whether a whole text has an end of its own.
    pub(crate) fn ends(&self, text: &Hypothesis) -> bool {
        let last = text.tokens.last();
        last.is_some_and(|token| self.rules.ends.contains(token))
    }

    /// The best whole text, once the search has ended.
    pub(crate) fn best(&mut self) -> Option<Hypothesis> {
        (!self.whole.is_empty()).then(|| self.whole.swap_remove(0))
    }

    /// Takes the logits of all running hypotheses. Returns of each hypothesis that goes on now from
    /// which one of before it came; none if the search has ended.
    pub(crate) fn advance(&mut self, logits: &[f32], vocabulary: usize) -> Option<Vec<usize>> {
        let tokens = self.running[0].tokens.len() + 1;
        let candidates = self.candidates(logits, vocabulary, tokens);
        let is_last = tokens >= self.rules.max_tokens;
        let (mut parents, mut next) = (Vec::new(), Vec::new());
        let length = self.length(tokens);
        for (rank, candidate) in candidates.into_iter().enumerate() {
            let mut text = self.running[candidate.parent].tokens.clone();
            text.push(candidate.token);
            if is_last || self.rules.ends.contains(&candidate.token) {
                if rank < self.rules.width {
                    self.whole.push(Hypothesis {
                        tokens: text,
                        score: candidate.sum / length,
                    });
                }
            } else if next.len() < self.rules.width {
                parents.push(candidate.parent);
                next.push(Hypothesis {
                    tokens: text,
                    score: candidate.sum,
                });
            }
        }
        self.keep_best();
        if is_last || next.is_empty() || self.has_ended(next[0].score, tokens) {
            return None;
        }
        self.running = next;
        Some(parents)
    }

    /// The best continuations, the best first; of equals that of the first hypothesis and token.
    fn candidates(&self, logits: &[f32], vocabulary: usize, tokens: usize) -> Vec<Candidate> {
        let count = self.rules.width * (1 + self.rules.ends.len()).max(2);
        let forbidden: &[u32] = match tokens < self.rules.min_tokens {
            true => &self.rules.ends,
            false => &[],
        };
        let mut all = Vec::new();
        for (parent, row) in logits.chunks_exact(vocabulary).enumerate() {
            let (hypothesis, norm) = (&self.running[parent], log_sum(row));
            let allowed = |token: &usize| !forbidden.contains(&(*token as u32));
            let mut best: Vec<usize> = (0..vocabulary).filter(allowed).collect();
            let by_logit = |a: &usize, b: &usize| descending(row[*a], row[*b]).then(a.cmp(b));
            if best.len() > count {
                best.select_nth_unstable_by(count, by_logit);
                best.truncate(count);
            }
            all.extend(best.into_iter().map(|token| Candidate {
                parent,
                token: token as u32,
                sum: hypothesis.score + (row[token] - norm),
            }));
        }
        all.sort_by(|a, b| {
            let places = (a.parent, a.token).cmp(&(b.parent, b.token));
            descending(a.sum, b.sum).then(places)
        });
        all.truncate(count);
        all
    }

    fn keep_best(&mut self) {
        // Stable: of equals the one that was whole first.
        self.whole.sort_by(|a, b| descending(a.score, b.score));
        self.whole.truncate(self.rules.width);
    }

    /// Whether nothing better is to be expected. `sum` is the best hypothesis', of `tokens` tokens.
    fn has_ended(&self, sum: f32, tokens: usize) -> bool {
        let full = self.whole.len() == self.rules.width;
        let worst = self
            .whole
            .last()
            .map_or(f32::NEG_INFINITY, |text| text.score);
        let hopeless = |length: usize| sum / self.length(length) <= worst;
        full && match self.rules.patience {
            Patience::Early => true,
            Patience::Usual => hopeless(tokens),
            Patience::Never if self.rules.length_penalty > 0.0 => hopeless(self.rules.max_tokens),
            Patience::Never => hopeless(tokens),
        }
    }

    /// What a sum over so many tokens is divided by.
    fn length(&self, tokens: usize) -> f32 {
        (tokens as f32).powf(self.rules.length_penalty)
    }
}

fn descending(a: f32, b: f32) -> Ordering {
    b.total_cmp(&a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(width: usize, patience: Patience) -> Rules {
        Rules {
            width,
            length_penalty: 1.0,
            patience,
            ends: vec![0],
            min_tokens: 0,
            max_tokens: 3,
        }
    }

    /// Logits of probabilities.
    fn row(probabilities: [f32; 3]) -> Vec<f32> {
        probabilities.iter().map(|p| p.ln()).collect()
    }

    /// After nothing 1 is likelier than 2, but 2 is followed by a sure end.
    #[test]
    fn a_worse_begin_wins_by_its_end() {
        let mut greedy = Beams::new(rules(1, Patience::Early));
        let mut two = Beams::new(rules(2, Patience::Usual));
        for beams in [&mut greedy, &mut two] {
            let mut logits = row([0.02, 0.5, 0.48]);
            while beams.advance(&logits, 3).is_some() {
                let after = |text: &Hypothesis| match text.tokens.last() {
                    Some(2) => row([0.98, 0.01, 0.01]),
                    _ => row([0.34, 0.33, 0.33]),
                };
                logits = beams.running().iter().flat_map(after).collect();
            }
        }
        assert_eq!(greedy.best().map(|text| text.tokens), Some(vec![1, 0]));
        let best = two.best().expect("a text");
        assert_eq!(best.tokens, [2, 0]);
        let score = (0.48f32.ln() + 0.98f32.ln()) / 2.0;
        assert!((best.score - score).abs() < 1e-6, "{}", best.score);
    }

    #[test]
    fn a_text_ends_at_its_limit_and_not_before_its_least() {
        let mut beams = Beams::new(Rules {
            min_tokens: 3,
            ..rules(2, Patience::Usual)
        });
        let mut steps = 1;
        let mut logits = row([0.9, 0.06, 0.04]);
        while let Some(parents) = beams.advance(&logits, 3) {
            assert_eq!(parents.len(), 2);
            logits = [row([0.9, 0.06, 0.04]), row([0.9, 0.06, 0.04])].concat();
            steps += 1;
        }
        assert_eq!(steps, 3);
        assert_eq!(beams.best().map(|text| text.tokens), Some(vec![1, 1, 0]));
    }
}
